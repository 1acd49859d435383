//! The typed configuration: one list of options, from which come the struct, its setters, the TOML
//! and environment parser and `docs/CONFIGURATION.md`.
//!
//! Sources, later ones win: code, then a TOML file, then the environment. Nothing is refused while
//! reading; [`Config::validate`] reports everything that is wrong at once, and never a value, since
//! any value may be a secret in the wrong place.
//!
//! ```
//! use std::time::Duration;
//! use tidemill::config::Config;
//!
//! let config = Config::new("balances", "localhost:9092")
//!     .with_state_dir("/var/lib/balances")
//!     .with_num_stream_threads(2)
//!     .with_commit_interval(Duration::from_millis(200))
//!     .with_client_option("kafka.security.protocol", "ssl");
//! assert!(config.validate().is_ok());
//! ```

mod client_rules;
mod debug;
mod docs;
mod error;
mod kafka;
mod librdkafka;
pub(crate) mod limits;
mod parse;
mod properties;
mod reset;
mod secret;
mod table;
#[cfg(test)]
mod tests;
mod validate;
mod value;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

pub use error::{ConfigError, Violation};
pub use kafka::ClientOptions;
pub use properties::{ClientProperties, WorkerIdentity};
pub use reset::AutoOffsetReset;
pub use secret::Secret;
pub use value::{ByteSize, ExceptionPolicy, MaxTaskIdle, ProcessingGuarantee};

use table::{OptionSpec, options};
use value::OptionValue;

options! {
    /// Names the application: its consumer group, the prefix of its internal topics and
    /// transactional ids, its folder under `state.dir`. Letters, digits, `.`, `_` and `-`; it does
    /// not start with `.` or `-`.
    "application.id" => application_id: String = String::new(), shown "required";
    with_application_id(id: impl Into<String>) { id.into() }

    /// The brokers to begin with, `host:port`, separated by commas.
    "bootstrap.servers" => bootstrap_servers: String = String::new(), shown "required";
    with_bootstrap_servers(servers: impl Into<String>) { servers.into() }

    /// Prefix of the names under which the clients appear in the broker's logs and quotas.
    "client.id" => client_id: Option<String> = None, shown "the application id";
    with_client_id(id: impl Into<String>) { Some(id.into()) }

    /// Folder of the local state. Each application has a folder of its own in it. The default is
    /// lost when the machine restarts, and the state is then restored from the changelogs: set it
    /// in production.
    "state.dir" => state_dir: PathBuf = std::env::temp_dir().join("tidemill"),
        shown "`tidemill` in the temporary directory";
    with_state_dir(dir: impl Into<PathBuf>) { dir.into() }

    /// Workers (threads) of this process. Each has one consumer and one producer.
    "num.stream.threads" => num_stream_threads: usize = 1, shown "`1`";
    with_num_stream_threads(workers: usize) { workers }

    /// `exactly_once_v2`: outputs, changelogs and input offsets of a commit are one transaction.
    /// `at_least_once`: no transactions; records may be processed again after a failure. Kafka
    /// Streams starts with `at_least_once`, because there exactly-once has to wipe and restore
    /// local state after a crash; here it does not, so the safe mode is the default.
    "processing.guarantee" => processing_guarantee: ProcessingGuarantee =
        ProcessingGuarantee::ExactlyOnceV2, shown "`exactly_once_v2`";
    with_processing_guarantee(guarantee: ProcessingGuarantee) { guarantee }

    /// Time between commits. Under exactly-once it is also how long a `read_committed` reader of
    /// the outputs waits. Shorter than `transaction.timeout.ms`.
    "commit.interval.ms" => commit_interval: Option<Duration> = None,
        shown "`100` (`exactly_once_v2`) or `30000` (`at_least_once`)";
    with_commit_interval(interval: Duration) { Some(interval) }

    /// The broker aborts a transaction that is open longer. After a crash, readers of the outputs
    /// wait at most so long. From 1 s to 15 min.
    "transaction.timeout.ms" => transaction_timeout: Duration = limits::TRANSACTION_TIMEOUT,
        shown "`10000`";
    with_transaction_timeout(timeout: Duration) { timeout }

    /// How long a task with an empty input partition waits for it before it takes records of the
    /// others. `-1`: not at all. `0`: until what the broker has was fetched. More: so long for
    /// records that were not yet written. Joins need `0` or more to be repeatable.
    "max.task.idle.ms" => max_task_idle: MaxTaskIdle = MaxTaskIdle::UntilFetched, shown "`0`";
    with_max_task_idle(idle: MaxTaskIdle) { idle }

    /// Records that a task buffers of one partition before the partition is paused.
    "buffered.records.per.partition" => buffered_records_per_partition: usize =
        limits::BUFFERED_RECORDS_PER_PARTITION, shown "`1000`";
    with_buffered_records_per_partition(records: usize) { records }

    /// Bytes of input records that one worker holds, in its tasks and in the client's queues. One
    /// read of a partition may exceed it by what the client's queue held, at least 1 MiB.
    "input.buffer.max.bytes" => input_buffer_max: ByteSize = limits::INPUT_BUFFER,
        shown "`67108864` (64 MiB)";
    with_input_buffer_max(bytes: ByteSize) { bytes }

    /// Bytes of store entries that one process holds in memory: writes not yet committed and the
    /// read cache. When the writes alone come near it, the worker commits early.
    "statestore.cache.max.bytes" => statestore_cache_max: ByteSize = limits::STATE_STORE_CACHE,
        shown "`67108864` (64 MiB)";
    with_statestore_cache_max(bytes: ByteSize) { bytes }

    /// How often an aggregation that emits final results looks for windows that have closed: less
    /// often is cheaper, and later. `0` looks at each record.
    "emit.interval.ms.kstreams.windowed.aggregation" => emit_interval: Duration =
        limits::EMIT_INTERVAL, shown "`1000`";
    with_emit_interval(interval: Duration) { interval }

    /// Replicas of the internal topics that Tidemill creates; `-1` takes the broker's default.
    "replication.factor" => replication_factor: i16 = -1, shown "`-1`";
    with_replication_factor(replicas: i16) { replicas }

    /// A worker without a heartbeat for so long loses its tasks. Brokers accept 6 s to 30 min
    /// unless they are told otherwise.
    "session.timeout.ms" => session_timeout: Duration = limits::SESSION_TIMEOUT, shown "`45000`";
    with_session_timeout(timeout: Duration) { timeout }

    /// Time between heartbeats; at most a third of `session.timeout.ms`.
    "heartbeat.interval.ms" => heartbeat_interval: Duration = limits::HEARTBEAT_INTERVAL,
        shown "`3000`";
    with_heartbeat_interval(interval: Duration) { interval }

    /// A worker that is busy for so long without asking for records loses its tasks.
    "max.poll.interval.ms" => max_poll_interval: Duration = limits::MAX_POLL_INTERVAL,
        shown "`300000`";
    with_max_poll_interval(interval: Duration) { interval }

    /// Whether a worker keeps its place in the group over a restart (KIP-345): one that is back
    /// within `session.timeout.ms` has its tasks again without a rebalance.
    "static.membership" => static_membership: bool = true, shown "`true`";
    with_static_membership(on: bool) { on }

    /// Prefix of the workers' names as static members. It must differ between the processes of an
    /// application; the default, which comes from the state directory, does.
    "group.instance.id" => group_instance_id: Option<String> = None,
        shown "the application id and the identity kept in the state directory";
    with_group_instance_id(prefix: impl Into<String>) { Some(prefix.into()) }

    /// Where a source without a committed offset starts. `none` stops with an error instead,
    /// `by_duration:PT1H` takes what is not older than an hour (KIP-1106).
    "auto.offset.reset" => auto_offset_reset: AutoOffsetReset = AutoOffsetReset::Earliest,
        shown "`earliest`";
    with_auto_offset_reset(reset: AutoOffsetReset) { reset }

    /// Added to the retention of a window store's changelog, for clocks that differ.
    "windowstore.changelog.additional.retention.ms" => windowstore_changelog_additional_retention:
        Duration = limits::WINDOW_ADDITIONAL_RETENTION, shown "`86400000` (1 day)";
    with_windowstore_changelog_additional_retention(retention: Duration) { retention }

    /// Time between deletions of records of repartition topics that are committed as read.
    "repartition.purge.interval.ms" => repartition_purge_interval: Duration =
        limits::REPARTITION_PURGE_INTERVAL, shown "`30000`";
    with_repartition_purge_interval(interval: Duration) { interval }

    /// Local state of a task that moved away is deleted after so long.
    "state.cleanup.delay.ms" => state_cleanup_delay: Duration = limits::STATE_CLEANUP_DELAY,
        shown "`600000` (10 min)";
    with_state_cleanup_delay(delay: Duration) { delay }

    /// How long a task retries what the broker does not answer before it fails (KIP-572); `0`
    /// fails at once.
    "task.timeout.ms" => task_timeout: Duration = limits::TASK_TIMEOUT, shown "`300000` (5 min)";
    with_task_timeout(timeout: Duration) { timeout }

    /// The topic for records that failed (KIP-1034). It must exist.
    "errors.dead.letter.queue.topic.name" => dead_letter_queue_topic: Option<String> = None,
        shown "none";
    with_dead_letter_queue_topic(topic: impl Into<String>) { Some(topic.into()) }

    /// What happens to a record that cannot be decoded, unless a handler is set in code.
    "deserialization.exception.handler" => deserialization_exception_handler: ExceptionPolicy =
        ExceptionPolicy::Fail, shown "`fail`";
    with_deserialization_exception_handler(policy: ExceptionPolicy) { policy }

    /// What happens to a record for which a processor returns an error, unless a handler is set in
    /// code.
    "processing.exception.handler" => processing_exception_handler: ExceptionPolicy =
        ExceptionPolicy::Fail, shown "`fail`";
    with_processing_exception_handler(policy: ExceptionPolicy) { policy }

    /// What happens to a record that cannot be encoded or that is too large to be sent, by
    /// `message.max.bytes` of the client or `max.message.bytes` of the topic, unless a handler is
    /// set in code. A record that only the broker refuses is always an error: the transaction that
    /// holds it is lost by then.
    "production.exception.handler" => production_exception_handler: ExceptionPolicy =
        ExceptionPolicy::Fail, shown "`fail`";
    with_production_exception_handler(policy: ExceptionPolicy) { policy }

    /// The longest that a worker with nothing to do waits for records.
    "poll.ms" => poll: Duration = limits::POLL, shown "`100`";
    with_poll(wait: Duration) { wait }

    /// Bytes of RocksDB's block cache, shared by all stores of the process.
    "rocksdb.block.cache.bytes" => rocksdb_block_cache: ByteSize = limits::ROCKSDB_BLOCK_CACHE,
        shown "`52428800` (50 MiB)";
    with_rocksdb_block_cache(bytes: ByteSize) { bytes }

    /// Bytes of RocksDB's write buffers, over all stores of the process.
    "rocksdb.write.buffer.bytes" => rocksdb_write_buffer: ByteSize = limits::ROCKSDB_WRITE_BUFFER,
        shown "`33554432` (32 MiB)";
    with_rocksdb_write_buffer(bytes: ByteSize) { bytes }

    /// Threads for RocksDB's flushes and compactions, shared by all stores of the process.
    "rocksdb.max.background.jobs" => rocksdb_max_background_jobs: Option<usize> = None,
        shown "the number of processors, at least `2`";
    with_rocksdb_max_background_jobs(jobs: usize) { Some(jobs) }

    /// Bytes that restoring writes to a store in one batch.
    "restore.batch.max.bytes" => restore_batch_max: ByteSize = limits::RESTORE_BATCH,
        shown "`4194304` (4 MiB)";
    with_restore_batch_max(bytes: ByteSize) { bytes }

    /// Bytes of changelog records that one process holds while it restores.
    "restore.buffer.max.bytes" => restore_buffer_max: ByteSize = limits::RESTORE_BUFFER,
        shown "`67108864` (64 MiB)";
    with_restore_buffer_max(bytes: ByteSize) { bytes }

    /// A changelog partition without progress for so long is named in the log and the metrics.
    "restore.stalled.after.ms" => restore_stalled_after: Duration = limits::RESTORE_STALLED_AFTER,
        shown "`60000`";
    with_restore_stalled_after(time: Duration) { time }

    /// Permits `sasl.mechanism=PLAIN` without TLS. The password then crosses the network readable.
    "allow.sasl.plain.without.tls" => allow_sasl_plain_without_tls: bool = false, shown "`false`";
    with_allow_sasl_plain_without_tls(allow: bool) { allow }
}

impl Config {
    /// A configuration with every other option at its default.
    #[must_use]
    pub fn new(application_id: impl Into<String>, bootstrap_servers: impl Into<String>) -> Self {
        Self {
            application_id: application_id.into(),
            bootstrap_servers: bootstrap_servers.into(),
            ..Self::unset()
        }
    }

    /// Sets one librdkafka option, by its full name with the prefix of the clients that it is for:
    /// `kafka.` (all), `consumer.` (the three below), `main.consumer.`, `restore.consumer.`,
    /// `global.consumer.`, `producer.` or `admin.`, e.g. `producer.compression.codec`. `validate`
    /// refuses options that Tidemill owns or that run code.
    #[must_use]
    pub fn with_client_option(mut self, name: &str, value: impl Into<Secret>) -> Self {
        self.client_options.set(name, value.into());
        self
    }

    /// Sets one setting of the internal topics that Tidemill creates, by its broker name, e.g.
    /// `segment.bytes`.
    #[must_use]
    pub fn with_topic_option(mut self, setting: &str, value: impl Into<String>) -> Self {
        self.topic_options.insert(setting.to_owned(), value.into());
        self
    }

    /// Whether commits are transactions.
    #[must_use]
    pub fn exactly_once(&self) -> bool {
        self.processing_guarantee == ProcessingGuarantee::ExactlyOnceV2
    }

    /// The commit interval: as set, else the default of the guarantee.
    #[must_use]
    pub fn effective_commit_interval(&self) -> Duration {
        self.commit_interval.unwrap_or(match self.processing_guarantee {
            ProcessingGuarantee::ExactlyOnceV2 => limits::COMMIT_INTERVAL_EXACTLY_ONCE,
            ProcessingGuarantee::AtLeastOnce => limits::COMMIT_INTERVAL_AT_LEAST_ONCE,
        })
    }

    /// The prefix of the clients' names: as set, else the application id.
    #[must_use]
    pub fn effective_client_id(&self) -> &str {
        self.client_id.as_deref().unwrap_or(&self.application_id)
    }

    /// RocksDB's background threads: as set, else the number of processors, at least 2.
    #[must_use]
    pub fn effective_rocksdb_background_jobs(&self) -> usize {
        self.rocksdb_max_background_jobs
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(2, |n| n.get().max(2)))
    }

    /// Bytes of store entries that one worker may hold: its share of the process's bound.
    #[must_use]
    pub fn statestore_cache_per_worker(&self) -> ByteSize {
        ByteSize(self.statestore_cache_max.0 / self.num_stream_threads.max(1) as u64)
    }
}
