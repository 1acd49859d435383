//! A store as the topology declares it.

use std::collections::BTreeMap;

/// The number of a store within its task, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreIndex(pub u32);

/// How a store lays out its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    /// The value alone.
    KeyValue,
    /// The timestamp of the last update (8 bytes, big-endian), then the value.
    TimestampedKeyValue,
}

/// What everybody but the processors needs to know of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSpec {
    /// Unique in the topology. The changelog is `<application.id>-<name>-changelog`.
    pub name: String,
    /// How values are laid out.
    pub kind: StoreKind,
    /// Whether committed writes go to a changelog. Without one the contents are lost with the disk
    /// or when the task moves. Default: true.
    pub logging: bool,
    /// Whether a table's updates are forwarded once per key and commit. Default: true in the DSL.
    pub caching: bool,
    /// Settings of the changelog topic that differ from the defaults.
    pub changelog_config: BTreeMap<String, String>,
    /// The user's topic that fills a global store, and so stands in for its changelog. Default:
    /// none.
    pub source_topic: Option<String>,
}

impl StoreSpec {
    /// Makes a spec with logging on, caching off and no settings.
    pub fn new(name: impl Into<String>, kind: StoreKind) -> Self {
        Self {
            name: name.into(),
            kind,
            logging: true,
            caching: false,
            changelog_config: BTreeMap::new(),
            source_topic: None,
        }
    }

    /// Returns the name of the topic that the store is restored from: its changelog, or the topic
    /// that fills it.
    #[must_use]
    pub fn changelog_topic(&self, application_id: &str) -> String {
        match &self.source_topic {
            Some(topic) => topic.clone(),
            None => format!("{application_id}-{}-changelog", self.name),
        }
    }

    /// Turns a changelog record into the stored value: what restoring writes.
    ///
    /// The changelog of a timestamped store has the value alone; its timestamp is the record's.
    pub fn stored_value(&self, timestamp: i64, value: &[u8], out: &mut Vec<u8>) {
        out.clear();
        if self.kind == StoreKind::TimestampedKeyValue {
            out.extend_from_slice(&timestamp.to_be_bytes());
        }
        out.extend_from_slice(value);
    }
}
