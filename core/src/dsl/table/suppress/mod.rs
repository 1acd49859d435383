//! `suppress`: the changes of a table, held back (KIP-328).

mod config;
mod processor;

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::node::Flag;
use super::{KTable, TableNode, TableParts, View};
use crate::topology::{StoreDef, TopologyError};
use crate::window::Windowed;

pub use config::{
    BufferBounds, BufferConfig, Eager, EagerBufferConfig, Strict, StrictBufferConfig,
};
use processor::{EndOf, Rules, Suppress, through};

const SUPPRESS: &str = "KTABLE-SUPPRESS-";
const STATE_STORE: &str = "STATE-STORE-";

/// How long a table's changes are held back, and how many of them (`Suppressed`).
pub struct Suppressed<K> {
    until: Until<K>,
    bounds: BufferBounds,
    name: Option<String>,
}

/// What is waited for.
enum Until<K> {
    /// Milliseconds of stream time.
    TimeLimit(i64),
    /// The window's end, and as long as its operator says.
    WindowCloses(EndOf<K>),
}

impl<K> Clone for Until<K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Until<K> {}

impl<K> Until<K> {
    fn limit(self) -> Option<i64> {
        match self {
            Self::TimeLimit(wait_ms) => Some(wait_ms),
            Self::WindowCloses(_) => None,
        }
    }
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
        Self { until: Until::TimeLimit(wait_ms), bounds: config.into(), name: None }
    }

    /// Names the operator, and its store `<name>-store`. Neither takes a number then, so that a
    /// named suppression can be added to a program without renaming what is below it.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}

impl<K> Suppressed<Windowed<K>> {
    /// Lets one result of each key and window go: the last, when the window has closed, that is,
    /// when stream time has passed its end by the grace period, and for a session by the inactivity
    /// gap, too. What was deleted by then is not mentioned at all.
    ///
    /// The windows are those of the aggregations above; a table of windows that comes from
    /// elsewhere is refused when the topology is built.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use tidemill_core::driver::{DriverConfig, TopologyTestDriver};
    /// use tidemill_core::dsl::{
    ///     BufferConfig, Grouped, Materialized, StreamsBuilder, Suppressed, TimeWindows,
    /// };
    /// use tidemill_core::record::{Record, Timestamp};
    /// use tidemill_core::serdes::{i64, optional, string};
    /// use tidemill_core::topology::{Consumed, Produced};
    ///
    /// let builder = StreamsBuilder::new();
    /// builder
    ///     .stream("clicks", Consumed::with(string(), string()))
    ///     .group_by_key(Grouped::with(string(), string()))
    ///     .windowed_by(TimeWindows::of_size_with_no_grace(Duration::from_secs(60)))
    ///     .count(Materialized::default())
    ///     .suppress(Suppressed::until_window_closes(BufferConfig::unbounded()))
    ///     .to_stream_with_key(|windowed, _| windowed.key.clone())
    ///     .to("clicks-a-minute", Produced::with(string(), optional(i64())));
    ///
    /// let driver = TopologyTestDriver::new(builder.build()?, DriverConfig::new("clicks"))?;
    /// let mut clicks = driver.create_input_topic("clicks", string(), string())?;
    /// for at in [1_000, 2_000, 59_999, 60_000] {
    ///     clicks.pipe_record(Record::new("ann".to_owned(), "/".to_owned(), Timestamp(at)))?;
    /// }
    /// let mut counts = driver.create_output_topic("clicks-a-minute", string(), i64())?;
    /// assert_eq!(counts.read_key_values_to_list()?, [("ann".to_owned(), 3)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Only tables of windows have windows that close:
    ///
    /// ```compile_fail,E0308
    /// # use tidemill_core::dsl::{BufferConfig, Materialized, StreamsBuilder, Suppressed};
    /// # use tidemill_core::serdes::string;
    /// # use tidemill_core::topology::Consumed;
    /// # let builder = StreamsBuilder::new();
    /// builder
    ///     .table("addresses", Consumed::with(string(), string()), Materialized::default())
    ///     .suppress(Suppressed::until_window_closes(BufferConfig::unbounded()));
    /// ```
    #[must_use]
    pub fn until_window_closes(config: StrictBufferConfig) -> Self {
        let until = Until::WindowCloses(|windowed: &Windowed<K>| windowed.window.end);
        Self { until, bounds: config.into(), name: None }
    }
}

impl<K> Clone for Suppressed<K> {
    fn clone(&self) -> Self {
        let Self { until, bounds, name } = self;
        Self { until: *until, bounds: bounds.clone(), name: name.clone() }
    }
}

impl<K> fmt::Debug for Suppressed<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suppressed")
            .field("wait_ms", &self.until.limit())
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
    /// timestamp that the operator has seen, so nothing is let go while no record comes. The buffer
    /// is a store: it comes back after a restart, and an aborted transaction leaves no trace in it.
    ///
    /// Whoever reads the table sees of a key that waits the value that was forwarded last.
    pub fn suppress(&self, suppressed: Suppressed<K>) -> Self {
        let Suppressed { until, bounds, name } = suppressed;
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
        let (wait_ms, end_of) = self.wait(until, &name);
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
                let send_old = old_values.is_set();
                let rules = Rules { node, store, wait_ms, end_of, bounds, send_old };
                let rules = Arc::new(rules);
                let supplier = move || Suppress::<K, V>::new(Arc::clone(&rules));
                topology.add_processor(&name, supplier, parents)?;
                topology.add_store(buffer, &[&name]).map(|_| ())
            });
        KTable::new(graph, id, Rc::new(node), parts)
    }

    /// Returns how long is waited, and since when if it is not the first change.
    fn wait(&self, until: Until<K>, node: &str) -> (i64, Option<EndOf<K>>) {
        let end_of = match until {
            Until::TimeLimit(wait_ms) => return (wait_ms, None),
            Until::WindowCloses(end_of) => end_of,
        };
        let mut graph = self.changes.graph().borrow_mut();
        let closes_after = graph.windows_of(self.changes.id).unwrap_or_else(|above| {
            graph.fail(TopologyError::NoWindow { node: node.to_owned(), above });
            0
        });
        (closes_after, Some(end_of))
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
