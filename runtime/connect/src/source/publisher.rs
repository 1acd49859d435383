//! The relay's side towards Kafka: one transactional producer, and what its errors ask for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill::client::{
    Admin, ClientConfig, ClientError, Outgoing, Producer, SendError, Severity, TopicHandle,
};
use tidemill::record::{Headers, Partition, Timestamp};
use tidemill::topology::partition_for_key;

use super::topics::{Found, Topics, unknown_topic};
use super::{Options, RelayError, SourceRecord, Stop};

const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a full send queue is waited for at a time.
const QUEUE_WAIT: Duration = Duration::from_millis(10);
/// An end of a transaction that takes longer leaves the producer suspect (INV-6).
const SUSPECT_AFTER: Duration = Duration::from_secs(1);
/// A producer that did nothing for so long may have been forgotten by the broker.
const IDLE_MAX: Duration = Duration::from_secs(3600);
/// Kafka's codes for "somebody newer has your transactional id": `PRODUCER_FENCED`,
/// `INVALID_PRODUCER_EPOCH`, and librdkafka's `_FENCED`.
const SUPERSEDED: [i32; 3] = [90, 47, -144];

/// What went wrong, as what has to be done about it.
#[derive(Debug)]
pub(super) enum Failure {
    /// Stop was requested; what is open is to be aborted.
    Stopped,
    /// Abort, and open the source again.
    Abort(RelayError),
    /// Make a new producer, and open the source again.
    Rebuild(RelayError),
    /// The transaction took longer than it may, and Kafka ended it, or another relay took over
    /// meanwhile: look which it was, then as `Rebuild`.
    Late(RelayError),
    /// As `Rebuild`, but it will hardly help: after a few times the relay stops.
    Doubtful(RelayError),
    /// Stop for good.
    Halt(RelayError),
    /// Abort, have the source put this record aside, and open it again.
    Rejected(Box<SourceRecord>, String),
}

impl From<Option<RelayError>> for Failure {
    /// As [`super::position::retrying`] and all that use it report: `None` is a request to stop.
    fn from(error: Option<RelayError>) -> Self {
        match error {
            None => Self::Stopped,
            Some(error) if error.is_retriable() => Self::Rebuild(error),
            Some(error @ RelayError::Kafka { .. }) => Self::Doubtful(error),
            Some(error) => Self::Halt(error),
        }
    }
}

/// A transactional producer with the topics it knows.
pub(super) struct Publisher {
    options: Arc<Options>,
    producer: Producer,
    targets: HashMap<Arc<str>, Target>,
    positions: TopicHandle,
    /// When the open transaction began.
    began: Option<Instant>,
    last_used: Instant,
    /// A request that ends a transaction may still be on its way (INV-6).
    suspect: bool,
}

struct Target {
    handle: TopicHandle,
    found: Found,
}

impl Publisher {
    /// Makes the producer, which ends whatever a predecessor with the same name left open.
    pub(super) fn new(options: &Arc<Options>, stop: &Stop) -> Result<Self, Failure> {
        let failed = |doing: &str, cause| options.kafka_error(doing, cause);
        let mut producer = Producer::new(&producer_config(options))
            .map_err(|cause| Failure::Halt(failed("could not make a producer", cause)))?;
        loop {
            match producer.init_transactions(CALL_TIMEOUT) {
                Ok(()) => break,
                Err(error) if error.severity == Severity::Retry => {
                    tracing::warn!(relay = options.relay, %error, "Kafka does not answer yet");
                    if stop.is_requested() {
                        return Err(Failure::Stopped);
                    }
                }
                Err(error) => {
                    let severity = error.severity;
                    let error = failed("could not initialise transactions", error);
                    return Err(match severity {
                        Severity::Fatal => Failure::Doubtful(error),
                        _ => Failure::Rebuild(error),
                    });
                }
            }
        }
        let positions = producer
            .topic(&options.positions_topic)
            .map_err(|cause| Failure::Halt(failed("could not open its positions topic", cause)))?;
        Ok(Self {
            options: Arc::clone(options),
            producer,
            targets: HashMap::new(),
            positions,
            began: None,
            last_used: Instant::now(),
            suspect: false,
        })
    }

    /// Returns true if the producer must be replaced before the next transaction.
    pub(super) fn must_be_replaced(&self) -> bool {
        self.began.is_none() && (self.suspect || self.last_used.elapsed() >= IDLE_MAX)
    }

    pub(super) fn in_transaction(&self) -> bool {
        self.began.is_some()
    }

    /// Begins a transaction, unless one is open.
    pub(super) fn begin(&mut self) -> Result<(), Failure> {
        if self.began.is_none() {
            assert!(
                !self.suspect,
                "a transaction began behind one that may not have ended (INV-6)"
            );
            let begun = self.producer.begin_transaction();
            begun.map_err(|cause| self.failure("could not begin a transaction", cause))?;
            self.began = Some(Instant::now());
        }
        Ok(())
    }

    /// Returns the partitions of a topic, looked up the first time. `None`: there is
    /// no such topic.
    pub(super) fn resolve(
        &mut self,
        topic: &Arc<str>,
        topics: &Topics<'_>,
    ) -> Result<Option<u32>, Failure> {
        if let Some(target) = self.targets.get(topic) {
            return Ok(Some(target.found.partitions));
        }
        let Some(found) = topics.find(topic)? else { return Ok(None) };
        let handle = self
            .producer
            .topic(topic)
            .map_err(|cause| self.failure(&format!("could not open topic {topic}"), cause))?;
        let partitions = found.partitions;
        self.targets.insert(Arc::clone(topic), Target { handle, found });
        Ok(Some(partitions))
    }

    /// Sends a record of a topic that is resolved.
    pub(super) fn send(&mut self, record: &SourceRecord) -> Result<(), Failure> {
        let rejected = |why| Err(Failure::Rejected(Box::new(record.clone()), why));
        let Some(target) = self.targets.get(&record.topic) else {
            return rejected(unknown_topic(&record.topic));
        };
        let length = |part: &Option<bytes::Bytes>| part.as_ref().map_or(0, bytes::Bytes::len);
        let (bytes, max) = (length(&record.key) + length(&record.value), &target.found);
        if bytes > max.record_bytes_max {
            let (topic, max) = (&record.topic, max.record_bytes_max);
            return rejected(format!(
                "it has {bytes} bytes, topic {topic} takes {max}: raise its max.message.bytes, or \
                 send less"
            ));
        }
        let count = target.found.partitions;
        let partition = match (record.partition, &record.key) {
            (Some(Partition(number)), _) if u32::try_from(number).is_ok_and(|n| n < count) => {
                Some(Partition(number))
            }
            (Some(Partition(number)), _) => {
                return rejected(format!("topic {} has no partition {number}", record.topic));
            }
            (None, Some(key)) => Some(partition_for_key(key, count)),
            (None, None) => None,
        };
        let outgoing = Outgoing {
            topic: target.handle,
            partition,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            timestamp: record.timestamp,
            headers: &record.headers,
            position: None,
        };
        match self.produce(&outgoing) {
            Ok(()) => Ok(()),
            Err(Refused::TooLarge(bytes, max)) => rejected(format!(
                "it has {bytes} bytes, the producer sends {max}: raise message.max.bytes"
            )),
            Err(Refused::Failed(failure)) => Err(*failure),
        }
    }

    /// Sends the position, the last record of each transaction.
    pub(super) fn send_position(&mut self, position: &[u8]) -> Result<(), Failure> {
        let options = Arc::clone(&self.options);
        let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_millis());
        let outgoing = Outgoing {
            topic: self.positions,
            partition: Some(Partition(0)),
            key: Some(options.relay.as_bytes()),
            value: (!position.is_empty()).then_some(position),
            timestamp: Timestamp(i64::try_from(now).unwrap_or(i64::MAX)),
            headers: &Headers::new(),
            position: None,
        };
        match self.produce(&outgoing) {
            Ok(()) => Ok(()),
            Err(Refused::Failed(failure)) => Err(*failure),
            Err(Refused::TooLarge(bytes, max)) => Err(Failure::Halt(RelayError::Position {
                relay: options.relay.clone(),
                topic: options.positions_topic.clone(),
                problem: format!("it has {bytes} bytes, the producer sends {max}"),
                remedy: "raise message.max.bytes here and max.message.bytes of the topic",
            })),
        }
    }

    fn produce(&mut self, record: &Outgoing<'_>) -> Result<(), Refused> {
        let mut deadline = None;
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err(SendError::QueueFull) => {
                    let now = Instant::now();
                    if now >= *deadline.get_or_insert(now + self.options.transaction_timeout) {
                        let doing = "could not send: the queue stayed full, Kafka takes no records";
                        let cause = full();
                        let error = self.options.kafka_error(doing, cause);
                        return Err(Refused::Failed(Box::new(Failure::Abort(error))));
                    }
                    self.producer.poll(QUEUE_WAIT);
                }
                Err(SendError::TooLarge { bytes, max }) => {
                    return Err(Refused::TooLarge(bytes, max));
                }
                Err(SendError::Failed(cause)) => {
                    let failure = self.failure("could not send a record", cause);
                    return Err(Refused::Failed(Box::new(failure)));
                }
            }
        }
    }

    /// Commits. When this returns, the outcome is known, or the producer is to be replaced.
    pub(super) fn commit(&mut self) -> Result<(), Failure> {
        let began = Instant::now();
        let mut doubted = false;
        while let Err(error) = self.producer.commit_transaction(CALL_TIMEOUT) {
            if error.severity != Severity::Retry {
                return Err(self.failure("could not commit", error));
            }
            // only the same call is allowed now: the commit may have taken effect
            doubted = true;
            tracing::warn!(relay = self.options.relay, %error, "a commit is in doubt");
            if began.elapsed() >= 2 * self.options.transaction_timeout {
                self.began = None;
                self.suspect = true;
                let doing = "does not know whether a commit took effect, and will look";
                return Err(Failure::Rebuild(self.options.kafka_error(doing, error)));
            }
        }
        self.ended(began, doubted);
        Ok(())
    }

    /// Aborts what is open. After an error the producer is to be replaced, which aborts too.
    pub(super) fn abort(&mut self) -> Result<(), ClientError> {
        if self.began.is_none() {
            return Ok(());
        }
        let began = Instant::now();
        let mut doubted = false;
        loop {
            match self.producer.abort_transaction(CALL_TIMEOUT) {
                Ok(()) => break,
                Err(error)
                    if error.severity == Severity::Retry
                        && began.elapsed() < 2 * self.options.transaction_timeout =>
                {
                    doubted = true;
                }
                Err(error) => {
                    self.suspect = true;
                    return Err(error);
                }
            }
        }
        self.producer.clear_delivery_error();
        self.ended(began, doubted);
        Ok(())
    }

    fn ended(&mut self, began: Instant, doubted: bool) {
        self.began = None;
        self.last_used = Instant::now();
        self.suspect = doubted || began.elapsed() >= SUSPECT_AFTER || self.producer.troubled();
    }

    /// Turns an error of the producer into what has to be done.
    fn failure(&self, doing: &str, cause: ClientError) -> Failure {
        if let Some(refused) = self.producer.delivery_error()
            && refused.error.severity == Severity::Fatal
        {
            // the broker would refuse it again; which of the records it was is not known here
            let doing = format!("had a record for topic {} refused", refused.topic);
            return Failure::Doubtful(self.options.kafka_error(&doing, refused.error));
        }
        if SUPERSEDED.contains(&cause.code) {
            if self.timed_out() {
                let doing = "took longer over a transaction than transaction_timeout allows";
                return Failure::Late(self.options.kafka_error(doing, cause));
            }
            return Failure::Halt(self.options.superseded(cause));
        }
        let severity = cause.severity;
        let error = self.options.kafka_error(doing, cause);
        match severity {
            Severity::Retry | Severity::Abort => Failure::Abort(error),
            Severity::Fenced => Failure::Rebuild(error),
            Severity::Fatal => Failure::Doubtful(error),
        }
    }

    /// Kafka fences a producer whose transaction took too long just as one that was superseded.
    fn timed_out(&self) -> bool {
        self.began.is_some_and(|began| began.elapsed() >= self.options.transaction_timeout * 4 / 5)
    }
}

enum Refused {
    TooLarge(usize, usize),
    Failed(Box<Failure>),
}

fn full() -> ClientError {
    ClientError {
        operation: "send a record",
        code: -184,
        name: "_QUEUE_FULL".to_owned(),
        message: "the send queue is full".to_owned(),
        severity: Severity::Abort,
        timed_out: false,
    }
}

/// The producer's options: the user's, and above them those that the guarantee rests on.
fn producer_config(options: &Options) -> ClientConfig {
    let mut config = ClientConfig::new();
    // the first request of a transaction is refused while the markers of the last are written
    config.set("retry.backoff.ms", "20");
    // requests are to be large: the end of a transaction sends at once what still waits
    config.set("linger.ms", "25");
    config.set("queue.buffering.max.messages", "100000");
    config.set("queue.buffering.max.kbytes", "65536");
    for (name, value) in options.kafka.iter() {
        config.set(name, value);
    }
    let timeout = options.transaction_timeout.as_millis();
    config.set("transactional.id", &*options.relay);
    config.set("transaction.timeout.ms", timeout.to_string());
    config.set("message.timeout.ms", timeout.to_string());
    config.set("socket.timeout.ms", timeout.min(10_000).to_string());
    config.set("enable.idempotence", "true").set("acks", "all");
    config.set("partitioner", "murmur2_random");
    config.set("delivery.report.only.error", "true");
    config
}

/// The options of everything else that talks to Kafka for the relay.
pub(super) fn admin(options: &Options) -> Result<Admin, RelayError> {
    Admin::new(&options.kafka)
        .map_err(|cause| options.kafka_error("could not make a client of Kafka", cause))
}
