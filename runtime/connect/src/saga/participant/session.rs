//! What a service does between two failures: its clients, its connection, and the loop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill::BoxError;
use tidemill::client::{
    Admin, ClientError, Consumer, Fetched, GroupEvent, Isolation, OffsetCommit, OffsetSpec,
    Outgoing, PartitionReader, Producer, SendError, Severity,
};
use tidemill::record::{Headers, Offset, RawRecord, Timestamp, TopicPartition};
use tokio_postgres::Transaction;

use super::postgres::PgParticipant;
use super::service::{ServiceError, ServiceOptions, Stop};
use crate::postgres::{Connection, connect};
use crate::saga::message::{Answer, Command, Reply};

const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Replies are in Kafka within this time, or everything is opened again.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// How long to wait for commands before looking for other things.
const IDLE: Duration = Duration::from_millis(250);
/// Commands that are handled before their offset is committed.
const BATCH: usize = 100;

pub(super) struct Session<'a> {
    options: &'a ServiceOptions,
    participant: &'a PgParticipant,
    stop: Arc<Stop>,
    consumer: Consumer,
    producer: Producer,
    connection: Connection,
    readers: Vec<PartitionReader>,
}

/// A record that was read.
struct Incoming {
    offset: Offset,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

impl<'a> Session<'a> {
    pub(super) async fn open(
        options: &'a ServiceOptions,
        participant: &'a PgParticipant,
        stop: Arc<Stop>,
    ) -> Result<Self, ServiceError> {
        let failed = |cause| ServiceError::Kafka { group: options.group.clone(), cause };
        let connecting = |cause| ServiceError::Connect { group: options.group.clone(), cause };
        let mut connection = connect(&options.database).await.map_err(connecting)?;
        participant.ensure_schema(&mut connection).await.map_err(connecting)?;
        let mut config = options.kafka.clone();
        config
            .set("group.id", &*options.group)
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "error")
            .set("session.timeout.ms", options.session_timeout.as_millis().to_string())
            .set("heartbeat.interval.ms", (options.session_timeout / 4).as_millis().to_string());
        if let Some(instance) = &options.instance {
            config.set("group.instance.id", &**instance);
        }
        let mut consumer = Consumer::new(&config, Arc::clone(&stop.waker)).map_err(failed)?;
        let topics: Vec<&str> = options.topics.iter().map(|topic| &**topic).collect();
        consumer.subscribe(&topics).map_err(failed)?;
        let mut config = options.kafka.clone();
        // partitions as Java's producer and topologies choose them
        config.set("enable.idempotence", "true").set("partitioner", "murmur2_random");
        let producer = Producer::new(&config).map_err(failed)?;
        let readers = Vec::new();
        Ok(Self { options, participant, stop, consumer, producer, connection, readers })
    }

    /// Handles commands until the service is told to stop. Sets `handled` when there was one.
    pub(super) async fn run<E>(
        &mut self,
        effect: &E,
        handled: &mut bool,
    ) -> Result<(), ServiceError>
    where
        E: AsyncFn(&Transaction<'_>, &Command) -> Result<Answer, BoxError>,
    {
        while !self.stop.is_requested() {
            while let Some(event) = self.consumer.poll_event(Duration::ZERO) {
                self.follow(event)?;
            }
            let mut any = false;
            for index in 0..self.readers.len() {
                any |= self.handle_batch(index, effect).await?;
            }
            *handled |= any;
            if !any {
                self.stop.waker.wait(IDLE);
            }
        }
        if let Err(error) = self.consumer.close(CALL_TIMEOUT) {
            tracing::warn!(group = self.options.group, %error, "left the group late");
        }
        Ok(())
    }

    fn kafka(&self, cause: ClientError) -> ServiceError {
        ServiceError::Kafka { group: self.options.group.clone(), cause }
    }

    fn follow(&mut self, event: GroupEvent) -> Result<(), ServiceError> {
        match event {
            GroupEvent::Assigned(partitions) => {
                let starts = self.starts(&partitions)?;
                let readers = self.consumer.assign(&starts);
                self.readers = readers.map_err(|cause| self.kafka(cause))?;
            }
            GroupEvent::Revoked { .. } => {
                self.readers.clear();
                self.consumer.unassign().map_err(|cause| self.kafka(cause))?;
            }
            GroupEvent::Failed(cause) => return Err(self.kafka(cause)),
        }
        Ok(())
    }

    /// Where the group stands; at the beginning where it never was.
    fn starts(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, Offset)>, ServiceError> {
        let failed = |cause| self.kafka(cause);
        let committed = self.consumer.committed(partitions, CALL_TIMEOUT).map_err(failed)?;
        let (known, new): (Vec<_>, Vec<_>) =
            committed.into_iter().partition(|committed| committed.offset.is_some());
        let known = known.into_iter().filter_map(|one| Some((one.partition, one.offset?)));
        let mut starts: Vec<_> = known.collect();
        if !new.is_empty() {
            let new: Vec<_> = new.into_iter().map(|committed| committed.partition).collect();
            let admin = Admin::new(&self.options.kafka).map_err(failed)?;
            let isolation = Isolation::ReadCommitted;
            let found = admin.list_offsets(&new, OffsetSpec::Earliest, isolation, CALL_TIMEOUT);
            starts.extend(found.map_err(failed)?);
        }
        Ok(starts)
    }

    /// Handles what is there of a partition: first the database, then the replies, then the offset.
    async fn handle_batch<E>(&mut self, index: usize, effect: &E) -> Result<bool, ServiceError>
    where
        E: AsyncFn(&Transaction<'_>, &Command) -> Result<Answer, BoxError>,
    {
        let Some(reader) = self.readers.get_mut(index) else { return Ok(false) };
        let partition = reader.topic_partition().clone();
        let (mut batch, mut failure) = (Vec::new(), None);
        reader.read(BATCH, &mut |fetched| match fetched {
            Fetched::Record(record) => batch.push(Incoming {
                offset: record.offset(),
                key: record.key().map(<[u8]>::to_vec),
                value: record.value().map(<[u8]>::to_vec),
            }),
            Fetched::Failed(error) if error.severity != Severity::Retry => failure = Some(error),
            Fetched::EndOfPartition(_) | Fetched::Failed(_) => {}
        });
        if let Some(cause) = failure {
            return Err(self.kafka(cause));
        }
        let Some(last) = batch.last().map(|incoming| incoming.offset) else { return Ok(false) };
        for incoming in batch {
            self.handle(&partition, &incoming, effect).await?;
        }
        self.delivered()?;
        tidemill::failpoint::pass("SG-participant-after-reply");
        let offset = OffsetCommit { partition, offset: last.next(), metadata: String::new() };
        match self.consumer.commit_sync(&[offset], CALL_TIMEOUT) {
            Ok(()) => Ok(true),
            // the partition has moved: who has it now gets the same answers
            Err(error) if error.severity == Severity::Abort => Ok(true),
            Err(cause) => Err(self.kafka(cause)),
        }
    }

    async fn handle<E>(
        &mut self,
        partition: &TopicPartition,
        incoming: &Incoming,
        effect: &E,
    ) -> Result<(), ServiceError>
    where
        E: AsyncFn(&Transaction<'_>, &Command) -> Result<Answer, BoxError>,
    {
        let group = self.options.group.clone();
        let at = format!("record {} of {partition}", incoming.offset);
        let value = incoming.value.as_deref().unwrap_or_default();
        let command: Command = match serde_json::from_slice(value) {
            Ok(command) => command,
            Err(error) => {
                let why = error.to_string();
                let Some(letters) = &self.options.dead_letters else {
                    return Err(ServiceError::Poison { group, at, why });
                };
                tracing::warn!(group, at, why, "a dead letter");
                let letters = letters.clone();
                return self.send(&letters, incoming.key.as_deref(), incoming.value.as_deref());
            }
        };
        let call = async |tx: &Transaction<'_>, command: &Command| effect(tx, command).await;
        let handled = self.participant.handle(&mut self.connection, &command, call).await;
        let failed = |cause| ServiceError::Command { group, at, cause: Box::new(cause) };
        let reply = handled.map_err(failed)?;
        self.reply(&command.reply_to, &reply)
    }

    fn reply(&mut self, to: &str, reply: &Reply) -> Result<(), ServiceError> {
        let value = serde_json::to_vec(reply).map_err(|error| {
            ServiceError::Thread(format!("a reply of step {} is no JSON: {error}", reply.step))
        })?;
        self.send(to, Some(reply.saga_id.as_bytes()), Some(&value))
    }

    fn send(
        &mut self,
        topic: &str,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<(), ServiceError> {
        let handle = self.producer.topic(topic).map_err(|cause| self.kafka(cause))?;
        let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_millis());
        let record = Outgoing {
            topic: handle,
            partition: None,
            key,
            value,
            timestamp: Timestamp(i64::try_from(now).unwrap_or(i64::MAX)),
            headers: &Headers::new(),
            position: None,
        };
        let deadline = Instant::now() + SEND_TIMEOUT;
        loop {
            match self.producer.send(&record) {
                Ok(()) => return Ok(()),
                Err(SendError::QueueFull) if Instant::now() < deadline => {
                    self.producer.poll(Duration::from_millis(10));
                }
                Err(SendError::Failed(cause)) => return Err(self.kafka(cause)),
                Err(error @ (SendError::QueueFull | SendError::TooLarge { .. })) => {
                    return Err(ServiceError::Thread(format!("a record for {topic}: {error}")));
                }
            }
        }
    }

    /// Waits until everything that was sent is in Kafka.
    fn delivered(&mut self) -> Result<(), ServiceError> {
        self.producer.flush(SEND_TIMEOUT).map_err(|cause| self.kafka(cause))?;
        match self.producer.delivery_error() {
            Some(failed) => Err(self.kafka(failed.error)),
            None => Ok(()),
        }
    }
}
