//! Every default and bound of the configuration, with the relations between them checked when the
//! program is compiled and the reason beside each.

use std::time::Duration;

use super::value::ByteSize;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

const fn shorter(a: Duration, b: Duration) -> bool {
    a.as_millis() < b.as_millis()
}

/// Kafka Streams' default under exactly-once: the latency that a read_committed reader sees.
pub(crate) const COMMIT_INTERVAL_EXACTLY_ONCE: Duration = ms(100);
/// Kafka Streams' default under at-least-once: what may be processed again after a failure.
pub(crate) const COMMIT_INTERVAL_AT_LEAST_ONCE: Duration = ms(30_000);
/// As Kafka Streams: after a crash an open transaction holds back every read_committed reader this
/// long.
pub(crate) const TRANSACTION_TIMEOUT: Duration = ms(10_000);
/// librdkafka's lower bound.
pub(crate) const TRANSACTION_TIMEOUT_MIN: Duration = ms(1_000);
/// The broker's `transaction.max.timeout.ms`: more is refused when the producer starts.
pub(crate) const TRANSACTION_TIMEOUT_MAX: Duration = ms(15 * 60_000);
/// Kafka's default since 3.0 (KIP-735).
pub(crate) const SESSION_TIMEOUT: Duration = ms(45_000);
/// Below this a scheduling hiccup looks like a death.
pub(crate) const SESSION_TIMEOUT_MIN: Duration = ms(1_000);
/// librdkafka's upper bound.
pub(crate) const SESSION_TIMEOUT_MAX: Duration = ms(3_600_000);
/// What a broker accepts by default: `group.min.session.timeout.ms`.
pub(crate) const BROKER_SESSION_TIMEOUT_MIN: Duration = ms(6_000);
/// What a broker accepts by default: `group.max.session.timeout.ms`.
pub(crate) const BROKER_SESSION_TIMEOUT_MAX: Duration = ms(1_800_000);
/// Kafka's default.
pub(crate) const HEARTBEAT_INTERVAL: Duration = ms(3_000);
/// So many heartbeats have to be lost before a member counts as dead.
pub(crate) const HEARTBEATS_PER_SESSION: u32 = 3;
/// Kafka's default.
pub(crate) const MAX_POLL_INTERVAL: Duration = ms(300_000);
/// librdkafka's upper bound.
pub(crate) const MAX_POLL_INTERVAL_MAX: Duration = ms(86_400_000);
/// Kafka Streams' default.
pub(crate) const POLL: Duration = ms(100);
/// Kafka Streams' default (KIP-572).
pub(crate) const TASK_TIMEOUT: Duration = ms(300_000);
/// Kafka Streams' default.
pub(crate) const EMIT_INTERVAL: Duration = ms(1_000);
/// Kafka Streams' default.
pub(crate) const REPARTITION_PURGE_INTERVAL: Duration = ms(30_000);
/// Kafka Streams' default.
pub(crate) const STATE_CLEANUP_DELAY: Duration = ms(600_000);
/// Kafka Streams' default: room for clocks that differ.
pub(crate) const WINDOW_ADDITIONAL_RETENTION: Duration = ms(86_400_000);
/// Longer than any broker fail-over that heals by itself.
pub(crate) const RESTORE_STALLED_AFTER: Duration = ms(60_000);

/// Kafka Streams' default.
pub(crate) const BUFFERED_RECORDS_PER_PARTITION: usize = 1_000;
/// Of one worker. An eighth of Kafka Streams' default: there it is heap, here it is resident.
pub(crate) const INPUT_BUFFER: ByteSize = ByteSize::mib(64);
/// Less than one fetch would stall every partition.
pub(crate) const INPUT_BUFFER_MIN: ByteSize = ByteSize::mib(1);
/// Of one process: six times Kafka Streams' default, because uncommitted writes live here too.
pub(crate) const STATE_STORE_CACHE: ByteSize = ByteSize::mib(64);
/// Below this the overlay would force a commit every few records.
pub(crate) const STATE_STORE_CACHE_MIN: ByteSize = ByteSize::mib(1);
/// Of one process, shared by all stores. Kafka Streams has 50 MiB for each store.
pub(crate) const ROCKSDB_BLOCK_CACHE: ByteSize = ByteSize::mib(50);
/// Of one process, over all stores.
pub(crate) const ROCKSDB_WRITE_BUFFER: ByteSize = ByteSize::mib(32);
/// RocksDB itself flushes all the time below this.
pub(crate) const ROCKSDB_WRITE_BUFFER_MIN: ByteSize = ByteSize::mib(1);
/// Large enough that the cost of a write is the bytes', small enough to interleave partitions.
pub(crate) const RESTORE_BATCH: ByteSize = ByteSize::mib(4);
/// Of one process: what restoring may hold between broker and RocksDB.
pub(crate) const RESTORE_BUFFER: ByteSize = ByteSize::mib(64);

/// More workers than this in one process is a mistake in a file, not a wish.
pub(crate) const WORKERS_MAX: usize = 1_024;
/// Topics that one worker writes, dead letter queues included: each has a handle of the client and
/// its share of the metadata, kept for good. A sink that chooses topics by data could name any
/// number of them.
pub(crate) const SINK_TOPICS_MAX: usize = 10_000;
/// Kafka's limit for a topic name.
pub(crate) const TOPIC_NAME_BYTES_MAX: usize = 249;
/// Left for `-<store>-repartition` in internal topic names, and for `-<process>-<worker>` in
/// transactional ids and client names.
pub(crate) const APPLICATION_ID_BYTES_MAX: usize = 150;

/// Bytes of records that librdkafka may queue for one partition of a worker: its limits are per
/// partition, so a worker's bound is divided by the number of partitions it is expected to read.
pub(crate) const PARTITIONS_PER_WORKER: u64 = 16;
/// The same for restoring: few partitions at a time.
pub(crate) const PARTITIONS_PER_RESTORE: u64 = 8;
/// A partition's queue holds at least one fetched batch.
pub(crate) const PARTITION_QUEUE_MIN: ByteSize = ByteSize::mib(1);
/// librdkafka's upper bound of `queued.max.messages.kbytes`.
pub(crate) const PARTITION_QUEUE_MAX: ByteSize = ByteSize::kib(2_097_151);
/// A request without an answer for so long is repeated on a new connection (Java's
/// `request.timeout.ms`); librdkafka's 60 s would outlast the session.
pub(crate) const SOCKET_TIMEOUT: Duration = ms(30_000);
/// librdkafka refuses a socket time-out above the transaction's plus this.
pub(crate) const SOCKET_OVER_TRANSACTION_MAX: Duration = ms(100);

const _: () = assert!(shorter(COMMIT_INTERVAL_EXACTLY_ONCE, TRANSACTION_TIMEOUT));
const _: () = assert!(shorter(TRANSACTION_TIMEOUT_MIN, TRANSACTION_TIMEOUT));
const _: () = assert!(shorter(TRANSACTION_TIMEOUT, TRANSACTION_TIMEOUT_MAX));
// A dead worker's transaction ends before its group session does: a takeover never waits longer
// for the transaction than for the group.
const _: () = assert!(shorter(TRANSACTION_TIMEOUT, SESSION_TIMEOUT));
const _: () = assert!(
    HEARTBEAT_INTERVAL.as_millis() * HEARTBEATS_PER_SESSION as u128 <= SESSION_TIMEOUT.as_millis()
);
const _: () = assert!(shorter(SESSION_TIMEOUT, MAX_POLL_INTERVAL));
const _: () = assert!(shorter(SESSION_TIMEOUT_MIN, BROKER_SESSION_TIMEOUT_MIN));
const _: () = assert!(shorter(POLL, SESSION_TIMEOUT));
// A request is repeated once before the session ends.
const _: () = assert!(shorter(SOCKET_TIMEOUT, SESSION_TIMEOUT));
const _: () = assert!(INPUT_BUFFER.0 / PARTITIONS_PER_WORKER >= PARTITION_QUEUE_MIN.0);
const _: () = assert!(RESTORE_BUFFER.0 / PARTITIONS_PER_RESTORE >= RESTORE_BATCH.0);
const _: () = assert!(RESTORE_BATCH.0 <= ROCKSDB_WRITE_BUFFER.0);
const _: () = assert!(APPLICATION_ID_BYTES_MAX < TOPIC_NAME_BYTES_MAX);
