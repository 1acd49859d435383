//! Records, offsets and markers together, as producers and consumers see them.

use bytes::{Bytes, BytesMut};
use kafka_protocol::ResponseError::*;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::*;
use kafka_protocol::records::{
    Compression, Record, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use tidemill_broker::engine::MarkerTarget;

use crate::kit::*;

/// A batch with one transactional record.
fn batch(now: i64, producer: (i64, i16), sequence: i32, value: &str) -> Bytes {
    let record = Record {
        transactional: true,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: producer.0,
        producer_epoch: producer.1,
        timestamp_type: TimestampType::Creation,
        offset: i64::from(sequence),
        sequence,
        timestamp: now,
        key: Some(Bytes::from_static(b"key")),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        headers: Default::default(),
    };
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    let mut bytes = BytesMut::new();
    RecordBatchEncoder::encode(&mut bytes, [&record], &options).expect("the record can be written");
    bytes.freeze()
}

impl Broker {
    /// Writes one record to partition 0 of `out` under the transactional id `t`.
    fn produce(&mut self, producer: (i64, i16), sequence: i32, value: &str) -> i16 {
        let records = batch(self.now, producer, sequence, value);
        let data = PartitionProduceData::default().with_index(0).with_records(Some(records));
        let topic = TopicProduceData::default()
            .with_name(TopicName(text("out")))
            .with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_transactional_id(Some(TransactionalId(text("t"))))
            .with_acks(-1)
            .with_timeout_ms(1_000)
            .with_topic_data(vec![topic]);
        self.ask(9, request).responses[0].partition_responses[0].error_code
    }

    /// What a consumer with `isolation.level=read_committed` makes of the partition.
    fn read_committed(&mut self) -> Vec<String> {
        let partition = FetchPartition::default()
            .with_partition(0)
            .with_fetch_offset(0)
            .with_partition_max_bytes(1 << 20);
        let topic = FetchTopic::default()
            .with_topic(TopicName(text("out")))
            .with_partitions(vec![partition]);
        let request = FetchRequest::default()
            .with_max_bytes(1 << 20)
            .with_isolation_level(1)
            .with_topics(vec![topic]);
        let answer = self.ask(12, request);
        let partition = &answer.responses[0].partitions[0];
        let mut aborted: Vec<(i64, i64)> = Vec::new();
        for of in partition.aborted_transactions.iter().flatten() {
            aborted.push((*of.producer_id, of.first_offset));
        }
        let mut bytes = partition.records.clone().unwrap_or_default();
        let mut values = Vec::new();
        for set in RecordBatchDecoder::decode_all(&mut bytes).expect("records can be read") {
            for record in set.records {
                let of = |of: &(i64, i64)| of.0 == record.producer_id && of.1 <= record.offset;
                let position = aborted.iter().position(of);
                match position {
                    Some(position) if record.control => drop(aborted.remove(position)),
                    Some(_) => {}
                    None if record.control => {}
                    None => {
                        let value = record.value.unwrap_or_default().to_vec();
                        values.push(String::from_utf8(value).expect("values are text"));
                    }
                }
            }
        }
        values
    }
}

#[test]
fn records_are_seen_with_their_transactions_outcome_and_not_before() {
    let mut broker = Broker::new();
    let producer = broker.init("t").unwrap();
    assert_eq!(broker.produce(producer, 0, "early"), InvalidTxnState.code());
    assert_eq!(broker.add("t", producer, 0), 0);
    assert_eq!(broker.produce(producer, 0, "a"), 0);
    assert_eq!(broker.read_committed(), Vec::<String>::new());
    assert_eq!(broker.end("t", producer, false), 0);
    assert_eq!(broker.read_committed(), Vec::<String>::new());
    assert_eq!(broker.add("t", producer, 0), 0);
    assert_eq!(broker.produce(producer, 1, "b"), 0);
    assert_eq!(broker.end("t", producer, true), 0);
    assert_eq!(broker.read_committed(), ["b"]);
    broker.restart();
    assert_eq!(broker.read_committed(), ["b"]);
}

#[test]
fn records_and_offsets_become_visible_each_with_its_own_marker() {
    let mut broker = Broker::new();
    let producer = broker.init("t").unwrap();
    assert_eq!(broker.add("t", producer, 0), 0);
    assert_eq!(broker.produce(producer, 0, "a"), 0);
    assert_eq!(broker.add_offsets("t", producer), 0);
    assert_eq!(broker.txn_commit("t", producer, 5), 0);
    let partition = MarkerTarget::Partition { topic: "out".to_owned(), partition: 0 };
    broker.engine.hold_markers(partition, broker.now + 100);
    assert_eq!(broker.end("t", producer, true), 0);
    assert_eq!(broker.committed(true), Ok(5));
    assert_eq!(broker.read_committed(), Vec::<String>::new());
    broker.pass(100);
    assert_eq!(broker.read_committed(), ["a"]);
}

#[test]
fn a_zombie_can_neither_write_nor_commit_after_it_was_fenced() {
    let mut broker = Broker::new();
    let zombie = broker.init("t").unwrap();
    assert_eq!(broker.add("t", zombie, 0), 0);
    assert_eq!(broker.produce(zombie, 0, "zombie"), 0);
    assert_eq!(broker.init("t"), Err(ConcurrentTransactions.code()));
    let producer = broker.init("t").unwrap();
    assert_eq!(broker.produce(zombie, 1, "zombie"), InvalidProducerEpoch.code());
    assert_eq!(broker.end("t", zombie, true), ProducerFenced.code());
    assert_eq!(broker.add("t", producer, 0), 0);
    assert_eq!(broker.produce(producer, 0, "new"), 0);
    assert_eq!(broker.produce(zombie, 1, "zombie"), InvalidProducerEpoch.code());
    assert_eq!(broker.end("t", producer, true), 0);
    assert_eq!(broker.read_committed(), ["new"]);
}

#[test]
fn a_late_end_cuts_the_next_transaction_in_two() {
    // KAFKA-17754, seen by a consumer: half of a transaction is committed, the rest is refused
    let mut broker = Broker::new();
    let producer = broker.init("t").unwrap();
    assert_eq!(broker.add("t", producer, 0), 0);
    assert_eq!(broker.produce(producer, 0, "first"), 0);
    assert_eq!(broker.end("t", producer, true), 0);
    assert_eq!(broker.add("t", producer, 0), 0);
    assert_eq!(broker.produce(producer, 1, "half"), 0);
    assert_eq!(broker.end("t", producer, true), 0, "a copy of the first that was under way");
    assert_eq!(broker.read_committed(), ["first", "half"]);
    assert_eq!(broker.produce(producer, 2, "other half"), InvalidTxnState.code());
}

#[test]
fn a_killed_broker_times_the_open_transaction_out_and_hides_its_records() {
    let mut broker = Broker::new();
    let producer = broker.init("t").unwrap();
    assert_eq!(broker.add("t", producer, 0), 0);
    assert_eq!(broker.produce(producer, 0, "lost"), 0);
    broker.restart();
    assert_eq!(broker.produce(producer, 1, "too"), 0, "the transaction goes on");
    broker.pass(MINUTE + 1);
    assert_eq!(broker.produce(producer, 2, "late"), InvalidProducerEpoch.code());
    assert_eq!(broker.read_committed(), Vec::<String>::new());
    let log = broker.engine.topics().partition("out", 0).unwrap();
    assert_eq!(log.last_stable_offset(), log.high_watermark(), "nothing is open any more");
}

#[test]
fn a_deleted_topic_takes_its_offsets_and_needs_no_marker() {
    let mut broker = Broker::new();
    let producer = broker.init("t").unwrap();
    assert_eq!(broker.commit(-1, "", 5), 0);
    assert_eq!(broker.add("t", producer, 0), 0);
    let names = ["in", "out"].map(|name| TopicName(text(name))).to_vec();
    let request = DeleteTopicsRequest::default().with_topic_names(names).with_timeout_ms(1_000);
    assert!(broker.ask(5, request).responses.iter().all(|topic| topic.error_code == 0));
    assert_eq!(broker.committed(true), Ok(-1));
    assert_eq!(broker.end("t", producer, true), 0);
    assert_eq!(broker.state("t"), "CompleteCommit");
}
