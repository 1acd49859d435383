//! Topics of a cluster: created, read from beginning to end, and asked for their ends.
//!
//! Everything here uses the client seam of the runtime and none of the runtime above it, so that
//! what it reads is a judgement on the runtime and not the runtime's own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill::BoxError;
use tidemill::client::{
    Admin, ClientConfig, ClientError, Consumer, Fetched, GroupEvent, Isolation, Message, NewTopic,
    OffsetSpec, PartitionReader, Producer, Severity, TopicCreation, Waker,
};
use tidemill::record::{Offset, Partition, RawRecord, TopicPartition};

/// How long a request may take: long enough for a broker that is being restarted.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Reading a topic that makes no progress for so long has failed.
const STALLED_AFTER: Duration = Duration::from_secs(90);
const RETRY_AFTER: Duration = Duration::from_millis(100);
const BATCH: usize = 1000;

/// A Kafka cluster.
#[derive(Debug)]
pub struct Cluster {
    clients: ClientConfig,
    admin: Admin,
}

impl Cluster {
    /// Connects with these options, and waits for the first answer.
    ///
    /// # Errors
    /// If no broker answers.
    pub fn connect(clients: ClientConfig) -> Result<Self, BoxError> {
        let admin = Admin::new(&clients)?;
        admin.cluster_id(REQUEST_TIMEOUT).map_err(|error| {
            let servers = clients.get("bootstrap.servers").unwrap_or_default();
            format!("{error}: is a broker running on {servers}? `make kafka` starts one")
        })?;
        Ok(Self { clients, admin })
    }

    /// Connects to a cluster that wants no more than its address.
    ///
    /// # Errors
    /// If no broker answers.
    pub fn at(servers: &str) -> Result<Self, BoxError> {
        let mut clients = ClientConfig::new();
        clients.set("bootstrap.servers", servers);
        Self::connect(clients)
    }

    /// Creates topics that do not exist yet.
    ///
    /// # Errors
    /// If one is refused, or exists with another number of partitions.
    pub fn create_topics(&self, names: &[&str], partitions: u32) -> Result<(), BoxError> {
        let new = |name: &&str| NewTopic {
            name: (*name).to_owned(),
            partitions: i32::try_from(partitions).unwrap_or(i32::MAX),
            replication_factor: -1,
            configs: BTreeMap::new(),
        };
        let topics: Vec<NewTopic> = names.iter().map(new).collect();
        for (_, outcome) in self.admin.create_topics(&topics, REQUEST_TIMEOUT)? {
            if let TopicCreation::Failed(error) = outcome {
                return Err(error.into());
            }
        }
        // a topic is created a moment before the brokers tell of it
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        loop {
            let found = retrying(|timeout| self.admin.topics(names, timeout))?;
            if found.iter().any(|topic| topic.partitions.is_none()) && Instant::now() < deadline {
                std::thread::sleep(RETRY_AFTER);
                continue;
            }
            let wanted = Some(partitions as usize);
            let Some(other) = found.into_iter().find(|topic| topic.partitions != wanted) else {
                return Ok(());
            };
            let (name, count) = (other.name, other.partitions.unwrap_or_default());
            return Err(format!(
                "topic {name} has {count} partitions, not {partitions}: choose another name or \
                 delete it"
            )
            .into());
        }
    }

    /// Deletes topics.
    ///
    /// # Errors
    /// If the cluster refuses.
    pub fn delete_topics(&self, names: &[&str]) -> Result<(), BoxError> {
        Ok(self.admin.delete_topics(names, REQUEST_TIMEOUT)?)
    }

    /// Returns the partitions of a topic.
    ///
    /// # Errors
    /// If it does not exist.
    pub fn partitions(&self, topic: &str) -> Result<Vec<TopicPartition>, BoxError> {
        let described = retrying(|timeout| self.admin.topics(&[topic], timeout))?;
        let count = described.first().and_then(|topic| topic.partitions);
        let count = count.ok_or_else(|| format!("topic {topic} does not exist"))?;
        let count = i32::try_from(count)?;
        Ok((0..count).map(|number| TopicPartition::new(topic, Partition(number))).collect())
    }

    /// Returns an end of each partition's log, in the same order.
    ///
    /// # Errors
    /// If the cluster does not answer.
    pub fn log_ends(
        &self,
        partitions: &[TopicPartition],
        end: OffsetSpec,
        isolation: Isolation,
    ) -> Result<Vec<Offset>, BoxError> {
        let ends =
            retrying(|timeout| self.admin.list_offsets(partitions, end, isolation, timeout))?;
        Ok(ends.into_iter().map(|(_, offset)| offset).collect())
    }

    /// Makes a producer for load: no transactions, no duplicates, large batches.
    ///
    /// # Errors
    /// If an option is refused.
    pub fn producer(&self) -> Result<Producer, BoxError> {
        let mut config = self.clients.clone();
        config
            .set("enable.idempotence", "true")
            .set("linger.ms", "10")
            .set("queue.buffering.max.messages", "100000");
        Ok(Producer::new(&config)?)
    }

    /// Makes a consumer that can be asked for the committed offsets of a group, finished or not.
    ///
    /// # Errors
    /// If an option is refused.
    pub fn group_watcher(&self, group: &str) -> Result<Consumer, BoxError> {
        let mut config = self.consumer_config(Isolation::ReadUncommitted);
        config.set("group.id", group);
        Ok(Consumer::new(&config, Arc::new(Waker::new()))?)
    }

    /// Reads these partitions from their beginning.
    ///
    /// # Errors
    /// If the cluster does not answer.
    pub fn reader(
        &self,
        partitions: &[TopicPartition],
        isolation: Isolation,
    ) -> Result<LogReader, BoxError> {
        let starts = self.log_ends(partitions, OffsetSpec::Earliest, isolation)?;
        let waker = Arc::new(Waker::new());
        let mut consumer =
            Consumer::new(&self.consumer_config(isolation), Arc::<Waker>::clone(&waker))?;
        let starts: Vec<_> = partitions.iter().cloned().zip(starts).collect();
        let readers = consumer.assign(&starts)?;
        let positions = starts.into_iter().map(|(_, offset)| offset).collect();
        Ok(LogReader { consumer, waker, readers, positions })
    }

    /// Reads a topic from its beginning to what is its end now, and hands over every record.
    ///
    /// # Errors
    /// If it can't be read, or `each` fails.
    pub fn read_all(
        &self,
        topic: &str,
        isolation: Isolation,
        mut each: impl FnMut(Partition, &Message) -> Result<(), BoxError>,
    ) -> Result<(), BoxError> {
        let partitions = self.partitions(topic)?;
        let ends = self.log_ends(&partitions, OffsetSpec::Latest, isolation)?;
        let mut reader = self.reader(&partitions, isolation)?;
        reader.read_to(&ends, &mut each)
    }

    fn consumer_config(&self, isolation: Isolation) -> ClientConfig {
        let isolation = match isolation {
            Isolation::ReadCommitted => "read_committed",
            Isolation::ReadUncommitted => "read_uncommitted",
        };
        let mut config = self.clients.clone();
        config
            .set("isolation.level", isolation)
            .set("auto.offset.reset", "error")
            .set("fetch.wait.max.ms", "100")
            .set("fetch.error.backoff.ms", "100");
        config
    }
}

/// Repeats a request while the cluster says that time will heal it: a topic was created a moment
/// ago, or a broker is away.
pub(crate) fn retrying<T>(
    mut request: impl FnMut(Duration) -> Result<T, ClientError>,
) -> Result<T, ClientError> {
    let deadline = Instant::now() + REQUEST_TIMEOUT;
    loop {
        match request(deadline.saturating_duration_since(Instant::now()).max(RETRY_AFTER)) {
            Err(error)
                if (error.severity == Severity::Retry || error.is_unknown_topic_or_partition())
                    && Instant::now() < deadline =>
            {
                std::thread::sleep(RETRY_AFTER);
            }
            outcome => return outcome,
        }
    }
}

/// Reads partitions in the order of their logs, without a group.
#[derive(Debug)]
pub struct LogReader {
    consumer: Consumer,
    waker: Arc<Waker>,
    readers: Vec<PartitionReader>,
    /// The next offset of each partition.
    positions: Vec<Offset>,
}

impl LogReader {
    /// Hands over what is there, waiting for it no longer than `wait`. Returns how many records.
    ///
    /// # Errors
    /// If a partition can't be read, or `each` fails.
    pub fn read(
        &mut self,
        wait: Duration,
        each: &mut impl FnMut(Partition, &Message) -> Result<(), BoxError>,
    ) -> Result<usize, BoxError> {
        let taken = self.take(each)?;
        if taken > 0 || wait.is_zero() {
            return Ok(taken);
        }
        self.waker.wait(wait);
        self.take(each)
    }

    fn take(
        &mut self,
        each: &mut impl FnMut(Partition, &Message) -> Result<(), BoxError>,
    ) -> Result<usize, BoxError> {
        if let Some(GroupEvent::Failed(error)) = self.consumer.poll_event(Duration::ZERO) {
            return Err(error.into());
        }
        let (mut taken, mut failed) = (0, None);
        for (reader, position) in self.readers.iter_mut().zip(&mut self.positions) {
            let partition = reader.topic_partition().partition;
            let mut take = |fetched: Fetched| match fetched {
                Fetched::Record(record) => {
                    taken += 1;
                    *position = record.offset().next();
                    if let Err(error) = each(partition, &record) {
                        failed.get_or_insert(error);
                    }
                }
                Fetched::EndOfPartition(end) => *position = end,
                // a broker is away: the client goes on where it was
                Fetched::Failed(error) if error.severity == Severity::Retry => {
                    tracing::debug!(%error, "reading");
                }
                Fetched::Failed(error) => {
                    failed.get_or_insert_with(|| error.into());
                }
            };
            while reader.read(BATCH, &mut take) == BATCH {}
        }
        failed.map_or(Ok(taken), Err)
    }

    /// Returns the next offset of each partition.
    #[must_use]
    pub fn positions(&self) -> &[Offset] {
        &self.positions
    }

    /// Reads until every partition is at its offset in `ends` or beyond it.
    ///
    /// # Errors
    /// As [`LogReader::read`], and if there is no progress for 90 s.
    pub fn read_to(
        &mut self,
        ends: &[Offset],
        each: &mut impl FnMut(Partition, &Message) -> Result<(), BoxError>,
    ) -> Result<(), BoxError> {
        let mut last_progress = Instant::now();
        while self.positions.iter().zip(ends).any(|(position, end)| position < end) {
            let before = self.positions.clone();
            self.read(Duration::from_millis(200), each)?;
            if before != self.positions {
                last_progress = Instant::now();
            } else if last_progress.elapsed() > STALLED_AFTER {
                let at = &self.positions;
                return Err(format!("no progress for 90 s: at {at:?}, not yet {ends:?}").into());
            }
        }
        Ok(())
    }
}
