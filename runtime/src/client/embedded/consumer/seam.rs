//! The seam's consumer.

use std::time::Duration;

use tidemill_core::record::{Offset, TopicPartition};

use super::{Consumer, GroupMetadata, PartitionReader};
use crate::client::error::ClientError;
use crate::client::seam::Consume;
use crate::client::types::{Committed, GroupEvent, OffsetCommit};

impl Consume for Consumer {
    type Reader = PartitionReader;
    type GroupMetadata = GroupMetadata;

    fn subscribe(&mut self, topics: &[&str]) -> Result<(), ClientError> {
        self.subscribe_to(topics)
    }

    fn poll_event(&mut self, timeout: Duration) -> Option<GroupEvent> {
        self.next_event(timeout)
    }

    fn assign(
        &mut self,
        offsets: &[(TopicPartition, Offset)],
    ) -> Result<Vec<PartitionReader>, ClientError> {
        self.assign_all(offsets)
    }

    fn unassign(&mut self) -> Result<(), ClientError> {
        self.unassign_all()
    }

    fn assign_more(
        &mut self,
        offsets: &[(TopicPartition, Offset)],
    ) -> Result<Vec<PartitionReader>, ClientError> {
        self.assign_some(offsets)
    }

    fn unassign_some(&mut self, partitions: &[TopicPartition]) -> Result<(), ClientError> {
        self.take_back(partitions)
    }

    fn group_metadata(&self) -> Result<GroupMetadata, ClientError> {
        Ok(self.identity())
    }

    fn committed(
        &self,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> Result<Vec<Committed>, ClientError> {
        self.committed_offsets(partitions, timeout)
    }

    fn commit_sync(&self, offsets: &[OffsetCommit], timeout: Duration) -> Result<(), ClientError> {
        self.commit_offsets(offsets, timeout)
    }

    fn close(&mut self, timeout: Duration) -> Result<(), ClientError> {
        self.leave(timeout)
    }
}
