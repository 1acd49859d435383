//! Puts transactions into the input topic: as fast as possible, or at a fixed rate.

use std::time::{Duration, Instant};

use tidemill::BoxError;
use tidemill::client::{Outgoing, Producer, SendError, TopicHandle};
use tidemill::record::{Headers, Partition, Timestamp};
use tidemill::topology::partition_for_key;

use crate::cluster::Cluster;
use crate::interrupt;
use crate::system::Job;
use crate::transactions::{Ledger, Spread, Transactions};

const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);

/// Writes transactions into one topic, and keeps the balances that must come of them.
#[derive(Debug)]
pub(crate) struct Loader {
    producer: Producer,
    topic: TopicHandle,
    partitions: u32,
    job: Job,
    transactions: Transactions,
    spread: Spread,
    pub(crate) expected: Ledger,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Loader {
    /// `linger`: how long records wait for others to share a request with.
    pub(crate) fn new(
        cluster: &Cluster,
        topic: &str,
        job: Job,
        (transactions, spread): (Transactions, Spread),
        linger: Duration,
    ) -> Result<Self, BoxError> {
        let mut config = cluster.client();
        config.set("enable.idempotence", "true");
        config.set("linger.ms", linger.as_millis().to_string());
        config.set("batch.size", "262144");
        config.set("queue.buffering.max.kbytes", "65536");
        let mut producer = Producer::new(&config)?;
        Ok(Self {
            topic: producer.topic(topic)?,
            producer,
            partitions: cluster.partitions,
            job,
            expected: Ledger::new(transactions.accounts()),
            transactions,
            spread,
            key: Vec::new(),
            value: Vec::new(),
        })
    }

    /// Sends these transactions as fast as they are taken.
    pub(crate) fn fill(&mut self, numbers: std::ops::Range<u64>) -> Result<(), BoxError> {
        for number in numbers {
            self.send(number)?;
            if number % 4_096 == 0 {
                self.producer.poll(Duration::ZERO);
                interrupt::check()?;
            }
        }
        self.flush()
    }

    /// Sends these transactions at a fixed rate that begins at `start`, the first one then.
    pub(crate) fn pace(
        &mut self,
        numbers: std::ops::Range<u64>,
        start: Instant,
        rate: u32,
    ) -> Result<(), BoxError> {
        let first = numbers.start;
        for number in numbers {
            let due = start + due_after(number - first, rate);
            let wait = due.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                interrupt::check()?;
                // Serves delivery reports in the meantime; a millisecond is its unit.
                self.producer.poll(Duration::ZERO);
                std::thread::sleep(wait.max(Duration::from_millis(1)));
            }
            self.send(number)?;
        }
        self.flush()
    }

    fn send(&mut self, number: u64) -> Result<(), BoxError> {
        let made = self.transactions.make(number, self.spread);
        self.transactions.write(number, made, &mut self.key, &mut self.value);
        let (key, partition) = match self.job {
            Job::Keyed => (Some(&self.key[..]), partition_for_key(&self.key, self.partitions)),
            Job::Repartition => {
                let partition = number % u64::from(self.partitions);
                (None, Partition(i32::try_from(partition)?))
            }
        };
        let record = Outgoing {
            topic: self.topic,
            partition: Some(partition),
            key,
            value: Some(&self.value),
            timestamp: Timestamp(now_millis()),
            headers: &Headers::new(),
            position: None,
        };
        loop {
            match self.producer.send(&record) {
                Ok(()) => break,
                Err(SendError::QueueFull) => self.producer.poll(Duration::from_millis(5)),
                Err(error) => return Err(error.into()),
            }
        }
        self.expected.add(made.account, made.change, 1);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BoxError> {
        self.producer.flush(FLUSH_TIMEOUT)?;
        self.producer.delivery_error().map_or(Ok(()), |error| Err(error.into()))
    }
}

/// When a record of a paced load is due, counted from the first.
pub(crate) fn due_after(records: u64, rate: u32) -> Duration {
    Duration::from_nanos(records.saturating_mul(1_000_000_000) / u64::from(rate.max(1)))
}

fn now_millis() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
