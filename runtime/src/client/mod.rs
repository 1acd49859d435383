//! The client seam: everything that is said to Kafka is said through these types.
//!
//! # Contracts
//! - Nothing here runs user code or changes state behind its owner's back: group events, records
//!   and delivery reports come out of calls, on the caller's thread. Only the [`Waker`] is touched
//!   from other threads.
//! - Every call that may wait takes a timeout and keeps it (one exception:
//!   [`Producer::send_offsets`]), so a watchdog above bounds the rest.
//! - Every error is a [`ClientError`] whose [`Severity`] is the whole reaction.
//! - Null and empty are different things, in keys, values and header values.
//! - Offsets are the caller's: nothing here is ever committed, stored or reset by itself (INV-8).
//!   Start offsets are explicit, ends are told by [`Fetched::EndOfPartition`].
//! - What belongs to a client (a [`PartitionReader`], a [`Message`]) keeps it alive.
//!
//! # What each call becomes
//!
//! Names of librdkafka without their prefix `rd_kafka_`.
//!
//! | ours | librdkafka | protocol |
//! |---|---|---|
//! | `Consumer::subscribe` | `subscribe` | FindCoordinator, JoinGroup, SyncGroup, Heartbeat |
//! | `Consumer::poll_event` | `queue_poll` on the group queue | (answers of the above) |
//! | `Consumer::assign`, `unassign` | `assign` | Fetch; JoinGroup again after a revocation |
//! | `Consumer::assign_more`, `unassign_some` | `incremental_(un)assign` | Fetch |
//! | `PartitionReader::read` | `consume_batch_queue` | (answers of Fetch) |
//! | `Consumer::committed` | `committed` | OffsetFetch, require-stable when read_committed |
//! | `Consumer::commit_sync` | `commit_queue` | OffsetCommit |
//! | `Consumer::group_metadata` | `consumer_group_metadata` | none |
//! | `Consumer::close` | `consumer_close_queue` | LeaveGroup, unless a static member |
//! | `leave_group` | none: a socket of our own | FindCoordinator, LeaveGroup |
//! | `Producer::send` | `produceva` | AddPartitionsToTxn, Produce |
//! | `Producer::flush` | `flush` | Produce |
//! | `Producer::init_transactions` | `init_transactions` | FindCoordinator, InitProducerId |
//! | `Producer::begin_transaction` | `begin_transaction` | none |
//! | `Producer::send_offsets` | `send_offsets_to_transaction` | AddOffsetsToTxn, TxnOffsetCommit |
//! | `Producer::commit_transaction` | `commit_transaction` | Produce, EndTxn |
//! | `Producer::abort_transaction` | `abort_transaction` | EndTxn |
//! | `Admin::topics` | `DescribeTopics` | Metadata |
//! | `Admin::create_topics`, `delete_topics` | `CreateTopics`, `.._DeleteTopics` | the same |
//! | `Admin::create_partitions` | `CreatePartitions` | the same |
//! | `Admin::topic_configs` | `DescribeConfigs` | DescribeConfigs |
//! | `Admin::list_offsets` | `ListOffsets` | ListOffsets with the given isolation |
//! | `Admin::delete_records` | `DeleteRecords` | DeleteRecords |

#[cfg(feature = "simulation")]
pub(crate) mod embedded;
mod error;
mod kafka;
pub(crate) mod seam;
mod types;
mod waker;

pub use error::{ClientError, Severity};
pub(crate) use kafka::KafkaConnector;
pub use kafka::{
    Admin, Consumer, GroupMetadata, LeaveError, Message, PartitionReader, Producer, leave_group,
};
pub use seam::Fetched;
pub use types::{
    AckedPosition, ClientConfig, Committed, DeliveryError, GroupEvent, Isolation, NewTopic,
    OffsetCommit, OffsetSpec, Outgoing, PositionSlot, SendError, TopicConfig, TopicCreation,
    TopicDescription, TopicHandle,
};
pub use waker::Waker;
