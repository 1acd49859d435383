//! Counts the visits of each user: the topology with the mistake, the mended one, and what must
//! hold for both.

use std::collections::BTreeMap;

use tidemill::BoxError;
use tidemill::processor::{Processor, ProcessorContext};
use tidemill::record::Record;
use tidemill::serdes::{i64, string};
use tidemill::simulation::{Inputs, View};
use tidemill::store::KeyValueStore;
use tidemill::topology::{Consumed, Produced, Topology, TopologyError, key_value_store};

const VISITS: &str = "visits";
const COUNTS: &str = "counts";
const STORE: &str = "visits-of-user";

/// The mistake: it counts in a field. The field is empty after a restart and on another machine,
/// and an aborted transaction does not take its counts back.
#[derive(Default)]
struct CountsInAField {
    visits: BTreeMap<String, i64>,
}

impl Processor<String, String, String, i64> for CountsInAField {
    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, String, i64>,
        visit: Record<String, String>,
    ) -> Result<(), BoxError> {
        let count = self.visits.entry(visit.key.clone()).or_default();
        *count += 1;
        let count = *count;
        context.forward(visit.with_value(count))
    }
}

/// Mended: it counts in its store, which follows the transaction and its task.
#[derive(Default)]
struct CountsInItsStore {
    visits: Option<KeyValueStore<String, i64>>,
}

impl Processor<String, String, String, i64> for CountsInItsStore {
    fn init(
        &mut self,
        context: &mut ProcessorContext<'_, '_, String, i64>,
    ) -> Result<(), BoxError> {
        self.visits = Some(context.key_value_store(STORE)?);
        Ok(())
    }

    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, String, i64>,
        visit: Record<String, String>,
    ) -> Result<(), BoxError> {
        let visits = self.visits.as_ref().ok_or("a processor is initialised first")?;
        let count = visits.get(&visit.key)?.unwrap_or(0) + 1;
        visits.put(&visit.key, count)?;
        context.forward(visit.with_value(count))
    }
}

/// The topology with the mistake.
pub(crate) fn planted() -> Result<Topology, TopologyError> {
    let mut topology = Topology::new();
    topology.add_source("source", Consumed::with(string(), string()), &[VISITS])?;
    topology.add_processor("count", CountsInAField::default, &["source"])?;
    topology.add_sink("sink", COUNTS, Produced::with(string(), i64()), &["count"])?;
    Ok(topology)
}

/// The mended topology.
pub(crate) fn mended() -> Result<Topology, TopologyError> {
    let mut topology = Topology::new();
    topology.add_source("source", Consumed::with(string(), string()), &[VISITS])?;
    topology.add_processor("count", CountsInItsStore::default, &["source"])?;
    topology.add_sink("sink", COUNTS, Produced::with(string(), i64()), &["count"])?;
    topology.add_state_store(key_value_store(STORE, string(), i64()), &["count"])?;
    Ok(topology)
}

/// A hundred visits of seven users.
pub(crate) fn inputs() -> Inputs {
    let visits = (0..100).map(|n| (format!("user-{}", n * n % 7), format!("page-{n}")));
    Inputs::new().topic(VISITS, &string(), &string(), visits)
}

/// The n-th count of a user is n; in the end the last one is the number of visits that were sent.
pub(crate) fn each_visit_counts_once(view: &View<'_>) -> Result<(), String> {
    let text = |error: tidemill::serdes::SerdeError| error.to_string();
    let mut counted: BTreeMap<String, i64> = BTreeMap::new();
    for (partition, count) in view.read(COUNTS, &string(), &i64()).map_err(text)? {
        let expected = counted.entry(count.key.clone()).or_default();
        *expected += 1;
        if count.value != *expected {
            let (user, found) = (count.key, count.value);
            return Err(format!(
                "partition {partition}: visit {expected} of {user} was counted as {found}"
            ));
        }
    }
    if view.is_final() {
        let mut sent: BTreeMap<String, i64> = BTreeMap::new();
        for (_, visit) in view.read(VISITS, &string(), &string()).map_err(text)? {
            *sent.entry(visit.key).or_default() += 1;
        }
        if counted != sent {
            return Err(format!("{counted:?} were counted, {sent:?} were sent"));
        }
    }
    Ok(())
}
