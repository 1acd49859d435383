//! The seam's traits for librdkafka's types: each method is the type's own.

use std::sync::Arc;
use std::time::Duration;

use tidemill_core::record::{Offset, TopicPartition};

use super::{
    Admin, Consumer, GroupMetadata, LeaveError, Message, PartitionReader, Producer, leave_group,
};
use crate::client::error::ClientError;
use crate::client::seam::{Administer, Connector, Consume, Fetched, Produce, ReadPartition};
use crate::client::types::{
    AckedPosition, ClientConfig, Committed, DeliveryError, GroupEvent, Isolation, NewTopic,
    OffsetCommit, OffsetSpec, Outgoing, PositionSlot, SendError, TopicConfig, TopicCreation,
    TopicDescription, TopicHandle,
};
use crate::client::waker::Waker;

/// Makes clients of librdkafka.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KafkaConnector;

impl Connector for KafkaConnector {
    type Message = Message;
    type GroupMetadata = GroupMetadata;
    type Reader = PartitionReader;
    type Consumer = Consumer;
    type Producer = Producer;
    type Admin = Admin;

    fn consumer(&self, config: &ClientConfig, waker: Arc<Waker>) -> Result<Consumer, ClientError> {
        Consumer::new(config, waker)
    }

    fn producer(&self, config: &ClientConfig) -> Result<Producer, ClientError> {
        Producer::new(config)
    }

    fn admin(&self, config: &ClientConfig) -> Result<Admin, ClientError> {
        Admin::new(config)
    }

    fn leave_group(
        &self,
        config: &ClientConfig,
        group: &str,
        instance_id: &str,
        timeout: Duration,
    ) -> Result<(), LeaveError> {
        leave_group(config, group, instance_id, timeout)
    }
}

impl Consume for Consumer {
    type Reader = PartitionReader;
    type GroupMetadata = GroupMetadata;

    #[inline]
    fn subscribe(&mut self, topics: &[&str]) -> Result<(), ClientError> {
        Consumer::subscribe(self, topics)
    }

    #[inline]
    fn poll_event(&mut self, timeout: Duration) -> Option<GroupEvent> {
        Consumer::poll_event(self, timeout)
    }

    #[inline]
    fn assign(
        &mut self,
        offsets: &[(TopicPartition, Offset)],
    ) -> Result<Vec<PartitionReader>, ClientError> {
        Consumer::assign(self, offsets)
    }

    #[inline]
    fn unassign(&mut self) -> Result<(), ClientError> {
        Consumer::unassign(self)
    }

    #[inline]
    fn assign_more(
        &mut self,
        offsets: &[(TopicPartition, Offset)],
    ) -> Result<Vec<PartitionReader>, ClientError> {
        Consumer::assign_more(self, offsets)
    }

    #[inline]
    fn unassign_some(&mut self, partitions: &[TopicPartition]) -> Result<(), ClientError> {
        Consumer::unassign_some(self, partitions)
    }

    #[inline]
    fn group_metadata(&self) -> Result<GroupMetadata, ClientError> {
        Consumer::group_metadata(self)
    }

    #[inline]
    fn committed(
        &self,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> Result<Vec<Committed>, ClientError> {
        Consumer::committed(self, partitions, timeout)
    }

    #[inline]
    fn commit_sync(&self, offsets: &[OffsetCommit], timeout: Duration) -> Result<(), ClientError> {
        Consumer::commit_sync(self, offsets, timeout)
    }

    #[inline]
    fn close(&mut self, timeout: Duration) -> Result<(), ClientError> {
        Consumer::close(self, timeout)
    }
}

impl ReadPartition for PartitionReader {
    type Message = Message;

    #[inline]
    fn topic_partition(&self) -> &TopicPartition {
        PartitionReader::topic_partition(self)
    }

    #[inline]
    fn read(&mut self, max: usize, into: &mut impl FnMut(Fetched)) -> usize {
        PartitionReader::read(self, max, into)
    }
}

impl Produce for Producer {
    type GroupMetadata = GroupMetadata;

    #[inline]
    fn topic(&mut self, name: &str) -> Result<TopicHandle, ClientError> {
        Producer::topic(self, name)
    }

    #[inline]
    fn register_position(&mut self, partition: TopicPartition) -> PositionSlot {
        Producer::register_position(self, partition)
    }

    #[inline]
    fn send(&mut self, record: &Outgoing<'_>) -> Result<(), SendError> {
        Producer::send(self, record)
    }

    #[inline]
    fn poll(&mut self, timeout: Duration) {
        Producer::poll(self, timeout)
    }

    #[inline]
    fn flush(&mut self, timeout: Duration) -> Result<(), ClientError> {
        Producer::flush(self, timeout)
    }

    #[inline]
    fn positions(&mut self) -> Vec<(PositionSlot, AckedPosition)> {
        Producer::positions(self)
    }

    #[inline]
    fn reset_positions(&mut self) {
        Producer::reset_positions(self)
    }

    #[inline]
    fn delivery_error(&self) -> Option<DeliveryError> {
        Producer::delivery_error(self)
    }

    #[inline]
    fn clear_delivery_error(&mut self) {
        Producer::clear_delivery_error(self)
    }

    #[inline]
    fn troubled(&mut self) -> bool {
        Producer::troubled(self)
    }

    #[inline]
    fn init_transactions(&mut self, timeout: Duration) -> Result<(), ClientError> {
        Producer::init_transactions(self, timeout)
    }

    #[inline]
    fn begin_transaction(&mut self) -> Result<(), ClientError> {
        Producer::begin_transaction(self)
    }

    #[inline]
    fn send_offsets(
        &mut self,
        offsets: &[OffsetCommit],
        group: &GroupMetadata,
        timeout: Duration,
    ) -> Result<(), ClientError> {
        Producer::send_offsets(self, offsets, group, timeout)
    }

    #[inline]
    fn commit_transaction(&mut self, timeout: Duration) -> Result<(), ClientError> {
        Producer::commit_transaction(self, timeout)
    }

    #[inline]
    fn abort_transaction(&mut self, timeout: Duration) -> Result<(), ClientError> {
        Producer::abort_transaction(self, timeout)
    }
}

impl Administer for Admin {
    #[inline]
    fn topics(
        &self,
        names: &[&str],
        timeout: Duration,
    ) -> Result<Vec<TopicDescription>, ClientError> {
        Admin::topics(self, names, timeout)
    }

    #[inline]
    fn create_topics(
        &self,
        topics: &[NewTopic],
        timeout: Duration,
    ) -> Result<Vec<(String, TopicCreation)>, ClientError> {
        Admin::create_topics(self, topics, timeout)
    }

    #[inline]
    fn topic_configs(
        &self,
        names: &[&str],
        timeout: Duration,
    ) -> Result<Vec<TopicConfig>, ClientError> {
        Admin::topic_configs(self, names, timeout)
    }

    #[inline]
    fn list_offsets(
        &self,
        partitions: &[TopicPartition],
        spec: OffsetSpec,
        isolation: Isolation,
        timeout: Duration,
    ) -> Result<Vec<(TopicPartition, Offset)>, ClientError> {
        Admin::list_offsets(self, partitions, spec, isolation, timeout)
    }

    #[inline]
    fn delete_records(
        &self,
        before: &[(TopicPartition, Offset)],
        timeout: Duration,
    ) -> Result<Vec<(TopicPartition, Offset)>, ClientError> {
        Admin::delete_records(self, before, timeout)
    }
}
