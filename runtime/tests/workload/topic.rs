//! The topic of a run as an observer sees it who takes no part.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, UNIX_EPOCH};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset as Position, TopicPartitionList};

use super::history::{Key, Offset, Read};

const PATIENCE: Duration = Duration::from_secs(60);
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

pub(crate) struct Topic {
    pub(crate) bootstrap: String,
    pub(crate) name: String,
    partitions: Key,
}

impl Topic {
    pub(crate) fn create(bootstrap: &str, partitions: Key) -> Self {
        let name = format!("workload-{}", UNIX_EPOCH.elapsed().unwrap().as_micros());
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap();
        let new = [NewTopic::new(&name, partitions, TopicReplication::Fixed(-1))];
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let options = AdminOptions::new();
        let made = runtime.block_on(admin.create_topics(&new, &options)).unwrap();
        assert_eq!(made, [Ok(name.clone())]);
        let topic = Self { bootstrap: bootstrap.to_owned(), name, partitions };
        topic.until("the topic is known", |topic| {
            let consumer = topic.consumer("read_uncommitted");
            (0..partitions).all(|key| topic.end(&consumer, key).is_ok())
        });
        topic
    }

    /// Returns the group of those who subscribe.
    pub(crate) fn group(&self) -> String {
        format!("{}-group", self.name)
    }

    fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            assert!(Instant::now() < deadline, "waited in vain: {what}");
            std::thread::sleep(PAUSE);
        }
    }

    fn consumer(&self, isolation: &str) -> BaseConsumer {
        ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("group.id", self.group())
            .set("isolation.level", isolation)
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("fetch.wait.max.ms", "50")
            .create()
            .unwrap()
    }

    fn end(&self, consumer: &BaseConsumer, key: Key) -> Result<Offset, KafkaError> {
        consumer.fetch_watermarks(&self.name, key, CALL_TIMEOUT).map(|(_, end)| end)
    }

    /// Waits until no transaction is open: those of clients that were killed time out.
    pub(crate) fn until_settled(&self) {
        let (all, committed) = (self.consumer("read_uncommitted"), self.consumer("read_committed"));
        self.until("no transaction hangs", |topic| {
            (0..topic.partitions).all(|key| {
                let end = topic.end(&all, key);
                end.is_ok() && end == topic.end(&committed, key)
            })
        });
    }

    /// Reads all committed records.
    pub(crate) fn read_all(&self) -> Vec<Read> {
        let consumer = self.consumer("read_committed");
        let mut positions = TopicPartitionList::new();
        for key in 0..self.partitions {
            positions.add_partition_offset(&self.name, key, Position::Beginning).unwrap();
        }
        consumer.assign(&positions).unwrap();
        let (mut reads, mut at_end) = (Vec::new(), vec![false; self.partitions as usize]);
        let deadline = Instant::now() + PATIENCE;
        while at_end.contains(&false) {
            assert!(Instant::now() < deadline, "the topic could not be read: ends {at_end:?}");
            match consumer.poll(PAUSE) {
                Some(Ok(message)) => {
                    let text = message.payload_view::<str>().and_then(Result::ok);
                    let value = text.and_then(|text| text.parse().ok()).unwrap_or(u64::MAX);
                    let (key, offset) = (message.partition(), message.offset());
                    reads.push(Read { key, offset, value });
                }
                Some(Err(KafkaError::PartitionEOF(key))) => at_end[key as usize] = true,
                // a broker is away: the client goes on by itself
                Some(Err(_)) | None => {}
            }
        }
        reads
    }

    /// Returns where the group is.
    pub(crate) fn committed(&self) -> BTreeMap<Key, Offset> {
        let consumer = self.consumer("read_committed");
        let mut asked = TopicPartitionList::new();
        for key in 0..self.partitions {
            asked.add_partition(&self.name, key);
        }
        let committed = consumer.committed_offsets(asked, PATIENCE).unwrap();
        let offsets = committed.elements();
        let committed = offsets.iter().filter_map(|element| match element.offset() {
            Position::Offset(offset) => Some((element.partition(), offset)),
            _ => None,
        });
        committed.collect()
    }
}
