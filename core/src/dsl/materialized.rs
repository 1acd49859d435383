//! How the store of a table is kept.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::EmitStrategy;
use super::graph::Graph;
use crate::revision::Revisioned;
use crate::serdes::{Serde, SharedSerde};
use crate::store::{Segments, StoreKind, StoreSpec};
use crate::topology::{StoreBuilder, TopologyError};

/// How the store of a table is kept: name, serdes, caching, changelog.
///
/// Caching and logging are on unless switched off. With caching a table forwards the last value of
/// each key once per commit, without it every update.
pub struct Materialized<K, V> {
    pub(super) name: Option<String>,
    pub(super) key_serde: Option<SharedSerde<K>>,
    pub(super) value_serde: Option<SharedSerde<V>>,
    caching: bool,
    logging: bool,
    changelog_config: BTreeMap<String, String>,
    pub(super) retention: Option<Duration>,
    /// False for the default: Kafka Streams numbers `count()` and `count(Materialized)`
    /// differently.
    pub(super) given: bool,
    /// Finds the revision that guards a table.
    pub(super) revision: Option<RevisionOf<V>>,
    /// Of a versioned table: how long it knows what a key had.
    history: Option<Segments>,
}

type RevisionOf<V> = Arc<dyn Fn(&V) -> Option<i64> + Send + Sync>;

impl<K, V> Default for Materialized<K, V> {
    /// Generates a name and takes the serdes from the grouping: the call without `Materialized` in
    /// Kafka Streams.
    fn default() -> Self {
        Self {
            name: None,
            key_serde: None,
            value_serde: None,
            caching: true,
            logging: true,
            changelog_config: BTreeMap::new(),
            retention: None,
            given: false,
            revision: None,
            history: None,
        }
    }
}

impl<K, V> Materialized<K, V> {
    /// Names the store, and with it the changelog: `<application.id>-<name>-changelog`.
    pub fn as_(name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), given: true, ..Self::default() }
    }

    /// Names a versioned store (KIP-889): the table of a topic or a stream then knows for
    /// `history_retention` what each key had at an earlier time, and puts a record that comes late
    /// where it belongs. Older records are dropped and counted.
    ///
    /// A stream that is joined with the table finds what its key had at the record's own time.
    /// Operators on the table pass over records that are not the latest of their key (KIP-914). It
    /// is not cached: every update is forwarded.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidemill_core::driver::{DriverConfig, TopologyTestDriver};
    /// # use tidemill_core::dsl::{Joined, Materialized, StreamsBuilder};
    /// # use tidemill_core::record::Timestamp;
    /// # use tidemill_core::serdes::string;
    /// # use tidemill_core::topology::{Consumed, Produced};
    /// let builder = StreamsBuilder::new();
    /// let texts = || Consumed::with(string(), string());
    /// let hour = Duration::from_secs(3600);
    /// let prices = builder.table("prices", texts(), Materialized::as_versioned("prices", hour));
    /// builder
    ///     .stream("orders", texts())
    ///     .join_table(&prices, |order, price| format!("{order} at {price}"), Joined::default())
    ///     .to("bills", Produced::with(string(), string()));
    ///
    /// let driver = TopologyTestDriver::new(builder.build()?, DriverConfig::default())?;
    /// let mut prices = driver.create_input_topic("prices", string(), string())?;
    /// let mut orders = driver.create_input_topic("orders", string(), string())?;
    /// let mut bills = driver.create_output_topic("bills", string(), string())?;
    /// let tea = || "tea".to_owned();
    /// prices.pipe_input_at(tea(), "2".to_owned(), Timestamp(10))?;
    /// prices.pipe_input_at(tea(), "3".to_owned(), Timestamp(20))?;
    /// orders.pipe_input_at(tea(), "one".to_owned(), Timestamp(15))?;
    /// assert_eq!(bills.read_value()?, "one at 2");
    ///
    /// let prices = driver.versioned_key_value_store::<String, String>("prices")?;
    /// let then = prices.get_as_of(&tea(), Timestamp(19))?.unwrap();
    /// assert_eq!((then.value.as_str(), then.valid_to), ("2", Some(Timestamp(20))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn as_versioned(name: impl Into<String>, history_retention: Duration) -> Self {
        let millis = i64::try_from(history_retention.as_millis()).unwrap_or(i64::MAX);
        Self { history: Some(Segments::of_history(millis)), ..Self::as_(name) }
    }

    /// Writes the store with these serdes, under a generated name.
    pub fn with(key_serde: impl Serde<K>, value_serde: impl Serde<V>) -> Self {
        Self::default().with_key_serde(key_serde).with_value_serde(value_serde)
    }

    /// Sets the key's serde. Default: that of the grouping.
    #[must_use]
    pub fn with_key_serde(mut self, serde: impl Serde<K>) -> Self {
        self.key_serde = Some(Arc::new(serde));
        self.given()
    }

    /// Sets the value's serde. Default: `i64` for a count, that of the grouping for a reduce, none
    /// for an aggregate.
    #[must_use]
    pub fn with_value_serde(mut self, serde: impl Serde<V>) -> Self {
        self.value_serde = Some(Arc::new(serde));
        self.given()
    }

    /// Forwards the last value of each key once per commit: the default.
    #[must_use]
    pub fn with_caching_enabled(mut self) -> Self {
        self.caching = true;
        self.given()
    }

    /// Forwards every update.
    #[must_use]
    pub fn with_caching_disabled(mut self) -> Self {
        self.caching = false;
        self.given()
    }

    /// Keeps a changelog, with these settings of its topic: the default, without settings.
    #[must_use]
    pub fn with_logging_enabled(mut self, topic_config: BTreeMap<String, String>) -> Self {
        self.logging = true;
        self.changelog_config = topic_config;
        self.given()
    }

    /// Keeps no changelog: the contents are lost when the task moves or the disk is gone.
    #[must_use]
    pub fn with_logging_disabled(mut self) -> Self {
        self.logging = false;
        self.changelog_config.clear();
        self.given()
    }

    /// Keeps windows for so long, in whole milliseconds of stream time after their start, and
    /// sessions after their end: for queries, which find nothing older. Default, and least: as long
    /// as late records may need them. Only tables of windows have a retention; others ignore it, as
    /// in Kafka Streams.
    #[must_use]
    pub fn with_retention(mut self, retention: Duration) -> Self {
        self.retention = Some(retention);
        self.given()
    }

    /// Guards a table of a topic or a stream: a record whose revision is not larger than that of
    /// every record of its key before does not get into the table. It is ignored and counted.
    ///
    /// What was seen of each key, deleted ones included, is kept in a store of its own,
    /// `<name>-revisions`. The rules are those of
    /// [`KStream::deduplicate_by_revision`](super::KStream::deduplicate_by_revision); like there, a
    /// tombstone has no revision and counts as the newest record.
    #[must_use]
    pub fn with_revision(mut self) -> Self
    where
        V: Revisioned + 'static,
    {
        self.revision = Some(Arc::new(V::revision));
        self
    }

    /// Notes a mistake if a guard or versions were asked for where there are none.
    pub(super) fn refuse_revision(&self, graph: &mut Graph, node: &str) {
        if self.revision.is_some() {
            graph.fail(TopologyError::UnusedRevision { node: node.to_owned() });
        }
        self.refuse_versions(graph, node);
    }

    /// Notes a mistake if versions were asked for where there are none.
    pub(super) fn refuse_versions(&self, graph: &mut Graph, node: &str) {
        if self.history.is_some() {
            graph.fail(TopologyError::UnusedVersions { node: node.to_owned() });
        }
    }

    pub(super) fn is_versioned(&self) -> bool {
        self.history.is_some()
    }

    fn given(mut self) -> Self {
        self.given = true;
        self
    }

    pub(super) fn spec(&self, name: &str) -> StoreSpec {
        let kind = match self.history {
            Some(segments) => StoreKind::VersionedKeyValue(segments),
            None => StoreKind::TimestampedKeyValue,
        };
        StoreSpec {
            logging: self.logging,
            caching: self.caching && self.history.is_none(),
            changelog_config: self.changelog_config.clone(),
            ..StoreSpec::new(name, kind)
        }
    }
}

impl<K, V> Materialized<K, V> {
    /// As `spec`, for a table of windows. What is forwarded once needs no cache.
    pub(super) fn window_spec(&self, name: &str, kind: StoreKind, emit: EmitStrategy) -> StoreSpec {
        let caching = self.caching && emit == EmitStrategy::OnWindowUpdate;
        StoreSpec { kind, caching, ..self.spec(name) }
    }
}

impl<K: 'static, V: Clone + 'static> Materialized<K, V> {
    /// Makes the store that an operator keeps for itself: nothing is forwarded from it, so there is
    /// nothing to cache.
    pub(super) fn own_store(
        &self,
        name: &str,
        key_serde: SharedSerde<K>,
        value_serde: SharedSerde<V>,
    ) -> StoreBuilder<K, V> {
        let kind = StoreKind::TimestampedKeyValue;
        let spec = StoreSpec { kind, caching: false, ..self.spec(name) };
        StoreBuilder::from_parts(spec, key_serde, value_serde)
    }

    /// Makes a plain store beside the operator's own, with the same changelog settings.
    pub(super) fn store_beside<K2: 'static, V2: Clone + 'static>(
        &self,
        name: &str,
        key_serde: impl Serde<K2>,
        value_serde: impl Serde<V2>,
    ) -> StoreBuilder<K2, V2> {
        let kind = StoreKind::KeyValue;
        let spec = StoreSpec { kind, caching: false, ..self.spec(name) };
        StoreBuilder::from_parts(spec, Arc::new(key_serde), Arc::new(value_serde))
    }
}

impl<K, V> fmt::Debug for Materialized<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Materialized")
            .field("name", &self.name)
            .field("caching", &self.caching)
            .field("logging", &self.logging)
            .field("changelog_config", &self.changelog_config)
            .finish_non_exhaustive()
    }
}
