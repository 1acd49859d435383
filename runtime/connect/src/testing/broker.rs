//! A broker for tests: what `TIDEMILL_TEST_KAFKA` names, else an embedded one in this process.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tidemill::BoxError;
use tidemill::client::{
    Admin, ClientConfig, ClientError, Consumer, Fetched, Isolation, NewTopic, OffsetSpec,
    PartitionReader, Severity, TopicCreation, Waker,
};
use tidemill::record::{Headers, Offset, Partition, RawRecord, TopicPartition};
use tidemill_broker::server::{Server, ServerConfig};

use super::PATIENCE;

const TIMEOUT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

/// One broker, and what a reader sees of its topics.
#[derive(Debug, Clone)]
pub struct Broker {
    bootstrap: String,
}

/// A record that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Milliseconds since the Unix epoch.
    pub timestamp: i64,
    /// Key bytes.
    pub key: Option<Vec<u8>>,
    /// Value bytes.
    pub value: Option<Vec<u8>>,
    /// The headers.
    pub headers: Headers,
}

impl Seen {
    /// Returns the key as text, and what is no UTF-8 replaced.
    #[must_use]
    pub fn key_text(&self) -> String {
        String::from_utf8_lossy(self.key.as_deref().unwrap_or_default()).into_owned()
    }

    /// Returns the value as text, and what is no UTF-8 replaced.
    #[must_use]
    pub fn value_text(&self) -> String {
        String::from_utf8_lossy(self.value.as_deref().unwrap_or_default()).into_owned()
    }

    /// Returns the text of the last header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        let value = self.headers.last(name)?.value.clone()?;
        Some(String::from_utf8_lossy(&value).into_owned())
    }
}

impl Broker {
    /// The broker that all tests of the process share.
    ///
    /// # Panics
    /// If the embedded one does not start.
    #[must_use]
    pub fn shared() -> Self {
        static EMBEDDED: OnceLock<Server> = OnceLock::new();
        let bootstrap = std::env::var("TIDEMILL_TEST_KAFKA").unwrap_or_else(|_| {
            let server = EMBEDDED.get_or_init(|| {
                Server::start(ServerConfig::default()).expect("the embedded broker starts")
            });
            server.bootstrap_servers()
        });
        Self { bootstrap }
    }

    /// The broker at this address.
    #[must_use]
    pub fn at(bootstrap: &str) -> Self {
        Self { bootstrap: bootstrap.to_owned() }
    }

    /// Returns `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.bootstrap
    }

    /// Returns the options of a client of this broker.
    #[must_use]
    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &*self.bootstrap);
        config
    }

    /// Makes a topic under a name that no other test has, and returns the name.
    ///
    /// # Errors
    /// If the broker refuses.
    pub fn topic(&self, name: &str, partitions: i32) -> Result<String, BoxError> {
        let name = super::unique(name);
        self.create(&name, partitions, &[])?;
        Ok(name)
    }

    /// Makes a topic and waits until it is known.
    ///
    /// # Errors
    /// If the broker refuses.
    pub fn create(
        &self,
        name: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> Result<(), BoxError> {
        let admin = Admin::new(&self.config())?;
        let configs = configs.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let topic = NewTopic {
            name: name.to_owned(),
            partitions,
            replication_factor: 1,
            configs: configs.collect(),
        };
        for (_, outcome) in
            patiently(|| admin.create_topics(std::slice::from_ref(&topic), TIMEOUT))?
        {
            if let TopicCreation::Failed(error) = outcome {
                return Err(error.into());
            }
        }
        // a topic is created a moment before the broker tells of it
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let found = patiently(|| admin.topics(&[name], TIMEOUT))?;
            if found.iter().all(|topic| topic.partitions.is_some()) {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
        Err(format!("topic {name} does not appear").into())
    }

    /// Deletes topics.
    ///
    /// # Errors
    /// If the broker refuses.
    pub fn delete(&self, names: &[&str]) -> Result<(), BoxError> {
        let admin = Admin::new(&self.config())?;
        Ok(admin.delete_topics(names, TIMEOUT)?)
    }

    /// Returns what a read_committed reader sees of a topic from its beginning to its present end,
    /// by partition and offset. Waits for transactions that are open.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn committed(&self, topic: &str) -> Result<Vec<Seen>, BoxError> {
        let admin = Admin::new(&self.config())?;
        let found = patiently(|| admin.topics(&[topic], TIMEOUT))?;
        let count = found.first().and_then(|topic| topic.partitions);
        let count = i32::try_from(count.ok_or_else(|| format!("no topic {topic}"))?)?;
        let partitions: Vec<TopicPartition> =
            (0..count).map(|number| TopicPartition::new(topic, Partition(number))).collect();
        // the high watermark: what is in doubt now is decided before this returns
        let ends = |spec| {
            let uncommitted = Isolation::ReadUncommitted;
            patiently(|| admin.list_offsets(&partitions, spec, uncommitted, TIMEOUT))
        };
        let starts = ends(OffsetSpec::Earliest)?;
        let ends: BTreeMap<TopicPartition, Offset> =
            ends(OffsetSpec::Latest)?.into_iter().collect();
        let mut config = self.config();
        config
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "error")
            .set("fetch.wait.max.ms", "50");
        let waker = Arc::new(Waker::new());
        let mut consumer = Consumer::new(&config, Arc::<Waker>::clone(&waker))?;
        let readers = consumer.assign(&starts)?;
        let mut seen = Vec::new();
        for reader in readers {
            let end = ends[reader.topic_partition()];
            read_to(reader, end, &mut consumer, &waker, &mut seen)?;
        }
        Ok(seen)
    }
}

fn read_to(
    mut reader: PartitionReader,
    end: Offset,
    consumer: &mut Consumer,
    waker: &Waker,
    seen: &mut Vec<Seen>,
) -> Result<(), BoxError> {
    let partition = reader.topic_partition().partition.0;
    let (mut position, mut failed) = (Offset(0), None);
    let deadline = Instant::now() + PATIENCE;
    while position < end {
        consumer.poll_event(Duration::ZERO);
        let taken = reader.read(1000, &mut |fetched| match fetched {
            Fetched::Record(record) => {
                position = record.offset().next();
                seen.push(Seen {
                    partition,
                    offset: record.offset().0,
                    timestamp: record.timestamp().0,
                    key: record.key().map(<[u8]>::to_vec),
                    value: record.value().map(<[u8]>::to_vec),
                    headers: record.headers(),
                });
            }
            Fetched::EndOfPartition(at) => position = position.max(at),
            Fetched::Failed(error) if error.severity == Severity::Retry => {}
            Fetched::Failed(error) => failed = Some(error),
        });
        if let Some(error) = failed.take() {
            return Err(error.into());
        }
        if taken == 0 {
            if Instant::now() > deadline {
                return Err(
                    format!("partition {partition}: at {position:?}, not at {end:?}").into()
                );
            }
            waker.wait(PAUSE);
        }
    }
    Ok(())
}

/// Makes the call until it is answered, as severity retry asks.
fn patiently<T>(mut call: impl FnMut() -> Result<T, ClientError>) -> Result<T, ClientError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match call() {
            Err(error)
                if (error.severity == Severity::Retry || error.is_unknown_topic_or_partition())
                    && Instant::now() < deadline =>
            {
                std::thread::sleep(PAUSE);
            }
            outcome => return outcome,
        }
    }
}
