//! Produce: records into partitions.

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_request::TopicProduceData;
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};
use kafka_protocol::protocol::StrBytes;

use super::{Engine, Handled, Millis};
use crate::log::{Batch, Refusal};

/// From this version on a client is told that it can go on after an abort.
const KNOWS_ABORTABLE: i16 = 11;

/// What a request says beside its records.
#[derive(Clone, Copy)]
struct Sender<'a> {
    acks: i16,
    version: i16,
    /// Empty if there is none.
    transactional_id: &'a str,
}

impl Engine {
    pub(super) fn produce(
        &mut self,
        now: Millis,
        version: i16,
        request: ProduceRequest,
    ) -> Handled {
        let acks = request.acks;
        let id = request.transactional_id.map_or_else(String::new, |id| id.to_string());
        let sender = Sender { acks, version, transactional_id: &id };
        let mut failed = None;
        let mut responses = Vec::with_capacity(request.topic_data.len());
        for topic in request.topic_data {
            let answer = self.produce_to(now, sender, topic);
            let errors = answer.partition_responses.iter().filter(|answer| answer.error_code != 0);
            failed = failed.or(errors.map(|answer| answer.error_code).next());
            responses.push(answer);
        }
        match (acks, failed) {
            (0, None) => Handled::Silent,
            // without an answer, closing the connection is all that tells the client
            (0, Some(code)) => Handled::Refused(format!("produce with acks=0: error {code}")),
            _ => Handled::answer(ProduceResponse::default().with_responses(responses)),
        }
    }

    fn produce_to(
        &mut self,
        now: Millis,
        sender: Sender<'_>,
        topic: TopicProduceData,
    ) -> TopicProduceResponse {
        let name = topic.name;
        let mut answers = Vec::with_capacity(topic.partition_data.len());
        for data in topic.partition_data {
            let answer = PartitionProduceResponse::default().with_index(data.index);
            let done = match data.records {
                _ if !(-1..=1).contains(&sender.acks) => Err(Refusal::new(
                    ResponseError::InvalidRequiredAcks,
                    format!("acks is {}, expected -1, 0 or 1", sender.acks),
                )),
                Some(records) => self.write(now, sender, (&name, data.index), records),
                None => Err(Refusal::new(ResponseError::InvalidRecord, "there are no records")),
            };
            answers.push(match done {
                Ok((offset, time, start)) => answer
                    .with_base_offset(offset)
                    .with_log_append_time_ms(time.unwrap_or(-1))
                    .with_log_start_offset(start),
                Err(refusal) => refused(answer, refusal),
            });
        }
        TopicProduceResponse::default().with_name(name).with_partition_responses(answers)
    }

    fn write(
        &mut self,
        now: Millis,
        sender: Sender<'_>,
        (topic, partition): (&str, i32),
        records: Bytes,
    ) -> Result<(i64, Option<Millis>, i64), Refusal> {
        let (mut context, topics, _, transactions) = self.parts(now);
        let Some(log) = topics.partition_mut(topic, partition) else {
            return Err(Refusal::new(
                ResponseError::UnknownTopicOrPartition,
                format!("there is no partition {partition} of a topic {topic}"),
            ));
        };
        let permitted = |batch: &Batch| {
            let (id, epoch) = (batch.producer_id(), batch.producer_epoch());
            let (transaction, target) = (sender.transactional_id, (topic, partition));
            match transactions.verify_partition(now, transaction, (id, epoch), target) {
                Ok(()) => Ok(()),
                Err(ResponseError::InvalidTxnState) => {
                    let knows_abortable = sender.version >= KNOWS_ABORTABLE;
                    Err(Refusal::not_in_transaction(id, epoch, knows_abortable))
                }
                Err(error) => Err(Refusal::new(error, error.to_string())),
            }
        };
        let done = log.append(&mut context, records, &permitted)?;
        Ok((done.base_offset, done.append_time, log.log_start()))
    }
}

fn refused(answer: PartitionProduceResponse, refusal: Refusal) -> PartitionProduceResponse {
    let records = refusal.records.into_iter().map(|(index, why)| {
        BatchIndexAndErrorMessage::default()
            .with_batch_index(index)
            .with_batch_index_error_message(Some(StrBytes::from_string(why)))
    });
    answer
        .with_error_code(refusal.error.code())
        .with_base_offset(-1)
        .with_log_append_time_ms(-1)
        .with_log_start_offset(-1)
        .with_record_errors(records.collect())
        .with_error_message(Some(StrBytes::from_string(refusal.message)))
}
