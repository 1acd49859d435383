//! AddPartitionsToTxn and AddOffsetsToTxn: what a transaction is about to touch.

use std::collections::BTreeSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
};

use super::{TransactionState, Transactions, for_version};
use crate::engine::{Context, MarkerTarget, Millis};
use crate::log::Topics;

/// From this version on clients know that a producer can be fenced.
const KNOWS_FENCED: i16 = 2;

impl Transactions {
    /// Makes partitions part of a producer's transaction, which begins with the first. All of a
    /// request are taken, or none.
    pub(crate) fn add_partitions(
        &mut self,
        ctx: &mut Context<'_>,
        version: i16,
        request: &AddPartitionsToTxnRequest,
        topics: &Topics,
    ) -> AddPartitionsToTxnResponse {
        let asked = request.v3_and_below_topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|partition| (topic.name.as_str(), *partition))
        });
        let exists = |topic: &str, partition: i32| topics.partition(topic, partition).is_some();
        let known = asked.clone().all(|(topic, partition)| exists(topic, partition));
        let result = if known {
            let targets = asked.map(|(topic, partition)| MarkerTarget::Partition {
                topic: topic.to_owned(),
                partition,
            });
            let producer = (*request.v3_and_below_producer_id, request.v3_and_below_producer_epoch);
            self.add(ctx, &request.v3_and_below_transactional_id, producer, targets.collect())
        } else {
            Err(ResponseError::OperationNotAttempted)
        };
        let error = |topic: &str, partition: i32| {
            let result = if known || exists(topic, partition) {
                result.map_err(|error| for_version(version, KNOWS_FENCED, error))
            } else {
                Err(ResponseError::UnknownTopicOrPartition)
            };
            result.err().map_or(0, |error| error.code())
        };
        let results = request.v3_and_below_topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                AddPartitionsToTxnPartitionResult::default()
                    .with_partition_index(*partition)
                    .with_partition_error_code(error(&topic.name, *partition))
            });
            AddPartitionsToTxnTopicResult::default()
                .with_name(topic.name.clone())
                .with_results_by_partition(partitions.collect())
        });
        AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(results.collect())
    }

    /// Makes a group's offsets part of a producer's transaction.
    pub(crate) fn add_offsets(
        &mut self,
        ctx: &mut Context<'_>,
        version: i16,
        request: &AddOffsetsToTxnRequest,
    ) -> AddOffsetsToTxnResponse {
        let group = MarkerTarget::Group(request.group_id.to_string());
        let producer = (*request.producer_id, request.producer_epoch);
        let result = self.add(ctx, &request.transactional_id, producer, BTreeSet::from([group]));
        let error = result.map_err(|error| for_version(version, KNOWS_FENCED, error)).err();
        AddOffsetsToTxnResponse::default().with_error_code(error.map_or(0, |error| error.code()))
    }

    fn add(
        &mut self,
        ctx: &mut Context<'_>,
        id: &str,
        producer: (i64, i16),
        targets: BTreeSet<MarkerTarget>,
    ) -> Result<(), ResponseError> {
        let transaction = self.of_producer(id, producer, ctx.now)?;
        let ongoing = transaction.state == TransactionState::Ongoing;
        if ongoing && targets.is_subset(&transaction.targets) {
            return Ok(());
        }
        if !ongoing {
            transaction.started = ctx.now;
        }
        transaction.transition(TransactionState::Ongoing, ctx.now);
        transaction.targets.extend(targets);
        self.store(ctx, id);
        Ok(())
    }

    /// Whether a producer may begin to write to a partition: its transaction has it. Asked for a
    /// log that has no open transaction of this producer and epoch.
    pub(crate) fn verify_partition(
        &self,
        now: Millis,
        id: &str,
        producer: (i64, i16),
        (topic, partition): (&str, i32),
    ) -> Result<(), ResponseError> {
        let target = MarkerTarget::Partition { topic: topic.to_owned(), partition };
        // older clients would not try again when told what is the matter
        self.verify(now, id, producer, &target).map_err(|error| match error {
            ResponseError::ConcurrentTransactions
            | ResponseError::CoordinatorLoadInProgress
            | ResponseError::NotCoordinator => ResponseError::NotEnoughReplicas,
            error => error,
        })
    }

    /// Whether a producer may begin to commit offsets of a group: its transaction has it.
    pub(crate) fn verify_group(
        &self,
        now: Millis,
        id: &str,
        producer: (i64, i16),
        group: &str,
    ) -> Result<(), ResponseError> {
        self.verify(now, id, producer, &MarkerTarget::Group(group.to_owned()))
    }

    fn verify(
        &self,
        now: Millis,
        id: &str,
        (producer_id, epoch): (i64, i16),
        target: &MarkerTarget,
    ) -> Result<(), ResponseError> {
        self.check(id, now)?;
        let transaction = self.ids.get(id).ok_or(ResponseError::InvalidProducerIdMapping)?;
        if transaction.producer_id != producer_id {
            return Err(ResponseError::InvalidProducerIdMapping);
        }
        if transaction.epoch != epoch {
            return Err(ResponseError::InvalidProducerEpoch);
        }
        if transaction.state.is_prepared() {
            return Err(ResponseError::ConcurrentTransactions);
        }
        let has = transaction.targets.contains(target);
        if has { Ok(()) } else { Err(ResponseError::InvalidTxnState) }
    }
}
