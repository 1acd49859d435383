//! Options of a join of two streams.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::serdes::{Serde, SharedSerde};

/// How two streams are joined: their serdes, names and changelogs (`StreamJoined` of Kafka
/// Streams).
pub struct StreamJoined<K, V, VO> {
    pub(super) key_serde: SharedSerde<K>,
    pub(super) value_serde: SharedSerde<V>,
    pub(super) other_value_serde: SharedSerde<VO>,
    pub(super) name: Option<String>,
    pub(super) store_name: Option<String>,
    pub(super) logging: bool,
    pub(super) changelog_config: BTreeMap<String, String>,
}

impl<K, V, VO> StreamJoined<K, V, VO> {
    /// Writes the stores, and repartition topics where they are needed, with these serdes: of the
    /// key, of the values of this stream and of those of the other one. They also say what is null.
    pub fn with(
        key_serde: impl Serde<K>,
        value_serde: impl Serde<V>,
        other_value_serde: impl Serde<VO>,
    ) -> Self {
        Self {
            key_serde: Arc::new(key_serde),
            value_serde: Arc::new(value_serde),
            other_value_serde: Arc::new(other_value_serde),
            name: None,
            store_name: None,
            logging: true,
            changelog_config: BTreeMap::new(),
        }
    }

    /// Names the nodes, and the repartition topics if there are any.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Names the stores, and with them the changelogs: `<name>-this-join-store`,
    /// `<name>-other-join-store`, and for what waits `<name>-left-shared-join-store` or
    /// `<name>-outer-shared-join-store`.
    #[must_use]
    pub fn with_store_name(mut self, name: impl Into<String>) -> Self {
        self.store_name = Some(name.into());
        self
    }

    /// Keeps changelogs, with these settings of their topics: the default, without settings.
    #[must_use]
    pub fn with_logging_enabled(mut self, topic_config: BTreeMap<String, String>) -> Self {
        self.logging = true;
        self.changelog_config = topic_config;
        self
    }

    /// Keeps no changelogs: what waits to be joined is lost when the task moves or the disk is
    /// gone.
    #[must_use]
    pub fn with_logging_disabled(mut self) -> Self {
        self.logging = false;
        self.changelog_config.clear();
        self
    }
}

impl<K, V, VO> fmt::Debug for StreamJoined<K, V, VO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamJoined")
            .field("name", &self.name)
            .field("store_name", &self.store_name)
            .field("logging", &self.logging)
            .field("changelog_config", &self.changelog_config)
            .finish_non_exhaustive()
    }
}
