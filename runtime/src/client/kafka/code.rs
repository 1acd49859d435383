//! Error codes as plain numbers, and what each asks of the caller.
//!
//! librdkafka's codes are a Rust enum in the bindings, but a broker may answer with a code that is
//! younger than the enum (120, `TRANSACTION_ABORTABLE`, is one), and a Rust enum with a foreign
//! value is undefined behaviour. So codes never take the enum's type on their way in.

use rdkafka::types::RDKafkaRespErr as E;

use crate::client::error::Severity;

pub(in crate::client) const NO_ERROR: i32 = 0;
pub(in crate::client) const UNKNOWN_TOPIC_OR_PART: i32 =
    E::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART as i32;
pub(in crate::client) const TOPIC_ALREADY_EXISTS: i32 =
    E::RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS as i32;
pub(in crate::client) const MSG_SIZE_TOO_LARGE: i32 =
    E::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE as i32;
pub(in crate::client) const REQUEST_TIMED_OUT: i32 = E::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT as i32;
pub(in crate::client) const FAIL: i32 = E::RD_KAFKA_RESP_ERR__FAIL as i32;
pub(in crate::client) const TRANSPORT: i32 = E::RD_KAFKA_RESP_ERR__TRANSPORT as i32;
pub(in crate::client) const RESOLVE: i32 = E::RD_KAFKA_RESP_ERR__RESOLVE as i32;
pub(in crate::client) const MSG_TIMED_OUT: i32 = E::RD_KAFKA_RESP_ERR__MSG_TIMED_OUT as i32;
pub(in crate::client) const PARTITION_EOF: i32 = E::RD_KAFKA_RESP_ERR__PARTITION_EOF as i32;
pub(in crate::client) const ALL_BROKERS_DOWN: i32 = E::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN as i32;
pub(in crate::client) const INVALID_ARG: i32 = E::RD_KAFKA_RESP_ERR__INVALID_ARG as i32;
pub(in crate::client) const TIMED_OUT: i32 = E::RD_KAFKA_RESP_ERR__TIMED_OUT as i32;
pub(in crate::client) const QUEUE_FULL: i32 = E::RD_KAFKA_RESP_ERR__QUEUE_FULL as i32;
pub(in crate::client) const ASSIGN_PARTITIONS: i32 = E::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS as i32;
pub(in crate::client) const REVOKE_PARTITIONS: i32 = E::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS as i32;
pub(in crate::client) const CONFLICT: i32 = E::RD_KAFKA_RESP_ERR__CONFLICT as i32;
pub(in crate::client) const STATE: i32 = E::RD_KAFKA_RESP_ERR__STATE as i32;
pub(in crate::client) const AUTHENTICATION: i32 = E::RD_KAFKA_RESP_ERR__AUTHENTICATION as i32;
pub(in crate::client) const NO_OFFSET: i32 = E::RD_KAFKA_RESP_ERR__NO_OFFSET as i32;
pub(in crate::client) const LEADER_NOT_AVAILABLE: i32 =
    E::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE as i32;
pub(in crate::client) const NOENT: i32 = E::RD_KAFKA_RESP_ERR__NOENT as i32;
pub(in crate::client) const TIMED_OUT_QUEUE: i32 = E::RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE as i32;
#[cfg(feature = "simulation")]
pub(in crate::client) const DESTROY: i32 = E::RD_KAFKA_RESP_ERR__DESTROY as i32;
pub(in crate::client) const PURGE_QUEUE: i32 = E::RD_KAFKA_RESP_ERR__PURGE_QUEUE as i32;
pub(in crate::client) const PURGE_INFLIGHT: i32 = E::RD_KAFKA_RESP_ERR__PURGE_INFLIGHT as i32;
pub(in crate::client) const FATAL: i32 = E::RD_KAFKA_RESP_ERR__FATAL as i32;
pub(in crate::client) const MAX_POLL_EXCEEDED: i32 = E::RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED as i32;

/// Younger than the bindings: KIP-890's "abort and go on".
const TRANSACTION_ABORTABLE: i32 = 120;

/// Returns true if the call may still take effect: only the waiting came to an end.
pub(in crate::client) fn timed_out(code: i32) -> bool {
    matches!(code, TIMED_OUT | TIMED_OUT_QUEUE | MSG_TIMED_OUT | REQUEST_TIMED_OUT)
}

/// Returns true if a request may have been sent without its answer being seen.
pub(in crate::client) fn transport(code: i32) -> bool {
    matches!(code, TRANSPORT | RESOLVE | ALL_BROKERS_DOWN) || timed_out(code)
}

/// Returns true if the client asked a broker that leads the partition no more, or in another epoch.
pub(in crate::client) fn stale_leader(code: i32) -> bool {
    [
        E::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
        E::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        E::RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH,
        E::RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH,
    ]
    .iter()
    .any(|known| *known as i32 == code)
}

/// Tells what a code asks of the caller where no error flags came with it.
///
/// A code that is not listed is fatal (credentials, rights, options, arguments): better to stop
/// than to repeat what we do not understand.
pub(in crate::client) fn severity(code: i32) -> Severity {
    let listed = |codes: &[E]| codes.iter().any(|known| *known as i32 == code);
    if listed(RETRY) {
        Severity::Retry
    } else if listed(ABORT) || code == TRANSACTION_ABORTABLE {
        Severity::Abort
    } else if listed(FENCED) {
        Severity::Fenced
    } else {
        Severity::Fatal
    }
}

/// The broker, its coordinator or the way to it is not there at the moment.
const RETRY: &[E] = &[
    E::RD_KAFKA_RESP_ERR__TRANSPORT,
    E::RD_KAFKA_RESP_ERR__RESOLVE,
    E::RD_KAFKA_RESP_ERR__MSG_TIMED_OUT,
    E::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN,
    E::RD_KAFKA_RESP_ERR__TIMED_OUT,
    E::RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE,
    E::RD_KAFKA_RESP_ERR__QUEUE_FULL,
    E::RD_KAFKA_RESP_ERR__ISR_INSUFF,
    E::RD_KAFKA_RESP_ERR__NODE_UPDATE,
    E::RD_KAFKA_RESP_ERR__WAIT_COORD,
    E::RD_KAFKA_RESP_ERR__IN_PROGRESS,
    E::RD_KAFKA_RESP_ERR__WAIT_CACHE,
    E::RD_KAFKA_RESP_ERR__INTR,
    E::RD_KAFKA_RESP_ERR__RETRY,
    E::RD_KAFKA_RESP_ERR__OUTDATED,
    E::RD_KAFKA_RESP_ERR__UNKNOWN_BROKER,
    E::RD_KAFKA_RESP_ERR__DESTROY_BROKER,
    E::RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED,
    E::RD_KAFKA_RESP_ERR_INVALID_MSG,
    E::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
    E::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
    E::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
    E::RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE,
    E::RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE,
    E::RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION,
    E::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
    E::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
    E::RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
    E::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
    E::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    E::RD_KAFKA_RESP_ERR_NOT_CONTROLLER,
    E::RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS,
    E::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
    E::RD_KAFKA_RESP_ERR_FETCH_SESSION_ID_NOT_FOUND,
    E::RD_KAFKA_RESP_ERR_INVALID_FETCH_SESSION_EPOCH,
    E::RD_KAFKA_RESP_ERR_LISTENER_NOT_FOUND,
    E::RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH,
    E::RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH,
    E::RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE,
    E::RD_KAFKA_RESP_ERR_PREFERRED_LEADER_NOT_AVAILABLE,
    E::RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT,
    E::RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED,
    E::RD_KAFKA_RESP_ERR_REBOOTSTRAP_REQUIRED,
];

/// The assignment or the transaction is over, the client is not.
const ABORT: &[E] = &[
    E::RD_KAFKA_RESP_ERR__ASSIGNMENT_LOST,
    E::RD_KAFKA_RESP_ERR__INCONSISTENT,
    E::RD_KAFKA_RESP_ERR__PURGE_QUEUE,
    E::RD_KAFKA_RESP_ERR__PURGE_INFLIGHT,
    E::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
    E::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
    E::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
    E::RD_KAFKA_RESP_ERR_STALE_MEMBER_EPOCH,
    E::RD_KAFKA_RESP_ERR_FENCED_MEMBER_EPOCH,
    E::RD_KAFKA_RESP_ERR_MEMBER_ID_REQUIRED,
    E::RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID,
    E::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING,
];

/// Somebody newer took over, or this client instance cannot go on.
const FENCED: &[E] = &[
    E::RD_KAFKA_RESP_ERR__FENCED,
    E::RD_KAFKA_RESP_ERR__FATAL,
    E::RD_KAFKA_RESP_ERR__DESTROY,
    E::RD_KAFKA_RESP_ERR__GAPLESS_GUARANTEE,
    E::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
    E::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
    E::RD_KAFKA_RESP_ERR_INVALID_TXN_STATE,
    E::RD_KAFKA_RESP_ERR_TRANSACTION_COORDINATOR_FENCED,
    E::RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID,
    E::RD_KAFKA_RESP_ERR_UNRELEASED_INSTANCE_ID,
    E::RD_KAFKA_RESP_ERR_PRODUCER_FENCED,
];
