//! A broker as a test sees it from outside.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::{
    ApiKey, DeleteGroupsRequest, DeleteGroupsResponse, GroupId, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse, RequestHeader, ResponseHeader,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use tidemill::client::{
    Admin, ClientConfig, ClientError, Consumer, Fetched, Isolation, Message, NewTopic,
    OffsetCommit, OffsetSpec, Outgoing, Producer, Severity, TopicCreation, Waker,
};
use tidemill::record::{Headers, Offset, Partition, RawRecord, Timestamp, TopicPartition};
use tidemill::task::decode_commit_metadata;

use super::{PATIENCE, unique, until};

const TIMEOUT: Duration = Duration::from_secs(10);

/// Offset and commit number of each partition that a group committed.
pub(crate) type Commits = BTreeMap<TopicPartition, (Offset, Option<u64>)>;

/// One broker.
#[derive(Debug, Clone)]
pub(crate) struct Kafka {
    pub(crate) bootstrap: String,
}

/// A record that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rec {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Headers,
}

impl Rec {
    fn of(partition: Partition, message: &Message) -> Self {
        Self {
            partition: partition.0,
            offset: message.offset().0,
            timestamp: message.timestamp().0,
            key: message.key().map(<[u8]>::to_vec),
            value: message.value().map(<[u8]>::to_vec),
            headers: message.headers(),
        }
    }

    pub(crate) fn key_text(&self) -> String {
        String::from_utf8(self.key.clone().unwrap()).unwrap()
    }

    /// The text of the last header of that name.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let value = self.headers.last(name)?.value.clone()?;
        Some(String::from_utf8(value).unwrap())
    }
}

pub(crate) fn at(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, Partition(partition))
}

/// Makes the call until it is answered, as severity retry asks.
pub(crate) fn patiently<T>(mut call: impl FnMut() -> Result<T, ClientError>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match call() {
            Ok(answer) => return answer,
            Err(error) => {
                assert_eq!(error.severity, Severity::Retry, "{error}");
                assert!(Instant::now() < deadline, "{error}");
            }
        }
    }
}

impl Kafka {
    /// The broker that all tests of the run share.
    pub(crate) fn shared() -> Self {
        let bootstrap = std::env::var("TIDEMILL_TEST_KAFKA")
            .expect("TIDEMILL_TEST_KAFKA is not set: `make test` starts a broker and sets it");
        Self { bootstrap }
    }

    pub(crate) fn config(&self, options: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &*self.bootstrap);
        for (name, value) in options {
            config.set(*name, *value);
        }
        config
    }

    pub(crate) fn admin(&self) -> Admin {
        Admin::new(&self.config(&[])).unwrap()
    }

    /// Makes a topic under a name that no other test has, and returns the name.
    pub(crate) fn topic(&self, name: &str, partitions: i32) -> String {
        let name = unique(name);
        self.create(&name, partitions, &[]);
        name
    }

    pub(crate) fn create(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        // the records of the tests are from 1970: a broker that looks after old ones deletes them
        let configs = [("retention.ms", "-1")].iter().chain(configs);
        let configs = configs.map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let replication_factor = -1;
        let topic = NewTopic { name: name.to_owned(), partitions, replication_factor, configs };
        let admin = self.admin();
        let made = patiently(|| admin.create_topics(std::slice::from_ref(&topic), TIMEOUT));
        assert_eq!(made, [(name.to_owned(), TopicCreation::Created)]);
        until("the topic", || patiently(|| admin.topics(&[name], TIMEOUT))[0].partitions);
    }

    pub(crate) fn partitions(&self, topic: &str) -> Vec<TopicPartition> {
        let admin = self.admin();
        let count = patiently(|| admin.topics(&[topic], TIMEOUT))[0].partitions;
        let count = count.unwrap_or_else(|| panic!("topic {topic} does not exist"));
        (0..i32::try_from(count).unwrap()).map(|partition| at(topic, partition)).collect()
    }

    /// A producer that places keys as Kafka's Java producer does.
    pub(crate) fn producer(&self) -> Sender {
        let options = [("linger.ms", "1"), ("partitioner", "murmur2_random")];
        let producer = Producer::new(&self.config(&options)).unwrap();
        Sender { producer }
    }

    /// A producer with this transactional id; whoever had it before is fenced.
    pub(crate) fn transactional(&self, id: &str) -> Sender {
        let options = [
            ("linger.ms", "0"),
            ("retry.backoff.ms", "20"),
            ("partitioner", "murmur2_random"),
            ("transactional.id", id),
            ("transaction.timeout.ms", "20000"),
        ];
        let mut producer = Producer::new(&self.config(&options)).unwrap();
        patiently(|| producer.init_transactions(TIMEOUT));
        Sender { producer }
    }

    /// Reads one end of each partition of a topic.
    pub(crate) fn ends(
        &self,
        topic: &str,
        end: OffsetSpec,
        isolation: Isolation,
    ) -> BTreeMap<TopicPartition, Offset> {
        let (admin, partitions) = (self.admin(), self.partitions(topic));
        patiently(|| admin.list_offsets(&partitions, end, isolation, TIMEOUT)).into_iter().collect()
    }

    /// Where the logs end, once no transaction is open in them. A commit is acknowledged before
    /// its marker is in every partition.
    pub(crate) fn settled(&self, topic: &str) -> BTreeMap<TopicPartition, Offset> {
        until(&format!("the end of all transactions in {topic}"), || {
            let end = self.ends(topic, OffsetSpec::Latest, Isolation::ReadUncommitted);
            let stable = self.ends(topic, OffsetSpec::Latest, Isolation::ReadCommitted);
            (end == stable).then_some(end)
        })
    }

    /// Reads all committed records, by partition and offset.
    pub(crate) fn read(&self, topic: &str) -> Vec<Rec> {
        self.read_to(topic, &self.settled(topic))
    }

    /// Reads the committed records up to these ends or a little further.
    pub(crate) fn read_to(&self, topic: &str, ends: &BTreeMap<TopicPartition, Offset>) -> Vec<Rec> {
        let mut reader = self.reader(topic);
        reader.read_to(ends);
        reader.records
    }

    /// A read_committed reader of a whole topic, from its start.
    pub(crate) fn reader(&self, topic: &str) -> Reader {
        let starts = self.ends(topic, OffsetSpec::Earliest, Isolation::ReadUncommitted);
        let starts: Vec<_> = starts.into_iter().collect();
        let waker = Arc::new(Waker::new());
        let options = [
            ("group.id", "reader"),
            ("enable.auto.commit", "false"),
            ("isolation.level", "read_committed"),
            ("enable.partition.eof", "true"),
            ("fetch.wait.max.ms", "20"),
            ("auto.offset.reset", "error"),
        ];
        let mut consumer = Consumer::new(&self.config(&options), Arc::clone(&waker)).unwrap();
        let readers = consumer.assign(&starts).unwrap();
        let reached = starts.into_iter().collect();
        Reader { consumer, waker, readers, records: Vec::new(), reached }
    }

    /// Returns what a group committed: offset and commit number, by partition. Waits while a
    /// transaction holds an offset.
    pub(crate) fn committed(&self, group: &str, topic: &str) -> Commits {
        self.committed_as("read_committed", group, topic)
    }

    /// As [`Kafka::committed`], but without regard to what an open transaction may commit yet.
    pub(crate) fn committed_so_far(&self, group: &str, topic: &str) -> Commits {
        self.committed_as("read_uncommitted", group, topic)
    }

    fn committed_as(&self, isolation: &str, group: &str, topic: &str) -> Commits {
        let options = [("group.id", group), ("isolation.level", isolation)];
        let consumer = Consumer::new(&self.config(&options), Arc::new(Waker::new())).unwrap();
        let partitions = self.partitions(topic);
        let committed = patiently(|| consumer.committed(&partitions, TIMEOUT));
        let known = committed.into_iter().filter_map(|one| {
            let number = decode_commit_metadata(&one.metadata).commit_number;
            Some((one.partition, (one.offset?, number)))
        });
        known.collect()
    }

    /// Commits an offset by hand, as an administrator would.
    pub(crate) fn commit_by_hand(&self, group: &str, partition: TopicPartition, offset: Offset) {
        let options = [("group.id", group)];
        let consumer = Consumer::new(&self.config(&options), Arc::new(Waker::new())).unwrap();
        let commit = OffsetCommit { partition, offset, metadata: String::new() };
        patiently(|| consumer.commit_sync(std::slice::from_ref(&commit), TIMEOUT));
    }

    /// Deletes a group that has no members, and with it its offsets: what their expiry does.
    pub(crate) fn delete_group(&self, group: &str) {
        let id = GroupId(StrBytes::from_string(group.to_owned()));
        let request = DeleteGroupsRequest::default().with_groups_names(vec![id]);
        let answer: DeleteGroupsResponse = self.call(ApiKey::DeleteGroups, 2, &request);
        let codes: Vec<i16> = answer.results.iter().map(|result| result.error_code).collect();
        assert_eq!(codes, [0], "the group was not deleted");
    }

    /// Changes a setting of a topic.
    pub(crate) fn alter(&self, topic: &str, setting: &str, value: &str) {
        const TOPIC: i8 = 2;
        let text = |text: &str| StrBytes::from_string(text.to_owned());
        let config = AlterableConfig::default()
            .with_name(text(setting))
            .with_config_operation(0)
            .with_value(Some(text(value)));
        let resource = AlterConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(topic))
            .with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let answer: IncrementalAlterConfigsResponse =
            self.call(ApiKey::IncrementalAlterConfigs, 1, &request);
        let codes: Vec<i16> = answer.responses.iter().map(|answer| answer.error_code).collect();
        assert_eq!(codes, [0], "the setting was not changed");
    }

    /// Makes a request that librdkafka or our admin client does not have.
    fn call<Q, A>(&self, key: ApiKey, version: i16, request: &Q) -> A
    where
        Q: Encodable + HeaderVersion,
        A: Decodable + HeaderVersion,
    {
        let header = RequestHeader::default()
            .with_request_api_key(key as i16)
            .with_request_api_version(version);
        let mut frame = BytesMut::new();
        header.encode(&mut frame, Q::header_version(version)).unwrap();
        request.encode(&mut frame, version).unwrap();
        let mut stream = TcpStream::connect(&self.bootstrap).unwrap();
        stream.write_all(&u32::try_from(frame.len()).unwrap().to_be_bytes()).unwrap();
        stream.write_all(&frame).unwrap();
        let mut size = [0; 4];
        stream.read_exact(&mut size).unwrap();
        let mut answer = vec![0; u32::from_be_bytes(size) as usize];
        stream.read_exact(&mut answer).unwrap();
        let mut answer = Bytes::from(answer);
        ResponseHeader::decode(&mut answer, A::header_version(version)).unwrap();
        A::decode(&mut answer, version).unwrap()
    }

    /// Waits until a group committed everything that is in a topic.
    pub(crate) fn until_consumed(&self, group: &str, topic: &str) {
        let options = [("group.id", group), ("isolation.level", "read_committed")];
        let consumer = Consumer::new(&self.config(&options), Arc::new(Waker::new())).unwrap();
        let (admin, partitions) = (self.admin(), self.partitions(topic));
        until(&format!("{group} to consume {topic}"), || {
            let latest = OffsetSpec::Latest;
            let isolation = Isolation::ReadUncommitted;
            let ends = admin.list_offsets(&partitions, latest, isolation, TIMEOUT).ok()?;
            let committed = consumer.committed(&partitions, TIMEOUT).ok()?;
            let done = |(end, committed): (&(_, Offset), &tidemill::client::Committed)| {
                end.1 == Offset::ZERO || committed.offset == Some(end.1)
            };
            ends.iter().zip(&committed).all(done).then_some(())
        });
    }
}

/// Sends records.
pub(crate) struct Sender {
    pub(crate) producer: Producer,
}

impl Sender {
    /// Sends a record to the partition of its key, or to one that is given.
    pub(crate) fn send(&mut self, topic: &str, key: Option<&[u8]>, value: Option<&[u8]>) {
        self.send_to(topic, None, key, value, &Headers::new());
    }

    pub(crate) fn send_to(
        &mut self,
        topic: &str,
        partition: Option<i32>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &Headers,
    ) {
        let topic = self.producer.topic(topic).unwrap();
        let partition = partition.map(Partition);
        let timestamp = Timestamp(1_000);
        let position = None;
        self.put(&Outgoing { topic, partition, key, value, timestamp, headers, position });
    }

    /// Sends a record with a timestamp of its own to partition 0.
    pub(crate) fn send_at(&mut self, topic: &str, key: &[u8], value: &[u8], timestamp: Timestamp) {
        let record = Outgoing {
            topic: self.producer.topic(topic).unwrap(),
            partition: Some(Partition(0)),
            key: Some(key),
            value: Some(value),
            timestamp,
            headers: &Headers::new(),
            position: None,
        };
        self.put(&record);
    }

    fn put(&mut self, record: &Outgoing<'_>) {
        until("room in the send queue", || match self.producer.send(record) {
            Ok(()) => Some(()),
            Err(tidemill::client::SendError::QueueFull) => None,
            Err(error) => panic!("{error}"),
        });
    }

    /// Waits until all is delivered.
    pub(crate) fn flush(&mut self) {
        patiently(|| self.producer.flush(TIMEOUT));
        assert!(self.producer.delivery_error().is_none(), "{:?}", self.producer.delivery_error());
    }
}

/// Reads a topic as far as it goes.
pub(crate) struct Reader {
    consumer: Consumer,
    waker: Arc<Waker>,
    readers: Vec<tidemill::client::PartitionReader>,
    pub(crate) records: Vec<Rec>,
    reached: BTreeMap<TopicPartition, Offset>,
}

impl Reader {
    /// Reads what there is now.
    pub(crate) fn read(&mut self) {
        while self.consumer.poll_event(Duration::ZERO).is_some() {}
        for reader in &mut self.readers {
            let partition = reader.topic_partition().clone();
            let (records, reached) = (&mut self.records, &mut self.reached);
            let mut more = true;
            while more {
                let mut reach = |offset| {
                    reached.insert(partition.clone(), offset);
                };
                let read = reader.read(1_000, &mut |fetched| match fetched {
                    Fetched::Record(message) => {
                        reach(message.offset().next());
                        records.push(Rec::of(partition.partition, &message));
                    }
                    Fetched::EndOfPartition(end) => reach(end),
                    Fetched::Failed(error) => {
                        assert_eq!(error.severity, Severity::Retry, "{error}")
                    }
                });
                more = read > 0;
            }
        }
    }

    /// Reads until these ends are reached; sorts what was read by partition and offset.
    pub(crate) fn read_to(&mut self, ends: &BTreeMap<TopicPartition, Offset>) {
        until("the ends of the partitions", || {
            self.read();
            let done = ends.iter().all(|(partition, end)| self.reached[partition] >= *end);
            if !done {
                self.waker.wait(Duration::from_millis(20));
            }
            done.then_some(())
        });
        self.records.sort_by_key(|record| (record.partition, record.offset));
    }
}
