//! What the simulation itself asks of the broker: topics, inputs, whether work is left.

use bytes::BytesMut;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ProduceRequest, RequestKind, ResponseKind, TopicName};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, Record,
    RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use tidemill_broker::engine::{Call, Engine, Handled};
use tidemill_core::record::OwnedRecord;

use crate::client::embedded::Network;

const CREATE_TOPICS_VERSION: i16 = 5;
const PRODUCE_VERSION: i16 = 7;

/// The broker, as an operator has it at hand. Nothing here is subject to faults.
#[derive(Clone, Debug)]
pub(super) struct Operator(pub(super) Network);

impl Operator {
    /// Makes a topic. The broker must be up.
    pub(super) fn create(&self, name: &str, partitions: i32) {
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(1);
        let request =
            CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(1_000);
        let Some(ResponseKind::CreateTopics(answer)) =
            self.ask(CREATE_TOPICS_VERSION, RequestKind::CreateTopics(request))
        else {
            panic!("the broker did not answer CreateTopics");
        };
        let errors: Vec<i16> = answer.topics.iter().map(|topic| topic.error_code).collect();
        assert!(errors.iter().all(|code| *code == 0), "topic {name} was refused: {errors:?}");
    }

    /// Appends a record to an input topic; false if the broker is down or refuses it for now.
    pub(super) fn send(&self, topic: &str, partition: i32, record: &OwnedRecord) -> bool {
        let data = PartitionProduceData::default()
            .with_index(partition)
            .with_records(Some(encode(record).freeze()));
        let of_topic = TopicProduceData::default()
            .with_name(topic_name(topic))
            .with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_acks(-1)
            .with_timeout_ms(1_000)
            .with_topic_data(vec![of_topic]);
        let answer = self.ask(PRODUCE_VERSION, RequestKind::Produce(request));
        let Some(ResponseKind::Produce(answer)) = answer else { return false };
        let mut partitions = answer.responses.iter().flat_map(|topic| &topic.partition_responses);
        partitions.all(|partition| partition.error_code == 0)
    }

    fn ask(&self, version: i16, request: RequestKind) -> Option<ResponseKind> {
        let now = self.0.now();
        let call = Call {
            connection: u64::MAX - 1,
            client_id: "simulation".to_owned(),
            client_host: "/simulation".to_owned(),
            version,
            request,
        };
        let handled = self.0.with_engine(|engine| engine.handle(now, call))?;
        match handled {
            Handled::Answer(answer) => Some(*answer),
            _ => None,
        }
    }

    /// Says what is left to do, `None` if nothing is: every committed record of the sources is
    /// processed, and every transaction has ended.
    pub(super) fn open_ends(&self, group: &str, sources: &[String]) -> Option<String> {
        let open = self.0.with_engine(|engine| open_ends(engine, group, sources));
        open.unwrap_or_else(|| Some("the broker is down".to_owned()))
    }
}

fn open_ends(engine: &Engine, group: &str, sources: &[String]) -> Option<String> {
    let mut open = Vec::new();
    for (name, topic) in engine.topics().iter() {
        for (log, partition) in topic.partitions().iter().zip(0..) {
            let (end, stable) = (log.high_watermark(), log.last_stable_offset());
            if stable < end {
                open.push(format!("{name}-{partition} is stable to {stable} of {end}"));
            }
            if !sources.iter().any(|source| source == name) || end == 0 {
                continue;
            }
            let committed = engine.groups().committed(group);
            let mut of_partition = committed.filter(|(t, p, _)| *t == name && *p == partition);
            let committed = of_partition.next().map_or(0, |(_, _, committed)| committed.offset);
            if committed < end {
                open.push(format!("{name}-{partition} is processed to {committed} of {end}"));
            }
        }
    }
    for (id, transaction) in engine.transactions().iter() {
        let state = transaction.state;
        if state.is_prepared() || state.name() == "Ongoing" {
            open.push(format!("transaction {id} is {}", state.name()));
        }
    }
    (!open.is_empty()).then(|| open.join("\n"))
}

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

fn encode(record: &OwnedRecord) -> BytesMut {
    let record = Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
        producer_id: NO_PRODUCER_ID,
        producer_epoch: NO_PRODUCER_EPOCH,
        timestamp_type: TimestampType::Creation,
        offset: 0,
        sequence: NO_SEQUENCE,
        timestamp: record.timestamp.0,
        key: record.key.clone().map(Into::into),
        value: record.value.clone().map(Into::into),
        headers: Default::default(),
    };
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut bytes, [&record], &options)
        .expect("one small record can be encoded");
    bytes
}
