//! A store as the topology declares it.

use std::collections::BTreeMap;

use super::segments::{self, Segments};
use crate::record::Timestamp;
use crate::window::Window;

/// How much longer than the history the changelog of a versioned store keeps every record.
const COMPACTION_LAG_MS: i64 = 24 * 60 * 60 * 1000;

/// The number of a store within its task, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreIndex(pub u32);

/// How a store of windows is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSpec {
    /// Milliseconds that each window covers: what a window's end is computed with.
    pub size_ms: i64,
    /// How long windows are kept. The retention is at least `size_ms`.
    pub segments: Segments,
    /// Whether a second value of the same key and window is kept beside the first instead of
    /// replacing it.
    pub retain_duplicates: bool,
}

/// How a store lays out its keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreKind {
    /// The value alone.
    KeyValue,
    /// The timestamp of the last update (8 bytes, big-endian), then the value.
    TimestampedKeyValue,
    /// Windows by key and start, expiring: the value alone.
    Window(WindowSpec),
    /// Windows by key and start, expiring: timestamp of the last update, then the value.
    TimestampedWindow(WindowSpec),
    /// Sessions by key, end and start, expiring: the value alone.
    Session(Segments),
    /// Versions by key and time, of which the older ones expire.
    VersionedKeyValue(Segments),
}

impl StoreKind {
    /// Returns what such a store is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::KeyValue => "key-value store",
            Self::TimestampedKeyValue => "timestamped key-value store",
            Self::Window(_) => "window store",
            Self::TimestampedWindow(_) => "timestamped window store",
            Self::Session(_) => "session store",
            Self::VersionedKeyValue(_) => "versioned key-value store",
        }
    }

    /// Returns whether a timestamp stands before each stored value.
    #[must_use]
    pub const fn is_timestamped(self) -> bool {
        matches!(self, Self::TimestampedKeyValue | Self::TimestampedWindow(_))
    }

    /// Returns how the entries expire; `None` if they don't.
    #[must_use]
    pub const fn segments(self) -> Option<Segments> {
        match self {
            Self::KeyValue | Self::TimestampedKeyValue => None,
            Self::Window(spec) | Self::TimestampedWindow(spec) => Some(spec.segments),
            Self::Session(segments) | Self::VersionedKeyValue(segments) => Some(segments),
        }
    }

    /// Returns whether several values of a key and window are kept.
    pub(crate) const fn retains_duplicates(self) -> bool {
        match self {
            Self::Window(spec) | Self::TimestampedWindow(spec) => spec.retain_duplicates,
            _ => false,
        }
    }

    /// Returns the bytes at the end of a changelog key that are not the user's key.
    pub(crate) const fn suffix_bytes(self) -> usize {
        match self {
            Self::KeyValue | Self::TimestampedKeyValue | Self::VersionedKeyValue(_) => 0,
            Self::Window(_) | Self::TimestampedWindow(_) => 12,
            Self::Session(_) => 16,
        }
    }

    /// Returns the part of a stored key that its changelog record has as key.
    pub(crate) fn changelog_key(self, stored_key: &[u8]) -> &[u8] {
        if self.segments().is_none() {
            return stored_key;
        }
        stored_key.get(segments::PREFIX_BYTES..).unwrap_or_default()
    }

    /// Reads the time by which an entry expires from a changelog key: the start of the window, or
    /// the end of the session.
    pub(crate) fn time_of(self, changelog_key: &[u8]) -> Option<i64> {
        let at = changelog_key.len().checked_sub(self.suffix_bytes())?;
        changelog_key[at..].first_chunk().map(|time| i64::from_be_bytes(*time))
    }

    /// Reads the window of a changelog key.
    pub(crate) fn window_of(self, changelog_key: &[u8]) -> Option<Window> {
        let time = Timestamp(self.time_of(changelog_key)?);
        match self {
            Self::KeyValue | Self::TimestampedKeyValue | Self::VersionedKeyValue(_) => None,
            Self::Window(spec) | Self::TimestampedWindow(spec) => {
                Some(Window::of_size(time, spec.size_ms))
            }
            Self::Session(_) => {
                let start = changelog_key.last_chunk().map(|start| i64::from_be_bytes(*start))?;
                Some(Window::new(Timestamp(start), time))
            }
        }
    }

    /// Reads the sequence number of a changelog key.
    pub(crate) fn sequence_of(self, changelog_key: &[u8]) -> u32 {
        match (self, changelog_key.last_chunk()) {
            (Self::Window(_) | Self::TimestampedWindow(_), Some(last)) => u32::from_be_bytes(*last),
            _ => 0,
        }
    }
}

/// What everybody but the processors needs to know of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSpec {
    /// Unique in the topology. The changelog is `<application.id>-<name>-changelog`.
    pub name: String,
    /// How keys and values are laid out.
    pub kind: StoreKind,
    /// Whether committed writes go to a changelog. Without one the contents are lost with the disk
    /// or when the task moves. Default: true.
    pub logging: bool,
    /// Whether a table's updates are forwarded once per key and commit. Default: true in the DSL.
    pub caching: bool,
    /// Settings of the changelog topic that differ from the defaults.
    pub changelog_config: BTreeMap<String, String>,
    /// The user's topic that fills the store and stands in for its changelog: of a global store,
    /// and of a table whose topic is reused (`reuse.ktable.source.topics`); `logging` is off then.
    /// Default: none.
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

    /// Returns the settings that the changelog topic is created with, the user's own aside.
    ///
    /// Entries that expire are deleted from the topic too, `additional_retention_ms` later than
    /// from the store (`windowstore.changelog.additional.retention.ms`).
    #[must_use]
    pub fn changelog_defaults(&self, additional_retention_ms: i64) -> BTreeMap<String, String> {
        let mut config = BTreeMap::new();
        let mut set = |name: &str, value: &str| drop(config.insert(name.into(), value.into()));
        set("message.timestamp.type", "CreateTime");
        let Some(segments) = self.kind.segments() else {
            set("cleanup.policy", "compact");
            return config;
        };
        if let StoreKind::VersionedKeyValue(_) = self.kind {
            // every version is replayed as long as it belongs to the history
            set("cleanup.policy", "compact");
            let lag = segments.retention_ms.saturating_add(COMPACTION_LAG_MS);
            set("min.compaction.lag.ms", &lag.to_string());
            return config;
        }
        set("cleanup.policy", "compact,delete");
        let retention = segments.retention_ms.saturating_add(additional_retention_ms);
        set("retention.ms", &retention.to_string());
        config
    }

    /// Turns a changelog record into the stored value: what restoring writes.
    ///
    /// The changelog of a timestamped store has the value alone; its timestamp is the record's.
    pub fn stored_value(&self, timestamp: i64, value: &[u8], out: &mut Vec<u8>) {
        out.clear();
        if self.kind.is_timestamped() {
            out.extend_from_slice(&timestamp.to_be_bytes());
        }
        out.extend_from_slice(value);
    }
}
