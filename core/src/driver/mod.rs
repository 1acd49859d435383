//! A whole topology without a broker: for the tests of an application.
//!
//! ```text
//!   TestInputTopic --> Task (the whole topology) --> TestOutputTopic
//!                        ^        |
//!                        +--------+  topics that are sources too
//! ```
//!
//! The rules are those of Kafka Streams' `TopologyTestDriver` (KIP-247, KIP-470):
//! * Every topic has one partition and the topology runs as one task, `0_0`, with one stream time.
//! * After each record come the stream-time punctuations that are due and a commit, so a caching
//!   store forwards after each record and commit interval and cache size have no effect.
//! * A record of a global store's topic is stored before anything else happens; one that can't be
//!   read is skipped, whatever the handlers say.
//! * Wall-clock time stands still but for [`TopologyTestDriver::advance_wall_clock_time`].
//!
//! Nodes, stores, handlers and the commit are the real ones; only broker, disk and clock are not.
//! What a failed record had sent is not there, as after an aborted transaction.

mod config;
mod engine;
mod error;
mod globals;
mod input;
mod output;
mod stores;
mod topics;

use std::borrow::Borrow;
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

pub use config::DriverConfig;
pub use error::DriverError;
pub use input::TestInputTopic;
pub use output::TestOutputTopic;

use crate::record::{OwnedRecord, StreamTime, Timestamp};
use crate::serdes::Serde;
use crate::store::{KeyValueStore, StoreKind, TimestampedKeyValueStore};
use crate::topology::Topology;
use engine::{Engine, Expected};

/// The engine, shared by the driver and its topics.
type SharedEngine = Rc<RefCell<Engine>>;

/// Runs a topology record by record. See the [module](self) for the rules.
///
/// ```
/// use tidemill_core::driver::{DriverConfig, TopologyTestDriver};
/// use tidemill_core::serdes::string;
/// use tidemill_core::topology::{Consumed, Produced, Topology};
///
/// let mut topology = Topology::new();
/// topology.add_source("source", Consumed::with(string(), string()), &["in"])?;
/// topology.add_sink("sink", "out", Produced::with(string(), string()), &["source"])?;
///
/// let driver = TopologyTestDriver::new(&topology, DriverConfig::default())?;
/// let mut input = driver.create_input_topic("in", string(), string())?;
/// let mut output = driver.create_output_topic("out", string(), string())?;
/// input.pipe_input("k".to_owned(), "v".to_owned())?;
/// assert_eq!(output.read_key_value()?, ("k".to_owned(), "v".to_owned()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TopologyTestDriver {
    engine: SharedEngine,
}

impl fmt::Debug for TopologyTestDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopologyTestDriver").finish_non_exhaustive()
    }
}

impl TopologyTestDriver {
    /// Instantiates the topology and initialises its processors.
    ///
    /// # Errors
    /// If the topology has no source, the application id is no legal name, or a processor's `init`
    /// fails.
    pub fn new(topology: impl Borrow<Topology>, config: DriverConfig) -> Result<Self, DriverError> {
        let engine = Engine::new(topology.borrow(), config)?;
        Ok(Self { engine: Rc::new(RefCell::new(engine)) })
    }

    /// Returns a way to put records into a source topic. Its records are stamped with the driver's
    /// wall-clock time of now unless told otherwise.
    ///
    /// # Errors
    /// If no source reads a topic of that name.
    pub fn create_input_topic<K, V>(
        &self,
        name: &str,
        key_serde: impl Serde<K>,
        value_serde: impl Serde<V>,
    ) -> Result<TestInputTopic<K, V>, DriverError> {
        let engine = self.engine.try_borrow().map_err(|_| DriverError::Busy)?;
        let queue = engine.input(name)?;
        let now = engine.wall_clock();
        Ok(TestInputTopic::new(&self.engine, (name, queue), key_serde, value_serde, now))
    }

    /// Returns a way to read what the topology wrote to a topic: of a sink, a repartition topic, a
    /// changelog or a dead letter queue. Each record is read once, whoever reads it.
    ///
    /// The topic need not exist yet: a sink or a handler may choose it later.
    ///
    /// # Errors
    /// If called by a processor of this driver.
    pub fn create_output_topic<K, V>(
        &self,
        name: &str,
        key_serde: impl Serde<K>,
        value_serde: impl Serde<V>,
    ) -> Result<TestOutputTopic<K, V>, DriverError> {
        let _idle = self.engine.try_borrow().map_err(|_| DriverError::Busy)?;
        Ok(TestOutputTopic::new(&self.engine, name, key_serde, value_serde))
    }

    /// Moves the wall clock forward (whole milliseconds), then punctuates by wall clock, commits,
    /// and processes what that gave rise to.
    ///
    /// # Errors
    /// As [`TestInputTopic::pipe_input`].
    pub fn advance_wall_clock_time(&self, by: Duration) -> Result<(), DriverError> {
        self.engine.try_borrow_mut().map_err(|_| DriverError::Busy)?.advance_wall_clock_time(by)
    }

    /// Returns the wall-clock time, in milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// If called by a processor of this driver.
    pub fn wall_clock_time(&self) -> Result<Timestamp, DriverError> {
        Ok(self.engine.try_borrow().map_err(|_| DriverError::Busy)?.wall_clock())
    }

    /// Returns the stream time of the topology.
    ///
    /// # Errors
    /// If the driver was closed or stopped by an error.
    pub fn stream_time(&self) -> Result<StreamTime, DriverError> {
        Ok(self.engine.try_borrow().map_err(|_| DriverError::Busy)?.task()?.stream_time())
    }

    /// Returns how many records were processed, and how many were dropped by handlers or by an
    /// operator's own rules.
    ///
    /// # Errors
    /// If the driver was closed or stopped by an error.
    pub fn counts(&self) -> Result<(u64, u64), DriverError> {
        Ok(self.engine.try_borrow().map_err(|_| DriverError::Busy)?.task()?.counts())
    }

    /// Returns how many records a deduplication ignored: they were here before, or are older than
    /// one that was.
    ///
    /// # Errors
    /// If the driver was closed or stopped by an error.
    pub fn ignored(&self) -> Result<u64, DriverError> {
        Ok(self.engine.try_borrow().map_err(|_| DriverError::Busy)?.task()?.ignored())
    }

    /// Returns the handle of a store, for reading and for preparing a test. A write goes to the
    /// changelog with the next record. Of a timestamped store the handle shows the values alone.
    ///
    /// # Errors
    /// If there is no such store or it has other types.
    pub fn key_value_store<K: 'static, V: 'static>(
        &self,
        name: &str,
    ) -> Result<KeyValueStore<K, V>, DriverError> {
        let engine = self.engine.try_borrow().map_err(|_| DriverError::Busy)?;
        engine.store(name, None).map(KeyValueStore::new)
    }

    /// Returns the handle of a timestamped store, e.g. of a table of the DSL.
    ///
    /// # Errors
    /// As [`TopologyTestDriver::key_value_store`], and if the store keeps no timestamps.
    pub fn timestamped_key_value_store<K: 'static, V: 'static>(
        &self,
        name: &str,
    ) -> Result<TimestampedKeyValueStore<K, V>, DriverError> {
        let engine = self.engine.try_borrow().map_err(|_| DriverError::Busy)?;
        let fits = |kind| kind == StoreKind::TimestampedKeyValue;
        let expected = Expected { name: "timestamped key-value store", fits };
        let core = engine.store(name, Some(expected))?;
        Ok(TimestampedKeyValueStore::new(core))
    }

    /// Returns the names of the stores, in the order in which they were added to the topology.
    ///
    /// # Errors
    /// If called by a processor of this driver.
    pub fn state_store_names(&self) -> Result<Vec<String>, DriverError> {
        let engine = self.engine.try_borrow().map_err(|_| DriverError::Busy)?;
        Ok(engine.store_names())
    }

    /// Returns every committed record of a store's changelog, as bytes, in order. Reading it here
    /// takes nothing away from an output topic.
    ///
    /// # Errors
    /// If there is no such store.
    pub fn changelog(&self, store: &str) -> Result<Vec<OwnedRecord>, DriverError> {
        self.engine.try_borrow().map_err(|_| DriverError::Busy)?.changelog(store)
    }

    /// Returns the names of the topics that records were written to, changelogs included, in
    /// alphabetical order.
    ///
    /// # Errors
    /// If called by a processor of this driver.
    pub fn produced_topic_names(&self) -> Result<Vec<String>, DriverError> {
        let engine = self.engine.try_borrow().map_err(|_| DriverError::Busy)?;
        Ok(engine.produced_topic_names())
    }

    /// Closes the processors. Output and changelogs can still be read. Dropping the driver does the
    /// same.
    pub fn close(self) {}
}

impl Drop for TopologyTestDriver {
    fn drop(&mut self) {
        if let Ok(mut engine) = self.engine.try_borrow_mut() {
            engine.close();
        }
    }
}
