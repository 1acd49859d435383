//! The topology: of all that says a price, only what is newer than before counts; and of that, what
//! drops below the price that a customer waits for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidemill::dsl::{Deduplicated, Materialized, StreamsBuilder};
use tidemill::processor::{Processor, ProcessorContext};
use tidemill::record::Record;
use tidemill::serdes::{json, string};
use tidemill::store::KeyValueStore;
use tidemill::topology::{Consumed, Produced, Topology, TopologyError, key_value_store};
use tidemill::{BoxError, Config, Tidemill};
use tidemill_examples::stage::Setting;

use crate::model::{ALERTS, APPLICATION, Alert, PRICES, PriceUpdated, WATCHES, Watch};

const STORE: &str = "watched-things";

/// What happens to a thing.
#[derive(Clone)]
enum Happened {
    Priced(PriceUpdated),
    Watched(Watch),
}

/// A thing, its last price, and who waits for which.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Thing {
    cents: Option<i64>,
    below_cents: BTreeMap<String, i64>,
}

#[derive(Default)]
struct Alerting {
    things: Option<KeyValueStore<String, Thing>>,
}

impl Processor<String, Happened, String, Alert> for Alerting {
    fn init(
        &mut self,
        context: &mut ProcessorContext<'_, '_, String, Alert>,
    ) -> Result<(), BoxError> {
        self.things = Some(context.key_value_store(STORE)?);
        Ok(())
    }

    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, String, Alert>,
        record: Record<String, Happened>,
    ) -> Result<(), BoxError> {
        let things = self.things.as_ref().ok_or("a processor is initialised first")?;
        let mut thing = things.get(&record.key)?.unwrap_or_default();
        match &record.value {
            Happened::Watched(Watch { customer, below_cents }) => {
                thing.below_cents.insert(customer.clone(), *below_cents);
            }
            Happened::Priced(PriceUpdated { cents, revision }) => {
                let before = thing.cents.replace(*cents);
                for (customer, below_cents) in &thing.below_cents {
                    let watch = Watch { customer: customer.clone(), below_cents: *below_cents };
                    if watch.drops_below(before, *cents) {
                        let alert = Alert {
                            customer: watch.customer,
                            thing: record.key.clone(),
                            cents: *cents,
                            revision: *revision,
                        };
                        let alert =
                            record.clone().with_key(alert.customer.clone()).with_value(alert);
                        context.forward(alert)?;
                    }
                }
            }
        }
        Ok(things.put(&record.key, thing)?)
    }
}

pub(crate) fn topology() -> Result<Topology, TopologyError> {
    let builder = StreamsBuilder::new();
    builder.add_state_store(key_value_store(STORE, string(), json::<Thing>()));
    let prices = builder
        .stream(PRICES, Consumed::with(string(), json::<PriceUpdated>()))
        .deduplicate_by_revision(
            Deduplicated::with(string(), json()),
            Materialized::as_("price-revisions"),
        )
        .map_values(Happened::Priced);
    builder
        .stream(WATCHES, Consumed::with(string(), json::<Watch>()))
        .map_values(Happened::Watched)
        .merge(&prices)
        .process(Alerting::default, &[STORE])
        .to(ALERTS, Produced::with(string(), json()));
    builder.build()
}

/// The part: runs the topology.
pub(crate) fn run(setting: &Setting) -> Result<(), BoxError> {
    let config =
        Config::new(APPLICATION, &*setting.kafka).with_state_dir(setting.folder.join("alerts"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { Tidemill::new(topology()?, config)?.run().await })?;
    Ok(())
}
