//! How much may wait, and what happens when it is more (KIP-328).

use std::collections::BTreeMap;
use std::marker::PhantomData;

use crate::store::{StoreKind, StoreSpec};

/// A full buffer ends the application rather than let something go early: see
/// [`BufferConfig::shut_down_when_full`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strict {}

/// A full buffer lets the first of its order go early: see [`BufferConfig::emit_early_when_full`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eager {}

/// The bounds of a buffer that never lets anything go early (`StrictBufferConfig`).
pub type StrictBufferConfig = BufferConfig<Strict>;

/// The bounds of a buffer that lets go what is too much (`EagerBufferConfig`).
pub type EagerBufferConfig = BufferConfig<Eager>;

/// What to do with what is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WhenFull {
    EmitEarly,
    ShutDown,
}

/// How much may wait in the buffer of a suppression (`Suppressed.BufferConfig`), and its changelog.
///
/// A bound counts keys, or their bytes as Kafka Streams estimates them: key, values, headers and
/// the name of the topic, and 28 more for each key. It is checked after what is due was let go.
///
/// ```
/// use tidemill_core::dsl::BufferConfig;
///
/// let final_results_only = BufferConfig::unbounded();
/// let fewer_updates = BufferConfig::max_records(10_000).with_max_bytes(64 << 20);
/// let bounded_and_final = BufferConfig::max_bytes(64 << 20).shut_down_when_full();
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BufferConfig<F> {
    records_max: u64,
    bytes_max: u64,
    logging: bool,
    changelog_config: BTreeMap<String, String>,
    when_full: PhantomData<F>,
}

impl BufferConfig<Strict> {
    /// Lets everything wait until its time. Keys lie in memory, what waits with them on disk.
    #[must_use]
    pub fn unbounded() -> Self {
        Self::new(u64::MAX, u64::MAX)
    }
}

impl BufferConfig<Eager> {
    /// Lets so many keys wait.
    #[must_use]
    pub fn max_records(records: u64) -> Self {
        Self::new(records, u64::MAX)
    }

    /// Lets so many bytes wait.
    #[must_use]
    pub fn max_bytes(bytes: u64) -> Self {
        Self::new(u64::MAX, bytes)
    }
}

impl<F> BufferConfig<F> {
    fn new(records_max: u64, bytes_max: u64) -> Self {
        let (changelog_config, when_full) = (BTreeMap::new(), PhantomData);
        Self { records_max, bytes_max, logging: true, changelog_config, when_full }
    }

    fn when_full<F2>(self) -> BufferConfig<F2> {
        let Self { records_max, bytes_max, logging, changelog_config, .. } = self;
        let when_full = PhantomData;
        BufferConfig { records_max, bytes_max, logging, changelog_config, when_full }
    }

    /// Lets so many keys wait.
    #[must_use]
    pub fn with_max_records(mut self, records: u64) -> Self {
        self.records_max = records;
        self
    }

    /// Lets so many bytes wait.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: u64) -> Self {
        self.bytes_max = bytes;
        self
    }

    /// Takes the bounds away.
    #[must_use]
    pub fn with_no_bound(mut self) -> StrictBufferConfig {
        (self.records_max, self.bytes_max) = (u64::MAX, u64::MAX);
        self.when_full()
    }

    /// Ends the application when a bound is exceeded: no handler is asked. Nothing is let go early.
    #[must_use]
    pub fn shut_down_when_full(self) -> StrictBufferConfig {
        self.when_full()
    }

    /// Lets the first keys of the order go early when a bound is exceeded: the same key may then be
    /// let go more than once.
    #[must_use]
    pub fn emit_early_when_full(self) -> EagerBufferConfig {
        self.when_full()
    }

    /// Keeps no changelog: what waits is lost when the task moves or the disk is gone.
    #[must_use]
    pub fn with_logging_disabled(mut self) -> Self {
        self.logging = false;
        self.changelog_config.clear();
        self
    }

    /// Keeps a changelog, with these settings of its topic: the default, without settings.
    #[must_use]
    pub fn with_logging_enabled(mut self, topic_config: BTreeMap<String, String>) -> Self {
        self.logging = true;
        self.changelog_config = topic_config;
        self
    }

    fn bounds(self, when_full: WhenFull) -> BufferBounds {
        let Self { records_max, bytes_max, logging, changelog_config, .. } = self;
        BufferBounds { records_max, bytes_max, when_full, logging, changelog_config }
    }
}

impl From<StrictBufferConfig> for BufferBounds {
    fn from(config: StrictBufferConfig) -> Self {
        config.bounds(WhenFull::ShutDown)
    }
}

impl From<EagerBufferConfig> for BufferBounds {
    fn from(config: EagerBufferConfig) -> Self {
        config.bounds(WhenFull::EmitEarly)
    }
}

/// A [`BufferConfig`] of either kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BufferBounds {
    pub(super) records_max: u64,
    pub(super) bytes_max: u64,
    pub(super) when_full: WhenFull,
    pub(super) logging: bool,
    pub(super) changelog_config: BTreeMap<String, String>,
}

impl BufferBounds {
    pub(super) fn spec(&self, name: &str) -> StoreSpec {
        StoreSpec {
            logging: self.logging,
            changelog_config: self.changelog_config.clone(),
            ..StoreSpec::new(name, StoreKind::KeyValue)
        }
    }
}
