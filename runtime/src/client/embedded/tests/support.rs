//! What the tests share: a world with one broker, and patience that costs nothing.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidemill_broker::engine::EngineConfig;
use tidemill_core::record::{Headers, Offset, Partition, RawRecord, Timestamp, TopicPartition};

use crate::client::embedded::{
    Admin, Consumer, Embedded, Latency, Message, Network, PartitionReader, Producer,
};
use crate::client::seam::{Administer, Connector, Consume, Fetched, Produce, ReadPartition};
use crate::client::types::{
    ClientConfig, GroupEvent, Isolation, NewTopic, OffsetSpec, Outgoing, TopicCreation,
};
use crate::client::waker::Waker;
use crate::client::{ClientError, Severity};
use crate::simulation::fiber::{ProcessId, Scheduler};

pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A scheduler, a broker, and the process that the test runs in.
#[derive(Clone)]
pub(super) struct World {
    pub(super) scheduler: Scheduler,
    pub(super) network: Network,
    pub(super) process: ProcessId,
    pub(super) client: Embedded,
}

/// Runs a scenario as a process of its own, and returns the hash of all that happened.
pub(super) fn simulate(seed: u64, scenario: impl FnOnce(World) + 'static) -> u64 {
    let scheduler = Scheduler::new(seed);
    let start = 1_700_000_000_000;
    let network = Network::new(&scheduler, EngineConfig::default(), start, Latency::default());
    let process = scheduler.new_process("test");
    let client = Embedded::new(&network, process);
    let world = World { scheduler: scheduler.clone(), network, process, client };
    let done = Rc::new(Cell::new(false));
    let told = Rc::clone(&done);
    scheduler.spawn(process, "scenario", move || {
        scenario(world);
        told.set(true);
    });
    let ended = scheduler.run_until(|| done.get(), Duration::from_secs(3_600));
    let panics = scheduler.take_panics();
    assert!(panics.is_empty(), "seed {seed}: {panics:?}");
    assert!(ended, "seed {seed}: nobody can go on:\n{}", scheduler.dump());
    let hash = scheduler.trace_hash();
    scheduler.end();
    hash
}

/// Runs a scenario with several seeds: other delays, another order of fibers.
pub(super) fn simulate_some(scenario: impl FnOnce(World) + Clone + 'static) {
    for seed in 0..20 {
        simulate(seed, scenario.clone());
    }
}

pub(super) fn at(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, Partition(partition))
}

pub(super) fn config(options: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (name, value) in options {
        config.set(*name, *value);
    }
    config
}

impl World {
    pub(super) fn admin(&self) -> Admin {
        self.client.admin(&config(&[])).expect("the options are valid")
    }

    /// Makes a topic and returns its name.
    pub(super) fn topic(&self, name: &str, partitions: i32) -> String {
        let configs = BTreeMap::new();
        let topic = NewTopic { name: name.to_owned(), partitions, replication_factor: -1, configs };
        let outcome = self.admin().create_topics(&[topic], PATIENCE).expect("the broker answers");
        assert_eq!(outcome, [(name.to_owned(), TopicCreation::Created)]);
        name.to_owned()
    }

    pub(super) fn producer(&self, options: &[(&str, &str)]) -> Producer {
        let mut all = vec![("linger.ms", "0"), ("retry.backoff.ms", "20")];
        all.extend(options);
        self.client.producer(&config(&all)).expect("the options are valid")
    }

    /// A producer with its transactional id registered.
    pub(super) fn transactional(&self, id: &str) -> Producer {
        let mut producer =
            self.producer(&[("transactional.id", id), ("transaction.timeout.ms", "20000")]);
        producer.init_transactions(PATIENCE).expect("nobody else has this id");
        producer
    }

    pub(super) fn consumer(&self, options: &[(&str, &str)]) -> Reading {
        let mut all = vec![("fetch.wait.max.ms", "20"), ("auto.offset.reset", "error")];
        all.extend(options);
        let waker = Arc::new(Waker::new());
        let consumer =
            self.client.consumer(&config(&all), Arc::clone(&waker)).expect("the options are valid");
        Reading { consumer, waker, world: self.clone() }
    }

    /// Returns the end of a partition in which no transaction is open.
    pub(super) fn settled(&self, partition: &TopicPartition) -> Offset {
        let admin = self.admin();
        let asked = [partition.clone()];
        let latest = |isolation| {
            let list = || admin.list_offsets(&asked, OffsetSpec::Latest, isolation, PATIENCE);
            self.patiently(list)[0].1
        };
        let deadline = self.scheduler.now() + PATIENCE;
        loop {
            let end = latest(Isolation::ReadUncommitted);
            if latest(Isolation::ReadCommitted) == end {
                return end;
            }
            assert!(self.scheduler.now() < deadline, "{partition} still has an open transaction");
            self.scheduler.sleep(Duration::from_millis(5));
        }
    }

    /// Repeats what asks to be repeated.
    pub(super) fn patiently<T>(&self, mut call: impl FnMut() -> Result<T, ClientError>) -> T {
        let deadline = self.scheduler.now() + PATIENCE;
        loop {
            match call() {
                Ok(answer) => return answer,
                Err(error) => {
                    assert_eq!(error.severity, Severity::Retry, "{error}");
                    assert!(self.scheduler.now() < deadline, "{error}");
                }
            }
        }
    }

    /// The values that a committed reader sees in the whole partition.
    pub(super) fn values(&self, partition: &TopicPartition) -> Vec<String> {
        values(&self.consumer(&[]).whole(partition))
    }
}

/// A consumer, and the waker that tells when it has something.
pub(super) struct Reading {
    pub(super) consumer: Consumer,
    pub(super) waker: Arc<Waker>,
    pub(super) world: World,
}

impl Reading {
    /// Waits for the waker.
    pub(super) fn wait(&self, time: Duration) {
        let until = self.world.scheduler.now() + time;
        self.world.scheduler.park(self.waker.signal(), Some(until));
    }

    /// Reads until the partition's end is where it should be, and returns the records.
    pub(super) fn read_to(&mut self, reader: &mut PartitionReader, end: Offset) -> Vec<Message> {
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

    /// Assigns one partition from its start and reads it to the end.
    pub(super) fn whole(&mut self, partition: &TopicPartition) -> Vec<Message> {
        let end = self.world.settled(partition);
        let from = [(partition.clone(), Offset::ZERO)];
        let mut readers = self.consumer.assign(&from).expect("the partition exists");
        self.read_to(&mut readers[0], end)
    }

    /// Looks again each time the waker is raised, until there is something.
    pub(super) fn until<T>(
        &mut self,
        what: &str,
        mut look: impl FnMut(&mut Consumer) -> Option<T>,
    ) -> T {
        let deadline = self.world.scheduler.now() + PATIENCE;
        loop {
            if let Some(found) = look(&mut self.consumer) {
                return found;
            }
            assert!(self.world.scheduler.now() < deadline, "waited in vain for {what}");
            self.wait(Duration::from_secs(1));
        }
    }

    /// Waits for the next group event.
    pub(super) fn event(&mut self) -> GroupEvent {
        self.until("a group event", |consumer| consumer.poll_event(Duration::ZERO))
    }

    /// Answers group events until as many partitions are assigned; returns their readers.
    pub(super) fn join(&mut self, count: usize) -> Vec<PartitionReader> {
        loop {
            let event = self.event();
            if let Some(readers) = respond(&mut self.consumer, event)
                && readers.len() == count
            {
                return readers;
            }
        }
    }
}

/// Answers a group event, from the start of each partition.
pub(super) fn respond(consumer: &mut Consumer, event: GroupEvent) -> Option<Vec<PartitionReader>> {
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
pub(super) fn send(producer: &mut Producer, to: &TopicPartition, value: &str) {
    send_with(producer, to, value, |_| {});
}

pub(super) fn send_with(
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

pub(super) fn values(records: &[Message]) -> Vec<String> {
    let text = |record: &Message| record.value().map(|value| String::from_utf8_lossy(value).into());
    records.iter().filter_map(text).collect()
}
