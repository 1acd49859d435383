//! The loop of a relay: from the committed position, batch by batch, each in one transaction.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tidemill::client::Admin;
use tidemill::failpoint;
use uuid::Uuid;

use super::attendant::{Attendant, NoAnswer};
use super::error::chain;
use super::position::{Reader, StoredPosition};
use super::publisher::{Failure, Publisher};
use super::status::{Status, count};
use super::topics::Topics;
use super::{
    Options, RelayError, RelayState, SourceError, SourceRecord, Stop, TransactionalSource,
};

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// So many errors that hardly ever heal, in a row, stop the relay.
const DOUBTFUL_MAX: u32 = 5;

impl From<(&Options, NoAnswer)> for Failure {
    fn from((options, answer): (&Options, NoAnswer)) -> Self {
        let relay = options.relay.clone();
        match answer {
            NoAnswer::Stopped => Self::Stopped,
            NoAnswer::Failed(cause @ SourceError::Unavailable(_)) => {
                Self::Abort(RelayError::Source { relay, cause })
            }
            NoAnswer::Failed(cause) => Self::Halt(RelayError::Source { relay, cause }),
        }
    }
}

/// Everything a running relay owns.
pub(super) struct Relay<S: TransactionalSource> {
    pub(super) options: Arc<Options>,
    pub(super) stop: Stop,
    pub(super) status: Arc<Status>,
    pub(super) admin: Admin,
    pub(super) attendant: Attendant<S>,
    pub(super) publisher: Option<Publisher>,
    /// This run's name in the positions that it commits.
    owner: Uuid,
    /// The newest position that is known to be committed.
    stored: Option<StoredPosition>,
    /// The topics that records went to, with their partitions.
    pub(super) known: BTreeMap<String, u32>,
    /// Errors in a row.
    failures: u32,
    doubtful: u32,
}

impl<S: TransactionalSource> Relay<S> {
    pub(super) fn new(
        options: &Arc<Options>,
        source: S,
        stop: &Stop,
        status: &Arc<Status>,
    ) -> Result<Self, RelayError> {
        Ok(Self {
            options: Arc::clone(options),
            stop: stop.clone(),
            status: Arc::clone(status),
            admin: super::publisher::admin(options)?,
            attendant: Attendant::new(&options.relay, source, stop.clone())?,
            publisher: None,
            owner: Uuid::now_v7(),
            stored: None,
            known: BTreeMap::new(),
            failures: 0,
            doubtful: 0,
        })
    }

    /// Works until it is asked to stop, or an error asks for a human.
    pub(super) fn run(mut self) -> Result<(), RelayError> {
        while !self.stop.is_requested() {
            self.status.enter(RelayState::Opening);
            let Err(failure) = self.session();
            self.end_transaction();
            match failure {
                Failure::Stopped => break,
                Failure::Halt(error) => return Err(error),
                Failure::Abort(error) => self.pause(&error),
                Failure::Rebuild(error) => {
                    self.publisher = None;
                    self.pause(&error);
                }
                Failure::Doubtful(error) => {
                    self.publisher = None;
                    self.doubtful += 1;
                    if self.doubtful >= DOUBTFUL_MAX {
                        return Err(error);
                    }
                    self.pause(&error);
                }
                Failure::Late(error) => {
                    self.publisher = None;
                    let error = self.look_who(error)?;
                    self.pause(&error);
                }
                Failure::Rejected(record, why) => self.reject(*record, why)?,
            }
        }
        Ok(())
    }

    fn pause(&mut self, error: &RelayError) {
        let text = chain(error);
        tracing::warn!(relay = self.options.relay, error = text, "the relay will try again");
        self.status.failed(text);
        self.status.enter(RelayState::Waiting);
        count(&self.status.reopened, 1);
        let longest = (PAUSE_MIN * 2_u32.saturating_pow(self.failures.min(10))).min(PAUSE_MAX);
        self.failures += 1;
        // several relays that failed together do not come back together
        let pause = longest.mul_f64(0.5 + fastrand::f64() / 2.0);
        // what it returns is asked again above
        let _ = self.stop.wait(pause);
    }

    /// After Kafka ended the transaction: stops if another relay committed meanwhile, rather than
    /// take the work back from it.
    fn look_who(&self, error: RelayError) -> Result<RelayError, RelayError> {
        let known = self.stored.as_ref().map_or(0, |stored| stored.number);
        match (self.read_position(), error) {
            (Ok(Some(found)), RelayError::Kafka { cause, .. })
                if found.number > known && found.owner != self.owner =>
            {
                Err(self.options.superseded(cause))
            }
            // the next session reads it again
            (_, error) => Ok(error),
        }
    }

    /// Aborts what is open, so that the records of nobody wait for a timeout.
    fn end_transaction(&mut self) {
        let Some(publisher) = &mut self.publisher else { return };
        if publisher.in_transaction() {
            count(&self.status.aborted, 1);
            if let Err(error) = publisher.abort() {
                tracing::debug!(relay = self.options.relay, %error, "an abort failed");
                self.publisher = None;
            }
        }
    }

    fn reject(&mut self, record: SourceRecord, why: String) -> Result<(), RelayError> {
        let (relay, topic) = (self.options.relay.clone(), record.topic.to_string());
        tracing::error!(relay, topic, why, "a record can't be sent");
        match self.attendant.rejected(record, why.clone()) {
            Ok(()) => {
                count(&self.status.rejected, 1);
                Ok(())
            }
            Err(NoAnswer::Stopped) => Ok(()),
            Err(NoAnswer::Failed(SourceError::Unavailable(cause))) => {
                let cause = SourceError::Unavailable(cause);
                self.pause(&RelayError::Source { relay, cause });
                Ok(())
            }
            Err(NoAnswer::Failed(SourceError::Failed(_))) => {
                Err(RelayError::Rejected { relay, topic, why })
            }
            Err(NoAnswer::Failed(cause)) => Err(RelayError::Source { relay, cause }),
        }
    }

    /// One session: from the committed position until something goes wrong.
    fn session(&mut self) -> Result<std::convert::Infallible, Failure> {
        self.fresh_publisher()?;
        self.topics().prepare()?;
        let stored = self.read_position()?;
        self.known = stored.as_ref().map_or_else(BTreeMap::new, |stored| stored.topics.clone());
        self.topics().check(&self.known)?;
        self.stored = stored;
        let position = match &self.stored {
            Some(stored) => Some(self.parse(stored.position.clone())?),
            None => None,
        };
        failpoint::pass("OB7");
        let first = self.attendant.open(position).map_err(|error| self.source_failure(error))?;
        self.status.opened(self.stored.as_ref());
        tracing::info!(relay = self.options.relay, stored = ?self.stored, "the source is open");
        if let Some(first) = first {
            self.commit(first, 0)?;
        }
        loop {
            self.status.enter(RelayState::Running);
            self.step()?;
            self.failures = 0;
            if self.stop.is_requested() {
                return Err(Failure::Stopped);
            }
        }
    }

    /// Has a producer with an open transaction. After a doubtful end the producer is replaced
    /// first, and then the position must still be ours.
    pub(super) fn ready(&mut self) -> Result<(), Failure> {
        if self.publisher.as_ref().is_none_or(Publisher::must_be_replaced) {
            let before = self.stored.as_ref().map(|stored| stored.number);
            self.fresh_publisher()?;
            let stored = self.read_position()?;
            if stored.as_ref().map(|stored| stored.number) != before {
                let cause = SourceError::Unavailable("another relay committed meanwhile".into());
                let relay = self.options.relay.clone();
                return Err(Failure::Abort(RelayError::Source { relay, cause }));
            }
        }
        match &mut self.publisher {
            Some(publisher) => publisher.begin(),
            None => Err(Failure::Stopped),
        }
    }

    /// Commits what was sent together with the position, which is the last record.
    pub(super) fn commit(&mut self, position: S::Position, records: u64) -> Result<(), Failure> {
        self.ready()?;
        let value = serde_json::to_value(&position).map_err(|error| self.unwritable(&error))?;
        let mut next = StoredPosition::after(self.stored.as_ref(), self.owner, records, value);
        next.topics.clone_from(&self.known);
        let bytes = serde_json::to_vec(&next).map_err(|error| self.unwritable(&error))?;
        let Some(publisher) = &mut self.publisher else { return Err(Failure::Stopped) };
        publisher.send_position(&bytes)?;
        failpoint::pass("OB4");
        publisher.commit()?;
        failpoint::pass("OB5");
        self.status.committed(&next);
        self.stored = Some(next);
        self.doubtful = 0;
        self.attendant.committed(position).map_err(|error| self.source_failure(error))
    }

    fn fresh_publisher(&mut self) -> Result<(), Failure> {
        if self.publisher.as_ref().is_none_or(Publisher::must_be_replaced) {
            // the old one goes first: what it still holds is of no use any more
            self.publisher = None;
            self.publisher = Some(Publisher::new(&self.options, &self.stop)?);
            count(&self.status.producers, 1);
        }
        Ok(())
    }

    /// Reads the committed position; one that is older than what is known is refused.
    fn read_position(&self) -> Result<Option<StoredPosition>, Failure> {
        let reader = Reader {
            relay: &self.options.relay,
            topic: &self.options.positions_topic,
            kafka: &self.options.kafka,
            admin: &self.admin,
            stop: &self.stop,
            patience: self.options.position_timeout,
        };
        let found = reader.read()?;
        let number = |stored: &Option<StoredPosition>| stored.as_ref().map_or(0, |s| s.number);
        let (before, now) = (number(&self.stored), number(&found));
        if now < before {
            return Err(Failure::Halt(RelayError::Position {
                relay: self.options.relay.clone(),
                topic: self.options.positions_topic.clone(),
                problem: format!("it went back: number {before} was committed, {now} is found"),
                remedy: "the topic lost records, or an operator reset it: start the relay again if \
                         that was intended",
            }));
        }
        Ok(found)
    }

    fn parse(&self, position: Value) -> Result<S::Position, Failure> {
        serde_json::from_value(position).map_err(|error| {
            Failure::Halt(RelayError::Position {
                relay: self.options.relay.clone(),
                topic: self.options.positions_topic.clone(),
                problem: format!("it is not one of this kind of source: {error}"),
                remedy: "start the relay with the source that it had, or give it another name",
            })
        })
    }

    fn unwritable(&self, error: &serde_json::Error) -> Failure {
        Failure::Halt(RelayError::Position {
            relay: self.options.relay.clone(),
            topic: self.options.positions_topic.clone(),
            problem: format!("it can't be written as JSON: {error}"),
            remedy: "mend the source's position type",
        })
    }

    fn topics(&self) -> Topics<'_> {
        Topics { admin: &self.admin, options: &self.options, stop: &self.stop }
    }

    pub(super) fn source_failure(&self, error: NoAnswer) -> Failure {
        Failure::from((&*self.options, error))
    }
}
