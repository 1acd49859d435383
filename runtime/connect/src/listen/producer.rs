//! The thread of an emitter: what waits is sent together, and each is answered.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidemill::client::{
    AckedPosition, Admin, ClientConfig, ClientError, Isolation, OffsetSpec, Outgoing, PositionSlot,
    Producer, SendError,
};
use tidemill::record::{Headers, Offset, Partition, Timestamp, TopicPartition};
use tidemill::topology::partition_for_key;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::emitter::{EmitError, Receipt};

/// Events that are sent together.
const ROUND_MAX: usize = 256;
/// How old the number of partitions may be.
const PARTITIONS_AGE_MAX: Duration = Duration::from_secs(60);
const ADMIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Beyond the time in which the producer gives an event up itself.
const FLUSH_MARGIN: Duration = Duration::from_secs(5);

/// An event on its way.
pub(super) struct Sending {
    pub(super) event_id: Uuid,
    pub(super) kind: &'static str,
    pub(super) key: String,
    pub(super) value: Vec<u8>,
    pub(super) tell: oneshot::Sender<Result<Receipt, EmitError>>,
}

/// One that was handed to the producer.
struct Sent {
    event_id: Uuid,
    tell: oneshot::Sender<Result<Receipt, EmitError>>,
    partition: Partition,
    slot: PositionSlot,
}

pub(super) struct Rounds {
    config: ClientConfig,
    topic: String,
    timeout: Duration,
    admin: Admin,
    /// Made anew after trouble.
    producer: Option<Producer>,
    partitions: Option<(u32, Instant)>,
}

impl Rounds {
    pub(super) fn new(
        config: ClientConfig,
        topic: &str,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        let admin = Admin::new(&config)?;
        let producer = Some(Producer::new(&config)?);
        Ok(Self { config, topic: topic.to_owned(), timeout, admin, producer, partitions: None })
    }

    /// Runs until the last emitter is gone.
    pub(super) fn run(mut self, mut waiting: mpsc::Receiver<Sending>) {
        while let Some(first) = waiting.blocking_recv() {
            let mut round = vec![first];
            while round.len() < ROUND_MAX
                && let Ok(next) = waiting.try_recv()
            {
                round.push(next);
            }
            if let Err((round, source)) = self.round(round) {
                tracing::warn!(topic = self.topic, error = %source, "events were not sent");
                for one in round {
                    let (event_id, topic) = (one.event_id, self.topic.clone());
                    let error = EmitError::NotSent { event_id, topic, source: source.clone() };
                    // the caller may have given up
                    let _ = one.tell.send(Err(error));
                }
            }
        }
    }

    /// Sends these events and answers them; gives them back if nothing was sent.
    fn round(&mut self, round: Vec<Sending>) -> Result<(), (Vec<Sending>, ClientError)> {
        let partitions = match self.partition_count() {
            Ok(partitions) => partitions,
            Err(error) => return Err((round, error)),
        };
        let mut producer =
            match self.producer.take().map_or_else(|| Producer::new(&self.config), Ok) {
                Ok(producer) => producer,
                Err(error) => return Err((round, error)),
            };
        producer.reset_positions();
        let mut sent = Vec::with_capacity(round.len());
        for (one, number) in round.into_iter().zip(0..) {
            let partition = partition_for_key(one.key.as_bytes(), partitions);
            // a place of its own for each event of the round, to learn its own offset
            let slot = TopicPartition::new("event of the round", Partition(number));
            let slot = producer.register_position(slot);
            match self.send(&mut producer, &one, partition, slot) {
                Ok(()) => {
                    let Sending { event_id, tell, .. } = one;
                    sent.push(Sent { event_id, tell, partition, slot });
                }
                Err(error) => {
                    let _ = one.tell.send(Err(error));
                }
            }
        }
        let flushed = producer.flush(self.timeout + FLUSH_MARGIN);
        let failed = flushed.err().or_else(|| producer.delivery_error().map(|failed| failed.error));
        let positions = producer.positions();
        // what was given up must not follow later, between events of the next round
        if failed.is_none() && producer.fatal_error().is_none() {
            self.producer = Some(producer);
        }
        self.answer(sent, &positions, failed.as_ref());
        Ok(())
    }

    fn send(
        &self,
        producer: &mut Producer,
        one: &Sending,
        partition: Partition,
        slot: PositionSlot,
    ) -> Result<(), EmitError> {
        let (event_id, topic) = (one.event_id, self.topic.clone());
        let not_sent = |source| EmitError::NotSent { event_id, topic: self.topic.clone(), source };
        let mut headers = Headers::new();
        headers.add("id", Some(event_id.to_string().into_bytes()));
        headers.add("type", Some(one.kind.as_bytes().to_vec()));
        let record = Outgoing {
            topic: producer.topic(&self.topic).map_err(not_sent)?,
            partition: Some(partition),
            key: Some(one.key.as_bytes()),
            value: Some(&one.value),
            timestamp: now(),
            headers: &headers,
            position: Some(slot),
        };
        loop {
            match producer.send(&record) {
                Ok(()) => return Ok(()),
                Err(SendError::QueueFull) => producer.poll(Duration::from_millis(10)),
                Err(error @ SendError::TooLarge { .. }) => {
                    return Err(EmitError::Refused { event_id, topic, why: error.to_string() });
                }
                Err(SendError::Failed(source)) => return Err(not_sent(source)),
            }
        }
    }

    /// Answers each event. Offsets of a partition are trusted only if all of them are in order:
    /// after a retry that the broker recognised, the client makes offsets up.
    fn answer(
        &self,
        sent: Vec<Sent>,
        positions: &[(PositionSlot, AckedPosition)],
        failed: Option<&ClientError>,
    ) {
        let told: BTreeMap<PositionSlot, Offset> = positions
            .iter()
            .filter(|(_, position)| !position.suspicious)
            .filter_map(|(slot, position)| Some((*slot, position.next?)))
            .collect();
        let mut ends: BTreeMap<Partition, Vec<Option<Offset>>> = BTreeMap::new();
        for one in &sent {
            ends.entry(one.partition).or_default().push(told.get(&one.slot).copied());
        }
        // `None` is smaller than any offset, so one that is missing is not in order
        ends.retain(|_, ends| ends.first() != Some(&None) && ends.is_sorted_by(|a, b| a < b));
        for one in sent {
            let partition = TopicPartition::new(&*self.topic, one.partition);
            let offset = match (told.get(&one.slot), failed) {
                (Some(next), _) if ends.contains_key(&one.partition) => Ok(Offset(next.0 - 1)),
                // delivered, at an offset that nobody told
                (_, None) => self.last_offset(&partition),
                (_, Some(error)) => Err(error.clone()),
            };
            let answer = offset.map(|offset| Receipt { partition, offset }).map_err(|source| {
                EmitError::Unknown { event_id: one.event_id, topic: self.topic.clone(), source }
            });
            // the caller may have given up
            let _ = one.tell.send(answer);
        }
    }

    /// An offset that is not before any event that is there by now.
    fn last_offset(&self, partition: &TopicPartition) -> Result<Offset, ClientError> {
        let (asked, uncommitted) = ([partition.clone()], Isolation::ReadUncommitted);
        let listed =
            self.admin.list_offsets(&asked, OffsetSpec::Latest, uncommitted, ADMIN_TIMEOUT)?;
        Ok(Offset(listed.first().map_or(0, |(_, end)| end.0) - 1))
    }

    /// How many partitions keys are spread over, looked up now and then.
    fn partition_count(&mut self) -> Result<u32, ClientError> {
        if let Some((count, since)) = self.partitions
            && since.elapsed() < PARTITIONS_AGE_MAX
        {
            return Ok(count);
        }
        let found = self.admin.topics(&[&self.topic], ADMIN_TIMEOUT)?;
        let count = found.first().and_then(|topic| u32::try_from(topic.partitions?).ok());
        let count = count.filter(|count| *count > 0).ok_or_else(|| ClientError {
            operation: "look up the topic",
            code: 3,
            name: "UNKNOWN_TOPIC_OR_PART".to_owned(),
            message: format!("topic {} does not exist", self.topic),
            severity: tidemill::client::Severity::Retry,
            timed_out: false,
        })?;
        self.partitions = Some((count, Instant::now()));
        Ok(count)
    }
}

fn now() -> Timestamp {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
