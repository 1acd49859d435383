//! A client: a process of its own that sends and polls in transactions until it is told to stop,
//! is killed, or loses its transactional id.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaError};
use rdkafka::producer::{BaseRecord, Producer as _};
use serde::{Deserialize, Serialize};

use super::history::{ClientNumber, Event, Key, Log, Mode};
use super::reader::Reader;
use super::sender::{Sender, new_sender};

/// A client is given up by itself when a call takes so long; a broker may be restarting.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const MICRO_OPS_MAX: usize = 4;
const ABORT_PROBABILITY: f64 = 0.1;
const POLL_PROBABILITY: f64 = 0.4;
/// The end of a client in good order.
pub(crate) const TOLD_TO: &str = "it was told to";
const SPEC: &str = "TIDEMILL_TEST_WORKLOAD_CLIENT";

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) bootstrap: String,
    pub(crate) topic: String,
    pub(crate) partitions: Key,
    pub(crate) group: String,
    pub(crate) client: ClientNumber,
    pub(crate) transactional_id: String,
    pub(crate) mode: Mode,
    pub(crate) seed: u64,
    pub(crate) log: PathBuf,
    /// The client ends in good order once this file exists.
    pub(crate) stop: PathBuf,
}

impl Spec {
    pub(crate) fn to_variable(&self) -> (&'static str, String) {
        (SPEC, serde_json::to_string(self).unwrap())
    }
}

/// The body of the other process.
#[test]
#[ignore = "a client that the workload runs as a process of its own"]
fn client() {
    let spec = std::env::var(SPEC).expect("only the workload runs this, with a specification");
    let spec: Spec = serde_json::from_str(&spec).unwrap();
    let mut log = Log::create(&spec.log);
    log.write(Event::Start {
        client: spec.client,
        transactional_id: spec.transactional_id.clone(),
        mode: spec.mode,
    });
    let why = match run(&spec, &mut log) {
        Ok(()) => TOLD_TO.to_owned(),
        Err(End(why)) => why,
    };
    log.write(Event::End { why });
    // as a crash: nothing is closed, nobody is told
    std::process::exit(0);
}

/// Why a client gives up; the workload starts another one in its place.
struct End(String);

impl From<KafkaError> for End {
    fn from(error: KafkaError) -> Self {
        Self(error.to_string())
    }
}

/// What a failed call of a transaction means.
enum Failure {
    Abort(String),
    End(End),
}

impl From<KafkaError> for Failure {
    fn from(error: KafkaError) -> Self {
        match &error {
            KafkaError::Transaction(cause) if cause.is_fatal() => Self::End(error.into()),
            _ => Self::Abort(error.to_string()),
        }
    }
}

fn run(spec: &Spec, log: &mut Log) -> Result<(), End> {
    let producer = new_sender(spec)?;
    log.write(Event::Claim);
    patiently(|| producer.init_transactions(CALL_TIMEOUT))?;
    log.write(Event::Ready);
    let reader = Reader::new(spec)?;
    let random = fastrand::Rng::with_seed(spec.seed ^ spec.client.rotate_left(32));
    let mut client = Running { spec, log, producer, reader, random, next_value: spec.client << 32 };
    while !spec.stop.exists() {
        client.transaction()?;
    }
    Ok(())
}

struct Running<'a> {
    spec: &'a Spec,
    log: &'a mut Log,
    producer: Sender,
    reader: Reader,
    random: fastrand::Rng,
    next_value: u64,
}

impl Running<'_> {
    fn transaction(&mut self) -> Result<(), End> {
        self.log.write(Event::Begin);
        self.reader.begin();
        self.producer.begin_transaction()?;
        let attempt = self.micro_ops().and_then(|()| {
            if self.random.f64() < ABORT_PROBABILITY {
                // mostly of records that are in the log, at times of some that are on their way
                if self.random.f64() < 0.8 {
                    self.flush()?;
                }
                return Err(Failure::Abort("chosen by lot".to_owned()));
            }
            self.flush()?;
            self.send_offsets()
        });
        match attempt {
            Ok(()) => self.commit(),
            Err(Failure::Abort(why)) => self.abort(why),
            Err(Failure::End(end)) => Err(end),
        }
    }

    fn micro_ops(&mut self) -> Result<(), Failure> {
        for _ in 0..self.random.usize(1..=MICRO_OPS_MAX) {
            if self.random.f64() < POLL_PROBABILITY {
                if !self.reader.poll(self.log)? {
                    return Err(Failure::Abort("a rebalance".to_owned()));
                }
                continue;
            }
            let (key, value) = (self.random.i32(0..self.spec.partitions), self.next_value);
            self.next_value += 1;
            self.log.write(Event::Send { key, value });
            let text = value.to_string();
            let record = BaseRecord::<(), str, usize>::with_opaque_to(
                &self.spec.topic,
                usize::try_from(value).expect("64 bits"),
            );
            let record = record.partition(key).payload(&text);
            self.producer.send(record).map_err(|(error, _)| Failure::from(error))?;
        }
        Ok(())
    }

    /// Waits until every record has its place in the log.
    fn flush(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + CALL_TIMEOUT;
        while self.producer.in_flight_count() > 0 {
            self.producer.context().wait(Duration::from_millis(1));
            if Instant::now() > deadline {
                return Err(Failure::Abort("records do not arrive".to_owned()));
            }
        }
        let mut outcome = Ok(());
        for (value, report) in self.producer.context().take() {
            match report {
                Ok(offset) => self.log.write(Event::Sent { value, offset }),
                Err(error) => outcome = Err(Failure::Abort(error.to_string())),
            }
        }
        outcome
    }

    fn send_offsets(&mut self) -> Result<(), Failure> {
        let Some(offsets) = self.reader.to_commit()? else { return Ok(()) };
        let sent = self.reader.with_group(|group| {
            let producer = &self.producer;
            patiently(|| producer.send_offsets_to_transaction(&offsets, group, CALL_TIMEOUT))
        });
        sent.map_err(Failure::from)
    }

    fn commit(&mut self) -> Result<(), End> {
        self.log.write(Event::Committing);
        match patiently(|| self.producer.commit_transaction(CALL_TIMEOUT)) {
            Ok(()) => {
                self.log.write(Event::Committed);
                Ok(())
            }
            Err(KafkaError::Transaction(error)) if error.txn_requires_abort() => {
                self.abort(error.to_string())
            }
            // a fence, too, may be the answer to the repetition of a call that was executed
            Err(error) => {
                self.log.write(Event::Unknown);
                Err(error.into())
            }
        }
    }

    fn abort(&mut self, why: String) -> Result<(), End> {
        patiently(|| self.producer.abort_transaction(CALL_TIMEOUT))?;
        // those that were purged
        self.producer.context().take();
        self.log.write(Event::Aborted { why });
        Ok(self.reader.rewind()?)
    }
}

/// Makes the call again for as long as it may be.
fn patiently(mut call: impl FnMut() -> Result<(), KafkaError>) -> Result<(), KafkaError> {
    let deadline = Instant::now() + CALL_TIMEOUT;
    let again = |error: &RDKafkaError| error.is_retriable() && !error.txn_requires_abort();
    loop {
        match call() {
            Err(KafkaError::Transaction(error)) if again(&error) && Instant::now() < deadline => {}
            outcome => return outcome,
        }
    }
}
