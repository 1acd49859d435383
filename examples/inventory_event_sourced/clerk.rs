//! Who sends commands, and remembers which.

use std::time::{Duration, UNIX_EPOCH};

use fastrand::Rng;
use tidemill::BoxError;
use tidemill::client::{Outgoing, Producer, TopicHandle};
use tidemill::record::{Headers, Timestamp};
use tidemill::topology::partition_for_key;
use tidemill_connect::event_sourcing::Command;
use tidemill_examples::cluster::Cluster;
use uuid::Uuid;

use crate::stock::{COMMANDS, StockCommand};

const FLUSH: Duration = Duration::from_secs(60);
/// One command in so many is sent again: somebody got no answer in time.
const AGAIN: u32 = 10;

/// What is sent, from a seed.
pub(crate) struct Clerk {
    producer: Producer,
    topic: TopicHandle,
    partitions: u32,
    items: u32,
    rng: Rng,
    last: Option<(String, Command<StockCommand>)>,
    /// Different commands.
    pub(crate) commands: u64,
    /// Records: some commands are there twice.
    pub(crate) records: u64,
}

impl Clerk {
    pub(crate) fn new(
        cluster: &Cluster,
        partitions: u32,
        items: u32,
        seed: u64,
    ) -> Result<Self, BoxError> {
        let mut producer = cluster.producer()?;
        let topic = producer.topic(COMMANDS)?;
        let rng = Rng::with_seed(seed);
        Ok(Self { producer, topic, partitions, items, rng, last: None, commands: 0, records: 0 })
    }

    /// The id of the `number`-th command, from 1.
    pub(crate) fn id(number: u64) -> Uuid {
        Uuid::from_u128(u128::from(number))
    }

    /// Sends so many commands.
    pub(crate) fn send(&mut self, count: u64) -> Result<(), BoxError> {
        for _ in 0..count {
            self.commands += 1;
            let (item, command) = self.next();
            self.produce(&item, &command)?;
            self.last = Some((item, command));
            if self.rng.u32(..AGAIN) == 0
                && let Some((item, command)) = self.last.clone()
            {
                self.produce(&item, &command)?;
            }
        }
        Ok(self.producer.flush(FLUSH)?)
    }

    /// More is wanted than comes in.
    fn next(&mut self) -> (String, Command<StockCommand>) {
        let item = format!("item-{}", self.rng.u32(..self.items));
        let order = format!("order-{}", self.rng.u32(..50));
        let wanted = match self.rng.u8(..8) {
            0 | 1 => StockCommand::Receive { pieces: self.rng.i64(1..6) },
            2..=5 => StockCommand::Reserve { order, pieces: self.rng.i64(1..5) },
            _ => StockCommand::Ship { order },
        };
        (item, Command::new(Self::id(self.commands), wanted))
    }

    fn produce(&mut self, item: &str, command: &Command<StockCommand>) -> Result<(), BoxError> {
        let value = serde_json::to_vec(command)?;
        let record = Outgoing {
            topic: self.topic,
            partition: Some(partition_for_key(item.as_bytes(), self.partitions)),
            key: Some(item.as_bytes()),
            value: Some(&value),
            timestamp: now(),
            headers: &Headers::new(),
            position: None,
        };
        self.producer.send(&record)?;
        self.records += 1;
        Ok(())
    }
}

fn now() -> Timestamp {
    let millis = UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_millis());
    Timestamp(i64::try_from(millis).unwrap_or(i64::MAX))
}
