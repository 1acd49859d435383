//! What the tests share: a broker, names that no other test has, and patience with a deadline.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tidemill::client::{
    Admin, ClientConfig, ClientError, Consumer, Fetched, GroupEvent, Isolation, Message, NewTopic,
    OffsetSpec, Outgoing, PartitionReader, Producer, Severity, TopicCreation, Waker,
};
use tidemill_core::record::{Headers, Offset, Partition, Timestamp, TopicPartition};

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let now = std::time::UNIX_EPOCH.elapsed().expect("the clock is past 1970").as_micros();
    format!("{name}-{now}-{next}")
}

/// Options for the shared broker and quick tests, plus those given.
pub(crate) fn config(options: &[(&str, &str)]) -> ClientConfig {
    let kafka = std::env::var("TIDEMILL_TEST_KAFKA")
        .expect("TIDEMILL_TEST_KAFKA is not set: `make test` starts a broker and sets it");
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka);
    for (name, value) in options {
        config.set(*name, *value);
    }
    config
}

pub(crate) fn admin() -> Admin {
    Admin::new(&config(&[])).expect("the options are valid")
}

/// Makes a topic on the shared broker and returns its name.
pub(crate) fn topic(name: &str, partitions: i32) -> String {
    create(&admin(), name, partitions)
}

pub(crate) fn create(admin: &Admin, name: &str, partitions: i32) -> String {
    let name = unique(name);
    let topic = NewTopic {
        name: name.clone(),
        partitions,
        replication_factor: -1,
        configs: BTreeMap::new(),
    };
    let outcome = admin.create_topics(&[topic], PATIENCE).expect("the broker answers");
    assert_eq!(outcome, [(name.clone(), TopicCreation::Created)]);
    name
}

pub(crate) fn at(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, Partition(partition))
}

pub(crate) fn producer(options: &[(&str, &str)]) -> Producer {
    let mut config = config(&[("linger.ms", "0"), ("retry.backoff.ms", "20")]);
    for (name, value) in options {
        config.set(*name, *value);
    }
    Producer::new(&config).expect("the options are valid")
}

/// A producer with its transactional id registered.
pub(crate) fn transactional(id: &str) -> Producer {
    let mut producer = producer(&[("transactional.id", id), ("transaction.timeout.ms", "20000")]);
    producer.init_transactions(PATIENCE).expect("nobody else has this id");
    producer
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

/// Returns the end of a partition in which no transaction is open. A commit is acknowledged before
/// its marker is in every partition.
pub(crate) fn settled(partition: &TopicPartition) -> Offset {
    let admin = admin();
    let asked = [partition.clone()];
    let latest = |isolation| {
        let list = || admin.list_offsets(&asked, OffsetSpec::Latest, isolation, PATIENCE);
        patiently(list)[0].1
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        let end = latest(Isolation::ReadUncommitted);
        if latest(Isolation::ReadCommitted) == end {
            return end;
        }
        assert!(Instant::now() < deadline, "{partition} still has an open transaction");
    }
}

/// A consumer, and the waker that tells when it has something.
pub(crate) struct Reading {
    pub(crate) consumer: Consumer,
    pub(crate) waker: Arc<Waker>,
}

pub(crate) fn consumer(options: &[(&str, &str)]) -> Reading {
    let mut config = config(&[("fetch.wait.max.ms", "20"), ("auto.offset.reset", "error")]);
    for (name, value) in options {
        config.set(*name, *value);
    }
    let waker = Arc::new(Waker::new());
    let consumer = Consumer::new(&config, Arc::clone(&waker)).expect("the options are valid");
    Reading { consumer, waker }
}

impl Reading {
    /// Reads until the partition's end is where it should be, and returns the records.
    pub(crate) fn read_to(&mut self, reader: &mut PartitionReader, end: Offset) -> Vec<Message> {
        let mut records = Vec::new();
        self.until(&format!("the end at {end}"), |_| {
            let mut reached = None;
            reader.read(100, &mut |fetched| match fetched {
                Fetched::Record(message) => records.push(message),
                Fetched::EndOfPartition(offset) => reached = (offset >= end).then_some(offset),
                Fetched::Failed(error) => panic!("{error}"),
            });
            reached.inspect(|reached| assert_eq!(*reached, end))
        });
        records
    }

    /// Assigns one partition from its start and reads it to the end, once every transaction that
    /// wrote to it is decided there.
    pub(crate) fn whole(&mut self, partition: &TopicPartition) -> Vec<Message> {
        let end = settled(partition);
        let from = [(partition.clone(), Offset::ZERO)];
        let mut readers = self.consumer.assign(&from).expect("the partition exists");
        self.read_to(&mut readers[0], end)
    }

    /// Looks again each time the waker is raised, until there is something.
    pub(crate) fn until<T>(
        &mut self,
        what: &str,
        mut look: impl FnMut(&mut Consumer) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look(&mut self.consumer) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited in vain for {what}");
            self.waker.wait(left.min(Duration::from_millis(100)));
        }
    }

    /// Waits for the next group event.
    pub(crate) fn event(&mut self) -> GroupEvent {
        self.until("a group event", |consumer| consumer.poll_event(Duration::ZERO))
    }

    /// Answers group events until as many partitions are assigned; returns their readers.
    pub(crate) fn join(&mut self, count: usize) -> Vec<PartitionReader> {
        loop {
            if let Some(readers) = self.answer()
                && readers.len() == count
            {
                return readers;
            }
        }
    }

    /// Waits for a group event and answers it; `Some` after an assignment.
    pub(crate) fn answer(&mut self) -> Option<Vec<PartitionReader>> {
        let event = self.event();
        respond(&mut self.consumer, event)
    }
}

/// Answers a group event, from the start of each partition.
pub(crate) fn respond(consumer: &mut Consumer, event: GroupEvent) -> Option<Vec<PartitionReader>> {
    match event {
        GroupEvent::Assigned(partitions) => {
            let from: Vec<_> = partitions.into_iter().map(|one| (one, Offset::ZERO)).collect();
            Some(consumer.assign(&from).expect("we were asked to"))
        }
        GroupEvent::Revoked { .. } => {
            consumer.unassign().expect("we were asked to");
            None
        }
        GroupEvent::Failed(error) => panic!("{error}"),
    }
}

/// Sends a value without a key.
pub(crate) fn send(producer: &mut Producer, to: &TopicPartition, value: &str) {
    send_with(producer, to, value, |_| {});
}

pub(crate) fn send_with(
    producer: &mut Producer,
    to: &TopicPartition,
    value: &str,
    change: impl FnOnce(&mut Outgoing<'_>),
) {
    let topic = producer.topic(&to.topic).expect("the name is valid");
    let headers = Headers::new();
    let mut record = Outgoing {
        topic,
        partition: Some(to.partition),
        key: None,
        value: Some(value.as_bytes()),
        timestamp: Timestamp(1_000),
        headers: &headers,
        position: None,
    };
    change(&mut record);
    producer.send(&record).expect("there is room");
}

pub(crate) fn values(records: &[Message]) -> Vec<String> {
    use tidemill_core::record::RawRecord;
    let text = |record: &Message| record.value().map(|value| String::from_utf8_lossy(value).into());
    records.iter().filter_map(text).collect()
}
