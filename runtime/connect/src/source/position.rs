//! The position of a relay as it is stored: one record of the positions topic, and its reading.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidemill::client::{
    Admin, ClientConfig, ClientError, Consumer, Fetched, Isolation, OffsetSpec, Severity, Waker,
};
use tidemill::record::{Offset, Partition, RawRecord, TopicPartition};
use uuid::Uuid;

use super::{RelayError, Stop};

/// The form of the record; a higher one is a newer program's.
const VERSION: u32 = 1;
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);
const READ_MAX: usize = 1000;

/// What is committed of a relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPosition {
    /// The form of this record.
    v: u32,
    /// How many positions were committed so far, this one included. Only ever grows.
    pub number: u64,
    /// How many records were committed so far. Never falls.
    pub records: u64,
    /// Which run of a relay committed it; an operator's reset has one of its own.
    pub owner: Uuid,
    /// The topics that records went to so far, with their partitions.
    pub topics: BTreeMap<String, u32>,
    /// Where the source stands, as it wrote it.
    pub position: Value,
}

/// The part of a record that tells whether the rest can be read.
#[derive(Deserialize)]
struct Head {
    v: u32,
    number: u64,
}

impl StoredPosition {
    /// The position after `before`, which had that many records less.
    pub(super) fn after(before: Option<&Self>, owner: Uuid, records: u64, position: Value) -> Self {
        Self {
            v: VERSION,
            number: before.map_or(0, |before| before.number) + 1,
            records: before.map_or(0, |before| before.records) + records,
            owner,
            topics: BTreeMap::new(),
            position,
        }
    }
}

/// Where positions are read from.
pub(super) struct Reader<'a> {
    pub(super) relay: &'a str,
    pub(super) topic: &'a str,
    pub(super) kafka: &'a ClientConfig,
    pub(super) admin: &'a Admin,
    pub(super) stop: &'a Stop,
    /// How long an open transaction of another relay may be waited for.
    pub(super) patience: Duration,
}

impl Reader<'_> {
    /// Reads the newest committed position of the relay. Call it after `init_transactions`: then
    /// nothing of a predecessor is undecided.
    ///
    /// The high watermark counts what is undecided too, and only at it, reading committed records
    /// only, is the answer taken. So no position can be missed because it is not visible yet.
    /// Returns `Err(None)` if it was asked to stop.
    pub(super) fn read(&self) -> Result<Option<StoredPosition>, Option<RelayError>> {
        let partition = TopicPartition::new(self.topic, Partition(0));
        let start = self.end(&partition, OffsetSpec::Earliest)?;
        let end = self.end(&partition, OffsetSpec::Latest)?;
        if start >= end {
            return Ok(None);
        }
        let mut config = self.kafka.clone();
        config
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "error")
            .set("fetch.wait.max.ms", "10");
        let waker = Arc::new(Waker::new());
        let failed = |cause| Some(self.kafka_error(cause));
        let mut consumer = Consumer::new(&config, Arc::<Waker>::clone(&waker)).map_err(failed)?;
        let mut readers = consumer.assign(&[(partition, start)]).map_err(failed)?;
        let Some(reader) = readers.first_mut() else { return Ok(None) };
        let deadline = Instant::now() + self.patience;
        let (mut at, mut fold, mut error) = (start, Fold::default(), None);
        while at < end {
            consumer.poll_event(Duration::ZERO);
            let taken = reader.read(READ_MAX, &mut |fetched| match fetched {
                Fetched::Record(record) => {
                    at = record.offset().next();
                    if record.key() == Some(self.relay.as_bytes()) {
                        fold.take(record.offset(), record.value());
                    }
                }
                Fetched::EndOfPartition(next) => at = at.max(next),
                Fetched::Failed(failure) if failure.severity == Severity::Retry => {}
                Fetched::Failed(failure) => error = Some(failure),
            });
            if let Some(error) = error.take() {
                return Err(failed(error));
            }
            if self.stop.is_requested() {
                return Err(None);
            }
            if taken < READ_MAX && at < end {
                if Instant::now() >= deadline {
                    return Err(Some(self.stuck(at, end)));
                }
                waker.wait(PAUSE);
            }
        }
        fold.result().map_err(|(problem, remedy)| Some(self.unusable(problem, remedy)))
    }

    fn end(
        &self,
        partition: &TopicPartition,
        spec: OffsetSpec,
    ) -> Result<Offset, Option<RelayError>> {
        let ask = |timeout| {
            let partitions = std::slice::from_ref(partition);
            self.admin.list_offsets(partitions, spec, Isolation::ReadUncommitted, timeout)
        };
        let found = retrying(self.stop, self.patience, ask);
        let found = found.map_err(|cause| cause.map(|cause| self.kafka_error(cause)))?;
        Ok(found.first().map_or(Offset::ZERO, |(_, offset)| *offset))
    }

    fn kafka_error(&self, cause: ClientError) -> RelayError {
        RelayError::Kafka {
            relay: self.relay.to_owned(),
            doing: format!("could not read its position from topic {}", self.topic),
            cause,
        }
    }

    fn unusable(&self, problem: String, remedy: &'static str) -> RelayError {
        let (relay, topic) = (self.relay.to_owned(), self.topic.to_owned());
        RelayError::Position { relay, topic, problem, remedy }
    }

    /// Retriable: the transaction that is in the way ends by its own timeout at the latest.
    fn stuck(&self, at: Offset, end: Offset) -> RelayError {
        let message = format!(
            "reached offset {} of {} in {:?}: a transaction of another relay in this topic is open",
            at.0, end.0, self.patience
        );
        self.kafka_error(ClientError {
            operation: "read up to the high watermark",
            code: -185,
            name: "_TIMED_OUT".to_owned(),
            message,
            severity: Severity::Retry,
            timed_out: true,
        })
    }
}

/// The newest record of a key, and whether all of them were in order.
#[derive(Default)]
struct Fold {
    newest: Option<(u64, Vec<u8>)>,
    broken: Option<(String, &'static str)>,
}

const RESET: &str = "find out who wrote it; then reset the position";

impl Fold {
    fn take(&mut self, offset: Offset, value: Option<&[u8]>) {
        let Some(value) = value else {
            // a reset by an operator: whatever comes next is a beginning
            *self = Self::default();
            return;
        };
        let head = match serde_json::from_slice::<Head>(value) {
            Ok(head) if head.v <= VERSION => head,
            Ok(head) => {
                let problem = format!("offset {} has version {}", offset.0, head.v);
                self.broken = Some((problem, "run the newer version of the program that wrote it"));
                return;
            }
            Err(error) => {
                let problem = format!("offset {} can't be read: {error}", offset.0);
                self.broken = Some((problem, RESET));
                return;
            }
        };
        if let Some((before, _)) = self.newest
            && head.number <= before
        {
            let number = head.number;
            let problem = format!("offset {} goes back from {before} to {number}", offset.0);
            self.broken = Some((problem, RESET));
        }
        self.newest = Some((head.number, value.to_vec()));
    }

    fn result(self) -> Result<Option<StoredPosition>, (String, &'static str)> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        let Some((_, bytes)) = self.newest else { return Ok(None) };
        let read = serde_json::from_slice(&bytes);
        read.map(Some).map_err(|error| (format!("it can't be read: {error}"), RESET))
    }
}

/// Makes a call until it is answered, at most that long. `Err(None)`: stop was requested.
pub(super) fn retrying<T>(
    stop: &Stop,
    limit: Duration,
    mut call: impl FnMut(Duration) -> Result<T, ClientError>,
) -> Result<T, Option<ClientError>> {
    let deadline = Instant::now() + limit;
    loop {
        match call(CALL_TIMEOUT) {
            Err(error) if error.severity == Severity::Retry && Instant::now() < deadline => {
                if stop.wait(PAUSE) {
                    return Err(None);
                }
            }
            outcome => return outcome.map_err(Some),
        }
    }
}
