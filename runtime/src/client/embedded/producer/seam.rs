//! The seam's producer.

use std::time::Duration;

use tidemill_core::record::TopicPartition;

use super::Producer;
use crate::client::embedded::consumer::GroupMetadata;
use crate::client::error::ClientError;
use crate::client::kafka::{code, error};
use crate::client::seam::Produce;
use crate::client::types::{
    AckedPosition, DeliveryError, OffsetCommit, Outgoing, PositionSlot, SendError, TopicHandle,
};

impl Produce for Producer {
    type GroupMetadata = GroupMetadata;

    fn topic(&mut self, name: &str) -> Result<TopicHandle, ClientError> {
        self.topic_handle(name)
    }

    fn register_position(&mut self, partition: TopicPartition) -> PositionSlot {
        self.position_slot(partition)
    }

    fn send(&mut self, record: &Outgoing<'_>) -> Result<(), SendError> {
        self.enqueue(record)
    }

    fn poll(&mut self, timeout: Duration) {
        self.serve_reports(timeout);
    }

    fn flush(&mut self, timeout: Duration) -> Result<(), ClientError> {
        let deadline = self.core.scheduler.now().saturating_add(timeout);
        if self.core.flush(deadline) {
            Ok(())
        } else {
            Err(error::from_code("flush the producer", code::TIMED_OUT))
        }
    }

    fn positions(&mut self) -> Vec<(PositionSlot, AckedPosition)> {
        let producer = self.id;
        let positions = self.core.log.positions().into_iter();
        positions.map(|(index, position)| (PositionSlot { producer, index }, position)).collect()
    }

    fn reset_positions(&mut self) {
        self.core.log.reset_positions();
    }

    fn delivery_error(&self) -> Option<DeliveryError> {
        self.core.log.first_error()
    }

    fn clear_delivery_error(&mut self) {
        self.core.log.clear_error();
    }

    fn troubled(&mut self) -> bool {
        self.core.serve();
        self.core.log.troubled()
    }

    fn init_transactions(&mut self, timeout: Duration) -> Result<(), ClientError> {
        self.init(timeout)
    }

    fn begin_transaction(&mut self) -> Result<(), ClientError> {
        self.begin()
    }

    fn send_offsets(
        &mut self,
        offsets: &[OffsetCommit],
        group: &GroupMetadata,
        timeout: Duration,
    ) -> Result<(), ClientError> {
        self.send_offsets_of(offsets, group, timeout)
    }

    fn commit_transaction(&mut self, timeout: Duration) -> Result<(), ClientError> {
        self.commit(timeout)
    }

    fn abort_transaction(&mut self, timeout: Duration) -> Result<(), ClientError> {
        self.abort(timeout)
    }
}
