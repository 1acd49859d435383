//! The brokers themselves: raw produce and consume on the cluster of the run and on the embedded
//! broker, by the same client, one after the other, and how long the embedded one takes to start.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill::BoxError;
use tidemill::client::{Consumer, Fetched, Outgoing, Producer, SendError, Waker};
use tidemill::record::{Headers, Offset, Partition, Timestamp};
use tidemill_examples::embedded::EmbeddedBroker;

use crate::cluster::Cluster;
use crate::{interrupt, say};

const RECORDS_MAX: u64 = 2_000_000;
/// As large as the transactions of the jobs are on average.
const VALUE: [u8; 100] = [b'x'; 100];
const TIMEOUT: Duration = Duration::from_secs(120);
const BATCH: usize = 1_000;

/// Which broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// The one that the run was given.
    Given,
    Embedded,
}

impl Which {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Given => "given broker",
            Self::Embedded => "embedded broker",
        }
    }
}

/// What one broker did in one round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BrokerRow {
    pub(crate) round: u32,
    pub(crate) which: Which,
    /// From the start of its process to its first answer; of one that we start ourselves.
    pub(crate) ready_ms: Option<f64>,
    pub(crate) produced_per_s: f64,
    pub(crate) consumed_per_s: f64,
}

/// Measures both brokers.
pub(crate) fn measure(
    given: &Cluster,
    folder: &Path,
    records: u64,
    round: u32,
) -> Result<[BrokerRow; 2], BoxError> {
    let records = records.min(RECORDS_MAX);
    let topic = format!("r{round}-raw");
    let first = measure_one(given, &topic, records, (round, Which::Given, None))?;
    given.delete(&[&topic])?;
    let began = Instant::now();
    let broker = EmbeddedBroker::start(&folder.join(format!("broker-{round}")))?;
    let embedded = Cluster::new(broker.address(), given.partitions)?;
    let ready = began.elapsed().as_secs_f64() * 1e3;
    let second = measure_one(&embedded, &topic, records, (round, Which::Embedded, Some(ready)))?;
    Ok([first, second])
}

fn measure_one(
    cluster: &Cluster,
    topic: &str,
    records: u64,
    (round, which, ready_ms): (u32, Which, Option<f64>),
) -> Result<BrokerRow, BoxError> {
    cluster.create(topic)?;
    let row = BrokerRow {
        round,
        which,
        ready_ms,
        produced_per_s: produce(cluster, topic, records)?,
        consumed_per_s: consume(cluster, topic, records)?,
    };
    say(&format!(
        "round {round}, {}: produced {:.0} records/s, consumed {:.0} records/s",
        which.name(),
        row.produced_per_s,
        row.consumed_per_s
    ));
    Ok(row)
}

fn produce(cluster: &Cluster, topic: &str, records: u64) -> Result<f64, BoxError> {
    let mut config = cluster.client();
    config.set("enable.idempotence", "true");
    config.set("linger.ms", "50");
    config.set("batch.size", "262144");
    config.set("queue.buffering.max.kbytes", "65536");
    let mut producer = Producer::new(&config)?;
    let handle = producer.topic(topic)?;
    let headers = Headers::new();
    let began = Instant::now();
    for number in 0..records {
        let record = Outgoing {
            topic: handle,
            partition: Some(Partition(i32::try_from(number % u64::from(cluster.partitions))?)),
            key: None,
            value: Some(&VALUE),
            timestamp: Timestamp(1),
            headers: &headers,
            position: None,
        };
        loop {
            match producer.send(&record) {
                Ok(()) => break,
                Err(SendError::QueueFull) => producer.poll(Duration::from_millis(5)),
                Err(error) => return Err(error.into()),
            }
        }
        if number % 4_096 == 0 {
            producer.poll(Duration::ZERO);
            interrupt::check()?;
        }
    }
    producer.flush(TIMEOUT)?;
    if let Some(error) = producer.delivery_error() {
        return Err(error.into());
    }
    Ok(rate(records, began))
}

fn consume(cluster: &Cluster, topic: &str, records: u64) -> Result<f64, BoxError> {
    let mut config = cluster.client();
    config.set("isolation.level", "read_committed");
    config.set("auto.offset.reset", "error");
    config.set("fetch.queue.backoff.ms", "5");
    config.set("fetch.wait.max.ms", "50");
    let waker = Arc::new(Waker::new());
    let mut consumer = Consumer::new(&config, Arc::clone(&waker))?;
    let from_start: Vec<_> =
        cluster.partitions_of(topic).into_iter().map(|one| (one, Offset::ZERO)).collect();
    let began = Instant::now();
    let mut readers = consumer.assign(&from_start)?;
    let (mut read, mut failed) = (0_u64, None);
    while read < records {
        interrupt::check()?;
        if began.elapsed() > TIMEOUT {
            return Err(format!("{read} of {records} records were read in {TIMEOUT:?}").into());
        }
        waker.wait(Duration::from_millis(50));
        for reader in &mut readers {
            let mut take = |fetched: Fetched| match fetched {
                Fetched::Record(_) => read += 1,
                Fetched::EndOfPartition(_) => {}
                Fetched::Failed(error) => failed = Some(error),
            };
            while reader.read(BATCH, &mut take) == BATCH {}
        }
        if let Some(error) = failed.take() {
            return Err(error.into());
        }
    }
    Ok(rate(read, began))
}

fn rate(records: u64, since: Instant) -> f64 {
    records as f64 / since.elapsed().as_secs_f64()
}
