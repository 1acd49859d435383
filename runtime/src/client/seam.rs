//! What the runtime asks of a Kafka client: the seam between it and librdkafka, behind which the
//! embedded client of the simulation stands too.
//!
//! The contracts are those of the parent module, and each method is documented where librdkafka's
//! types have it under the same name: [`kafka`](super::kafka). Everything is resolved when the
//! program is compiled.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tidemill_core::record::{Offset, RawRecord, TopicPartition};

use super::error::ClientError;
use super::kafka::{LeaveError, Message};
use super::types::{
    AckedPosition, ClientConfig, Committed, DeliveryError, GroupEvent, Isolation, NewTopic,
    OffsetCommit, OffsetSpec, Outgoing, PositionSlot, SendError, TopicConfig, TopicCreation,
    TopicDescription, TopicHandle,
};
use super::waker::Waker;

/// What a read of a partition yields.
#[derive(Debug)]
pub enum Fetched<M = Message> {
    /// The next record.
    Record(M),
    /// Nothing more to see for now: the reader stands at the last stable offset (read_committed) or
    /// the high watermark (read_uncommitted). Carries the **next** offset, which lies beyond the
    /// control records and the aborted records at the tail, so it may be committed (INV-8). Told
    /// once each time the end is reached.
    EndOfPartition(Offset),
    /// The partition cannot be read on. See [`ClientError::is_offset_out_of_range`].
    Failed(ClientError),
}

/// Makes clients of one kind.
pub(crate) trait Connector: Clone + 'static {
    type Message: RawRecord + fmt::Debug + 'static;
    /// A member's identity at one moment (INV-7).
    type GroupMetadata: 'static;
    type Reader: ReadPartition<Message = Self::Message>;
    type Consumer: Consume<Reader = Self::Reader, GroupMetadata = Self::GroupMetadata>;
    type Producer: Produce<GroupMetadata = Self::GroupMetadata>;
    type Admin: Administer;

    /// Makes a consumer that raises the waker whenever a group event or a record arrives.
    fn consumer(
        &self,
        config: &ClientConfig,
        waker: Arc<Waker>,
    ) -> Result<Self::Consumer, ClientError>;

    fn producer(&self, config: &ClientConfig) -> Result<Self::Producer, ClientError>;

    fn admin(&self, config: &ClientConfig) -> Result<Self::Admin, ClientError>;

    /// Takes a static member out of its group after its consumer was closed.
    fn leave_group(
        &self,
        config: &ClientConfig,
        group: &str,
        instance_id: &str,
        timeout: Duration,
    ) -> Result<(), LeaveError>;
}

/// A consumer: member of a group, or reader of what it is told to read.
pub(crate) trait Consume: 'static {
    type Reader;
    type GroupMetadata;

    fn subscribe(&mut self, topics: &[&str]) -> Result<(), ClientError>;

    fn poll_event(&mut self, timeout: Duration) -> Option<GroupEvent>;

    fn assign(
        &mut self,
        offsets: &[(TopicPartition, Offset)],
    ) -> Result<Vec<Self::Reader>, ClientError>;

    fn unassign(&mut self) -> Result<(), ClientError>;

    fn assign_more(
        &mut self,
        offsets: &[(TopicPartition, Offset)],
    ) -> Result<Vec<Self::Reader>, ClientError>;

    fn unassign_some(&mut self, partitions: &[TopicPartition]) -> Result<(), ClientError>;

    fn group_metadata(&self) -> Result<Self::GroupMetadata, ClientError>;

    fn committed(
        &self,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> Result<Vec<Committed>, ClientError>;

    fn commit_sync(&self, offsets: &[OffsetCommit], timeout: Duration) -> Result<(), ClientError>;

    fn close(&mut self, timeout: Duration) -> Result<(), ClientError>;
}

/// The records of one assigned partition.
pub(crate) trait ReadPartition: 'static {
    type Message;

    fn topic_partition(&self) -> &TopicPartition;

    fn read(&mut self, max: usize, into: &mut impl FnMut(Fetched<Self::Message>)) -> usize;
}

/// A producer, transactional if its configuration names a transactional id.
pub(crate) trait Produce: 'static {
    type GroupMetadata;

    fn topic(&mut self, name: &str) -> Result<TopicHandle, ClientError>;

    fn register_position(&mut self, partition: TopicPartition) -> PositionSlot;

    fn send(&mut self, record: &Outgoing<'_>) -> Result<(), SendError>;

    fn poll(&mut self, timeout: Duration);

    fn flush(&mut self, timeout: Duration) -> Result<(), ClientError>;

    fn positions(&mut self) -> Vec<(PositionSlot, AckedPosition)>;

    fn reset_positions(&mut self);

    fn delivery_error(&self) -> Option<DeliveryError>;

    fn clear_delivery_error(&mut self);

    fn troubled(&mut self) -> bool;

    fn init_transactions(&mut self, timeout: Duration) -> Result<(), ClientError>;

    fn begin_transaction(&mut self) -> Result<(), ClientError>;

    fn send_offsets(
        &mut self,
        offsets: &[OffsetCommit],
        group: &Self::GroupMetadata,
        timeout: Duration,
    ) -> Result<(), ClientError>;

    fn commit_transaction(&mut self, timeout: Duration) -> Result<(), ClientError>;

    fn abort_transaction(&mut self, timeout: Duration) -> Result<(), ClientError>;
}

/// A client for administrative requests.
pub(crate) trait Administer: 'static {
    fn topics(
        &self,
        names: &[&str],
        timeout: Duration,
    ) -> Result<Vec<TopicDescription>, ClientError>;

    fn create_topics(
        &self,
        topics: &[NewTopic],
        timeout: Duration,
    ) -> Result<Vec<(String, TopicCreation)>, ClientError>;

    fn topic_configs(
        &self,
        names: &[&str],
        timeout: Duration,
    ) -> Result<Vec<TopicConfig>, ClientError>;

    fn list_offsets(
        &self,
        partitions: &[TopicPartition],
        spec: OffsetSpec,
        isolation: Isolation,
        timeout: Duration,
    ) -> Result<Vec<(TopicPartition, Offset)>, ClientError>;

    fn delete_records(
        &self,
        before: &[(TopicPartition, Offset)],
        timeout: Duration,
    ) -> Result<Vec<(TopicPartition, Offset)>, ClientError>;
}
