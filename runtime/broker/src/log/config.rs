//! The configuration of a topic: Kafka's names, defaults and limits.

use std::collections::BTreeMap;

/// The type of a value, with what is legal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// `true` or `false`.
    Boolean,
    /// Any text.
    Text,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Some of these words, with commas between them, or none.
    ListOf(&'static [&'static str]),
    /// Any words, with commas between them.
    List,
    /// A 32 bit number that is at least this.
    Int(i32),
    /// A 64 bit number that is at least this.
    Long(i64),
    /// From 0 to 1.
    Ratio,
}

/// One option of a topic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ConfigOption {
    pub(crate) name: &'static str,
    pub(crate) default: &'static str,
    pub(crate) kind: Kind,
}

const FOREVER: &str = "9223372036854775807";
const WEEK: &str = "604800000";
const CODECS: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];

const fn option(name: &'static str, default: &'static str, kind: Kind) -> ConfigOption {
    ConfigOption { name, default, kind }
}

/// All options of a topic of Apache Kafka 4, by name. Those without a meaning in a broker of one
/// node that keeps its records in memory are kept and shown, nothing else.
pub(crate) const OPTIONS: &[ConfigOption] = &[
    option("cleanup.policy", "delete", Kind::ListOf(&["compact", "delete"])),
    option("compression.gzip.level", "-1", Kind::Int(-1)),
    option("compression.lz4.level", "9", Kind::Int(1)),
    option("compression.type", "producer", Kind::OneOf(CODECS)),
    option("compression.zstd.level", "3", Kind::Int(-131_072)),
    option("delete.retention.ms", "86400000", Kind::Long(0)),
    option("file.delete.delay.ms", "60000", Kind::Long(0)),
    option("flush.messages", FOREVER, Kind::Long(1)),
    option("flush.ms", FOREVER, Kind::Long(0)),
    option("follower.replication.throttled.replicas", "", Kind::List),
    option("index.interval.bytes", "4096", Kind::Int(0)),
    option("leader.replication.throttled.replicas", "", Kind::List),
    option("local.retention.bytes", "-2", Kind::Long(-2)),
    option("local.retention.ms", "-2", Kind::Long(-2)),
    option("max.compaction.lag.ms", FOREVER, Kind::Long(1)),
    option("max.message.bytes", "1048588", Kind::Int(0)),
    option("message.timestamp.after.max.ms", "3600000", Kind::Long(0)),
    option("message.timestamp.before.max.ms", FOREVER, Kind::Long(0)),
    option("message.timestamp.type", "CreateTime", Kind::OneOf(&["CreateTime", "LogAppendTime"])),
    option("min.cleanable.dirty.ratio", "0.5", Kind::Ratio),
    option("min.compaction.lag.ms", "0", Kind::Long(0)),
    option("min.insync.replicas", "1", Kind::Int(1)),
    option("preallocate", "false", Kind::Boolean),
    option("remote.log.copy.disable", "false", Kind::Boolean),
    option("remote.log.delete.on.disable", "false", Kind::Boolean),
    option("remote.storage.enable", "false", Kind::Boolean),
    option("retention.bytes", "-1", Kind::Long(i64::MIN)),
    option("retention.ms", WEEK, Kind::Long(-1)),
    option("segment.bytes", "1073741824", Kind::Int(1 << 20)),
    option("segment.index.bytes", "10485760", Kind::Int(4)),
    option("segment.jitter.ms", "0", Kind::Long(0)),
    option("segment.ms", WEEK, Kind::Long(1)),
    option("unclean.leader.election.enable", "false", Kind::Boolean),
];

/// Smaller segments than Kafka allows, for tests of compaction and retention. Kafka has this option
/// too, and does not show it either.
const INTERNAL_SEGMENT_BYTES: ConfigOption = option("internal.segment.bytes", "", Kind::Int(14));

/// Finds an option by name.
pub(crate) fn find(name: &str) -> Option<&'static ConfigOption> {
    if name == INTERNAL_SEGMENT_BYTES.name {
        return Some(&INTERNAL_SEGMENT_BYTES);
    }
    OPTIONS.iter().find(|option| option.name == name)
}

/// Checks one value; the error is text for the user.
pub(crate) fn check(name: &str, value: &str) -> Result<(), String> {
    let option = find(name).ok_or_else(|| format!("there is no topic config {name}"))?;
    let legal = match option.kind {
        Kind::Boolean => matches!(value, "true" | "false"),
        Kind::Text | Kind::List => true,
        Kind::OneOf(words) => words.contains(&value),
        Kind::ListOf(words) => {
            value.is_empty() || value.split(',').all(|word| words.contains(&word.trim()))
        }
        Kind::Int(least) => value.trim().parse::<i32>().is_ok_and(|number| number >= least),
        Kind::Long(least) => value.trim().parse::<i64>().is_ok_and(|number| number >= least),
        Kind::Ratio => value.trim().parse::<f64>().is_ok_and(|ratio| (0.0..=1.0).contains(&ratio)),
    };
    let expected = || match option.kind {
        Kind::Boolean => "true or false".to_owned(),
        Kind::Text | Kind::List => "text".to_owned(),
        Kind::OneOf(words) => format!("one of {}", words.join(", ")),
        Kind::ListOf(words) => format!("a list of {}", words.join(", ")),
        Kind::Int(least) => format!("a 32 bit number of at least {least}"),
        Kind::Long(least) => format!("a 64 bit number of at least {least}"),
        Kind::Ratio => "a number from 0 to 1".to_owned(),
    };
    if legal { Ok(()) } else { Err(format!("{name} is {value:?}, expected {}", expected())) }
}

/// What the log reads of a topic's configuration. The defaults are Kafka's.
#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    pub(crate) compacts: bool,
    pub(crate) deletes: bool,
    /// Number of the compression that records are stored with; `None` is as they come.
    pub(crate) compression: Option<i16>,
    pub(crate) delete_retention_ms: i64,
    pub(crate) max_compaction_lag_ms: i64,
    pub(crate) max_message_bytes: usize,
    pub(crate) append_time: bool,
    pub(crate) timestamp_after_max_ms: i64,
    pub(crate) timestamp_before_max_ms: i64,
    pub(crate) min_cleanable_dirty_ratio: f64,
    pub(crate) min_compaction_lag_ms: i64,
    pub(crate) retention_bytes: Option<usize>,
    pub(crate) retention_ms: Option<i64>,
    pub(crate) segment_bytes: usize,
    pub(crate) segment_ms: i64,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self::of(&BTreeMap::new())
    }
}

impl LogConfig {
    /// Reads what differs from the defaults. Values were checked when they were set.
    pub(crate) fn of(overrides: &BTreeMap<String, String>) -> Self {
        let text = |name: &str| match overrides.get(name) {
            Some(value) => value.trim(),
            None => find(name).map_or("", |option| option.default),
        };
        let number = |name: &str| text(name).parse::<i64>().unwrap_or(i64::MAX);
        let bytes = |name: &str| usize::try_from(number(name)).unwrap_or(0);
        let policy = |word: &str| text("cleanup.policy").split(',').any(|p| p.trim() == word);
        let segment = if overrides.contains_key(INTERNAL_SEGMENT_BYTES.name) {
            INTERNAL_SEGMENT_BYTES.name
        } else {
            "segment.bytes"
        };
        let compression = match text("compression.type") {
            "uncompressed" => Some(0),
            "gzip" => Some(1),
            "snappy" => Some(2),
            "lz4" => Some(3),
            "zstd" => Some(4),
            _ => None,
        };
        Self {
            compacts: policy("compact"),
            deletes: policy("delete"),
            compression,
            delete_retention_ms: number("delete.retention.ms"),
            max_compaction_lag_ms: number("max.compaction.lag.ms"),
            max_message_bytes: bytes("max.message.bytes"),
            append_time: text("message.timestamp.type") == "LogAppendTime",
            timestamp_after_max_ms: number("message.timestamp.after.max.ms"),
            timestamp_before_max_ms: number("message.timestamp.before.max.ms"),
            min_cleanable_dirty_ratio: text("min.cleanable.dirty.ratio").parse().unwrap_or(0.5),
            min_compaction_lag_ms: number("min.compaction.lag.ms"),
            retention_bytes: usize::try_from(number("retention.bytes")).ok(),
            retention_ms: Some(number("retention.ms")).filter(|ms| *ms >= 0),
            segment_bytes: bytes(segment),
            segment_ms: number("segment.ms"),
        }
    }

    /// Longest stretch of record time in a segment; compaction may need it to end earlier.
    pub(crate) fn roll_ms(&self) -> i64 {
        if self.compacts {
            self.segment_ms.min(self.max_compaction_lag_ms)
        } else {
            self.segment_ms
        }
    }
}
