//! `suppress`: the changes of a table, held back (KIP-328).

mod config;
mod processor;

use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::node::Flag;
use super::{KTable, TableNode, TableParts, View};
use crate::topology::{StoreDef, TopologyError};

pub use config::{
    BufferBounds, BufferConfig, Eager, EagerBufferConfig, Strict, StrictBufferConfig,
};
use processor::{Rules, Suppress, through};

const SUPPRESS: &str = "KTABLE-SUPPRESS-";
const STATE_STORE: &str = "STATE-STORE-";

/// How long a table's changes are held back, and how many of them (`Suppressed`).
pub struct Suppressed<K> {
    wait_ms: i64,
    bounds: BufferBounds,
    name: Option<String>,
    keys: PhantomData<fn(K)>,
}

impl<K> Suppressed<K> {
    /// Holds a change back until stream time has passed it by `wait` (whole milliseconds). Changes
    /// of the same key that come meanwhile take its place without making it wait any longer.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use tidemill_core::driver::{DriverConfig, TopologyTestDriver};
    /// use tidemill_core::dsl::{BufferConfig, Materialized, StreamsBuilder, Suppressed};
    /// use tidemill_core::record::{Record, Timestamp};
    /// use tidemill_core::serdes::{optional, string};
    /// use tidemill_core::topology::{Consumed, Produced};
    ///
    /// let builder = StreamsBuilder::new();
    /// let wait = Duration::from_secs(60);
    /// builder
    ///     .table("addresses", Consumed::with(string(), string()), Materialized::default())
    ///     .suppress(Suppressed::until_time_limit(wait, BufferConfig::max_records(1_000)))
    ///     .to_stream()
    ///     .to("settled-addresses", Produced::with(string(), optional(string())));
    ///
    /// let driver = TopologyTestDriver::new(&builder.build()?, DriverConfig::new("movers"))?;
    /// let mut addresses = driver.create_input_topic("addresses", string(), string())?;
    /// let mut settled = driver.create_output_topic("settled-addresses", string(), string())?;
    /// for (who, address, at) in [("ann", "Elm St", 0), ("ann", "Oak St", 9_000)] {
    ///     let record = Record::new(who.to_owned(), address.to_owned(), Timestamp(at));
    ///     addresses.pipe_record(record)?;
    /// }
    /// assert!(settled.is_empty());
    /// addresses.pipe_record(Record::new("bob".into(), "Ash St".into(), Timestamp(60_000)))?;
    /// assert_eq!(settled.read_key_value()?, ("ann".into(), "Oak St".into()));
    /// assert!(settled.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn until_time_limit(wait: Duration, config: impl Into<BufferBounds>) -> Self {
        let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        Self { wait_ms, bounds: config.into(), name: None, keys: PhantomData }
    }

    /// Names the operator, and its store `<name>-store`. Neither takes a number then, so that a
    /// named suppression can be added to a program without renaming what is below it.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}

impl<K> Clone for Suppressed<K> {
    fn clone(&self) -> Self {
        let Self { wait_ms, bounds, name, keys } = self;
        Self { wait_ms: *wait_ms, bounds: bounds.clone(), name: name.clone(), keys: *keys }
    }
}

impl<K> fmt::Debug for Suppressed<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suppressed")
            .field("wait_ms", &self.wait_ms)
            .field("bounds", &self.bounds)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<K: Clone + 'static, V: Clone + 'static> KTable<K, V> {
    /// Holds the table's changes back in a buffer, as `suppressed` says: of several changes of a
    /// key only the last is forwarded, with the timestamp and headers that it came with.
    ///
    /// The order is that of the keys' first changes, then of their bytes. Time is the largest
    /// timestamp that the operator saw since its task was started: nothing is let go while no
    /// record comes. The buffer is a store: it comes back after a restart, and an aborted
    /// transaction leaves no trace in it.
    ///
    /// Whoever reads the table sees of a key that waits the value that was forwarded last.
    pub fn suppress(&self, suppressed: Suppressed<K>) -> Self {
        let Suppressed { wait_ms, bounds, name, .. } = suppressed;
        let graph = self.changes.shared_graph();
        let given = name.or_else(|| self.changes.given_name());
        let (name, store) = match given {
            Some(name) => (name.clone(), format!("{name}-store")),
            None => {
                let mut graph = graph.borrow_mut();
                let name = graph.name_or_generate(None, SUPPRESS);
                (name, graph.name_or_generate(None, &format!("{SUPPRESS}{STATE_STORE}")))
            }
        };
        if self.is_versioned() {
            let node = name.clone();
            graph.borrow_mut().fail(TopologyError::SuppressedVersions { node });
        }
        // what is known below is the value before the first change that waits
        self.send_old_values(true);
        let old_values = Flag::default();
        let (parent, buffer) = (Rc::clone(&self.node), store.clone());
        let node = SuppressNode { parent, store: buffer, old_values: old_values.clone() };
        let parts = TableParts {
            key_serde: self.key_serde.clone(),
            value_serde: self.value_serde.clone(),
            queryable_store_name: None,
        };
        let (keys, values) = (self.key_serde.clone(), self.value_serde.clone());
        let id =
            graph.borrow_mut().add(&[self.changes.id], name.clone(), move |topology, parents| {
                let missing = |what| TopologyError::MissingSerde { node: name.clone(), what };
                let keys = keys.ok_or_else(|| missing("key"))?;
                let values = values.ok_or_else(|| missing("value"))?;
                let buffer = StoreDef::buffer(bounds.spec(&store), keys, values);
                let node = name.clone();
                let rules = Rules { node, store, wait_ms, bounds, send_old: old_values.is_set() };
                let rules = Arc::new(rules);
                let supplier = move || Suppress::<K, V>::new(Arc::clone(&rules));
                topology.add_processor(&name, supplier, parents)?;
                topology.add_store(buffer, &[&name]).map(|_| ())
            });
        KTable::new(graph, id, Rc::new(node), parts)
    }
}

/// A table that is held back.
struct SuppressNode<K, V> {
    parent: Rc<dyn TableNode<K, V>>,
    store: String,
    old_values: Flag,
}

impl<K: 'static, V: Clone + 'static> TableNode<K, V> for SuppressNode<K, V> {
    fn send_old_values(&self, force: bool) -> bool {
        if self.parent.send_old_values(force) {
            self.old_values.set();
        }
        self.old_values.is_set()
    }

    fn view(&self) -> View<K, V> {
        through(&self.store, self.parent.view())
    }
}
