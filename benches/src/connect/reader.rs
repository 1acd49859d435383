//! What a read_committed consumer sees: how many events, when, and whether each came once and in
//! the order of its aggregate.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill::BoxError;
use tidemill::client::{ClientConfig, Consumer, Fetched, Message, PartitionReader, Waker};
use tidemill::record::{Offset, Partition, RawRecord, TopicPartition};

use crate::system::System;

const BATCH: usize = 1_000;

/// Reads a topic from its start and keeps account.
#[derive(Debug)]
pub(crate) struct Reader {
    readers: Vec<PartitionReader>,
    waker: Arc<Waker>,
    pub(crate) seen: Seen,
    // dropped after the readers
    _consumer: Consumer,
}

/// What came so far of events that are numbered from 0.
#[derive(Debug)]
pub(crate) struct Seen {
    system: System,
    /// When each became visible.
    pub(crate) at: Vec<Option<Instant>>,
    /// The last event of each aggregate.
    last: Vec<Option<usize>>,
    pub(crate) distinct: u32,
    pub(crate) duplicates: u32,
    pub(crate) out_of_order: u32,
    /// Records that are no event of the run.
    pub(crate) foreign: u32,
}

impl Reader {
    /// Begins to read `topic`, in which these events are expected.
    pub(crate) fn new(
        servers: &str,
        (topic, partitions): (&str, u32),
        system: System,
        (events, aggregates): (u32, u32),
    ) -> Result<Self, BoxError> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", servers);
        config.set("isolation.level", "read_committed");
        config.set("auto.offset.reset", "error");
        config.set("fetch.queue.backoff.ms", "5");
        config.set("fetch.wait.max.ms", "50");
        let waker = Arc::new(Waker::new());
        let mut consumer = Consumer::new(&config, Arc::clone(&waker))?;
        let partition = |number| TopicPartition::new(topic, Partition(number));
        let partitions = 0..i32::try_from(partitions)?;
        let from_start: Vec<_> = partitions.map(|p| (partition(p), Offset::ZERO)).collect();
        let readers = consumer.assign(&from_start)?;
        let seen = Seen {
            system,
            at: vec![None; usize::try_from(events)?],
            last: vec![None; usize::try_from(aggregates)?],
            distinct: 0,
            duplicates: 0,
            out_of_order: 0,
            foreign: 0,
        };
        Ok(Self { readers, waker, seen, _consumer: consumer })
    }

    /// Reads what is there, waiting for the first record at most that long.
    pub(crate) fn read(&mut self, wait: Duration) -> Result<(), BoxError> {
        self.waker.wait(wait);
        let (mut failed, now) = (None, Instant::now());
        for reader in &mut self.readers {
            let (seen, partition) = (&mut self.seen, reader.topic_partition().partition);
            let mut take = |fetched: Fetched| match fetched {
                Fetched::Record(record) => seen.take(partition, &record, now),
                Fetched::EndOfPartition(_) => {}
                Fetched::Failed(error) => failed = Some(error),
            };
            while reader.read(BATCH, &mut take) == BATCH {}
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }
}

impl Seen {
    fn take(&mut self, partition: Partition, record: &Message, now: Instant) {
        let number = record.value().and_then(|value| self.system.number(value));
        let Some((number, at)) = number.and_then(|number| Some((number, self.at.get_mut(number)?)))
        else {
            self.foreign += 1;
            return;
        };
        if at.is_some() {
            self.duplicates += 1;
            return;
        }
        *at = Some(now);
        self.distinct += 1;
        // each row of the business table has a key of its own: its order is that of the partition
        let place = match self.system {
            System::Cdc => usize::try_from(partition.0).unwrap_or(0),
            System::Plain | System::Polling | System::Tailing => number,
        };
        let places = self.last.len();
        if self.last[place % places].replace(number).is_some_and(|before| before > number) {
            self.out_of_order += 1;
        }
    }

    /// Says what is not as it must be, if anything.
    pub(crate) fn wrong(&self) -> Option<String> {
        let lost = self.at.len() - self.at.iter().flatten().count();
        let Self { duplicates, out_of_order, foreign, .. } = self;
        (lost > 0 || *duplicates > 0 || *out_of_order > 0 || *foreign > 0).then(|| {
            format!("{lost} lost, {duplicates} twice, {out_of_order} out of order, {foreign} other")
        })
    }
}
