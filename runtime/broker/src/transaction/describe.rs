//! ListTransactions and DescribeTransactions.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_transactions_response::{
    TopicData, TransactionState as Described,
};
use kafka_protocol::messages::list_transactions_response::TransactionState as Listed;
use kafka_protocol::messages::{
    DescribeTransactionsRequest, DescribeTransactionsResponse, ListTransactionsRequest,
    ListTransactionsResponse, ProducerId, TopicName, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;

use super::{Transaction, TransactionState, Transactions};
use crate::engine::{Context, MarkerTarget};

/// Where Kafka keeps offsets: what tools are shown for the groups of a transaction.
const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// Number of its partitions by default.
const OFFSETS_PARTITIONS: u32 = 50;

impl Transactions {
    /// Lists transactional ids by state, producer and age.
    pub(crate) fn list(
        &self,
        ctx: &Context<'_>,
        request: &ListTransactionsRequest,
    ) -> ListTransactionsResponse {
        let known = |name: &StrBytes| TransactionState::ALL.iter().any(|of| of.name() == &**name);
        let unknown = request.state_filters.iter().filter(|name| !known(name)).cloned();
        let mut answer =
            ListTransactionsResponse::default().with_unknown_state_filters(unknown.collect());
        let states = &request.state_filters;
        let producers = &request.producer_id_filters;
        for (id, transaction) in &self.ids {
            let name = transaction.state.name();
            let age = ctx.now.saturating_sub(transaction.started);
            let young = request.duration_filter >= 0 && age <= request.duration_filter;
            let of_state = states.is_empty() || states.iter().any(|state| &**state == name);
            let of_producer = producers.is_empty()
                || producers.iter().any(|producer| **producer == transaction.producer_id);
            if of_state && of_producer && !young {
                answer.transaction_states.push(
                    Listed::default()
                        .with_transactional_id(TransactionalId(StrBytes::from(id.clone())))
                        .with_producer_id(ProducerId(transaction.producer_id))
                        .with_transaction_state(StrBytes::from_static_str(name)),
                );
            }
        }
        answer
    }

    /// Describes transactional ids with the partitions of their transactions.
    pub(crate) fn describe(
        &self,
        ctx: &Context<'_>,
        request: &DescribeTransactionsRequest,
    ) -> DescribeTransactionsResponse {
        let described = request.transactional_ids.iter().map(|id| {
            let answer = Described::default().with_transactional_id(id.clone());
            if let Err(error) = self.check(id, ctx.now) {
                return answer.with_error_code(error.code());
            }
            match self.ids.get(&***id) {
                Some(transaction) => describe(answer, transaction),
                None => answer.with_error_code(ResponseError::TransactionalIdNotFound.code()),
            }
        });
        DescribeTransactionsResponse::default().with_transaction_states(described.collect())
    }
}

fn describe(answer: Described, transaction: &Transaction) -> Described {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for target in &transaction.targets {
        let (topic, partition) = match target {
            MarkerTarget::Partition { topic, partition } => (topic.as_str(), *partition),
            MarkerTarget::Group(group) => (OFFSETS_TOPIC, offsets_partition(group)),
        };
        topics.entry(topic).or_default().push(partition);
    }
    let topics = topics.into_iter().map(|(topic, mut partitions)| {
        partitions.sort_unstable();
        partitions.dedup();
        TopicData::default()
            .with_topic(TopicName(StrBytes::from(topic.to_owned())))
            .with_partitions(partitions)
    });
    answer
        .with_producer_id(ProducerId(transaction.producer_id))
        .with_producer_epoch(transaction.epoch)
        .with_transaction_state(StrBytes::from_static_str(transaction.state.name()))
        .with_transaction_timeout_ms(i32::try_from(transaction.timeout).unwrap_or(i32::MAX))
        .with_transaction_start_time_ms(transaction.started)
        .with_topics(topics.collect())
}

/// The partition that would have a group's offsets: Java's hash of its name.
fn offsets_partition(group: &str) -> i32 {
    let hash = group
        .encode_utf16()
        .fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    let positive = hash.cast_unsigned() & 0x7fff_ffff;
    i32::try_from(positive % OFFSETS_PARTITIONS).unwrap_or(0)
}
