//! A client that knows nothing but frames, so that it can send what no library would.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, CreateTopicsRequest, FetchRequest, ProduceRequest, RequestHeader, RequestKind,
    ResponseHeader, ResponseKind, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use kafka_protocol::records::{
    Compression, Record, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Client {
    stream: TcpStream,
    sent: i32,
}

impl Client {
    pub(crate) fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, sent: 0 }
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a request and returns its correlation id.
    pub(crate) fn send(&mut self, api: ApiKey, version: i16, request: &RequestKind) -> i32 {
        self.try_send(api, version, request).unwrap()
    }

    pub(crate) fn try_send(
        &mut self,
        api: ApiKey,
        version: i16,
        request: &RequestKind,
    ) -> std::io::Result<i32> {
        self.sent += 1;
        let header = RequestHeader::default()
            .with_request_api_key(api as i16)
            .with_request_api_version(version)
            .with_correlation_id(self.sent);
        let mut frame = BytesMut::new();
        frame.put_i32(0);
        header.encode(&mut frame, api.request_header_version(version)).unwrap();
        request.encode(&mut frame, version).unwrap();
        let size = i32::try_from(frame.len() - 4).unwrap();
        frame[..4].copy_from_slice(&size.to_be_bytes());
        self.stream.write_all(&frame)?;
        Ok(self.sent)
    }

    pub(crate) fn receive(
        &mut self,
        api: ApiKey,
        version: i16,
    ) -> std::io::Result<(i32, ResponseKind)> {
        let mut size = [0; 4];
        self.stream.read_exact(&mut size)?;
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(size)).unwrap()];
        self.stream.read_exact(&mut frame)?;
        let mut frame = Bytes::from(frame);
        let header_version = api.response_header_version(version);
        let header = ResponseHeader::decode(&mut frame, header_version).unwrap();
        let answer = ResponseKind::decode(api, &mut frame, version).unwrap();
        assert!(!frame.has_remaining(), "{api:?}: {} bytes more than expected", frame.len());
        Ok((header.correlation_id, answer))
    }

    pub(crate) fn call(
        &mut self,
        api: ApiKey,
        version: i16,
        request: impl Into<RequestKind>,
    ) -> ResponseKind {
        let id = self.send(api, version, &request.into());
        let (answered, answer) = self.receive(api, version).unwrap();
        assert_eq!(answered, id);
        answer
    }

    /// Whether the broker has closed the connection, waiting for it if need be.
    pub(crate) fn is_closed(&mut self) -> bool {
        !matches!(self.stream.read(&mut [0]), Ok(1..))
    }

    /// Whether nothing comes for a moment: the one thing that only time can show.
    pub(crate) fn is_silent(&mut self) -> bool {
        self.stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let read = self.stream.read(&mut [0]);
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }

    pub(crate) fn create(&mut self, topic: &str) {
        let topic = CreatableTopic::default()
            .with_name(name(topic))
            .with_num_partitions(1)
            .with_replication_factor(-1);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]);
        let ResponseKind::CreateTopics(answer) = self.call(ApiKey::CreateTopics, 5, request) else {
            panic!("not the answer");
        };
        assert_eq!(answer.topics[0].error_code, 0);
    }

    /// Sends one record and returns the error's code.
    pub(crate) fn produce(&mut self, topic: &str, value: &str) -> i16 {
        code(&self.call(ApiKey::Produce, 7, produce(topic, batch(value, None))))
    }

    /// Reads the values of the whole partition; markers are left out.
    pub(crate) fn values(&mut self, topic: &str) -> Vec<String> {
        let (mut values, mut from) = (Vec::new(), 0);
        loop {
            let request = fetch(topic, from, 0);
            let ResponseKind::Fetch(answer) = self.call(ApiKey::Fetch, 11, request) else {
                panic!("not the answer");
            };
            let partition = &answer.responses[0].partitions[0];
            assert_eq!(partition.error_code, 0);
            let mut records = partition.records.clone().unwrap();
            if records.is_empty() {
                assert_eq!(from, partition.high_watermark, "the log is read to its end");
                return values;
            }
            for set in RecordBatchDecoder::decode_all(&mut records).unwrap() {
                for record in set.records {
                    assert!(record.offset >= from || record.control, "offsets never go back");
                    from = record.offset + 1;
                    let value = record.value.filter(|_| !record.control);
                    values.extend(value.map(|value| String::from_utf8(value.to_vec()).unwrap()));
                }
            }
        }
    }
}

pub(crate) fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

/// An idempotent producer's id, epoch and next sequence number; transactional or not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Numbered {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
    pub(crate) sequence: i32,
    pub(crate) transactional: bool,
}

pub(crate) fn batch(value: &str, producer: Option<Numbered>) -> Bytes {
    let plain = Numbered { id: -1, epoch: -1, sequence: -1, transactional: false };
    let producer = producer.unwrap_or(plain);
    let record = Record {
        transactional: producer.transactional,
        control: false,
        partition_leader_epoch: -1,
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        timestamp_type: TimestampType::Creation,
        offset: 0,
        sequence: producer.sequence,
        timestamp: 1_000,
        key: None,
        value: Some(Bytes::from(value.to_owned())),
        headers: IndexMap::new(),
        delete_horizon: false,
    };
    let mut out = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut out, [&record], &options).unwrap();
    out.freeze()
}

pub(crate) fn produce(topic: &str, records: Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(0).with_records(Some(records));
    let topic = TopicProduceData::default().with_name(name(topic)).with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(-1).with_timeout_ms(1_000).with_topic_data(vec![topic])
}

/// The error's code in the answer to a produce request.
pub(crate) fn code(answer: &ResponseKind) -> i16 {
    let ResponseKind::Produce(answer) = answer else { panic!("not the answer: {answer:?}") };
    answer.responses[0].partition_responses[0].error_code
}

pub(crate) fn fetch(topic: &str, from: i64, wait: i32) -> FetchRequest {
    let partition = FetchPartition::default().with_partition(0).with_fetch_offset(from);
    let partition = partition.with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_topic(name(topic)).with_partitions(vec![partition]);
    FetchRequest::default()
        .with_max_wait_ms(wait)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_topics(vec![topic])
}
