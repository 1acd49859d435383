//! Executing the commit protocol.
//!
//! [`tidemill_core::transaction`] decides; this file makes the calls and reports what came of them.
//! The names passed to the world are the steps of `docs/TRANSACTIONS.md`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidemill_core::record::{Offset, TopicPartition};
use tidemill_core::task::{CommitPlan, encode_commit_metadata};
use tidemill_core::transaction::{Acknowledgements, Command, Input, Severity, State};

use crate::Error;
use crate::client::seam::{Consume, Produce};
use crate::client::{AckedPosition, OffsetCommit, OffsetSpec, PositionSlot};

use super::outbox::ChangelogTarget;
use super::slot::Slot;
use super::status::count;
use super::{Chore, Worker};
use crate::mutation::{self, Guard};
use crate::world::World;

/// A call of the protocol is given so long before it is made again.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// An end of a transaction that takes longer leaves the producer suspect: the client may have sent
/// the request twice, and the second may still be under way (KAFKA-17754).
const SUSPECT_AFTER: Duration = Duration::from_secs(1);

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    /// There was none.
    Nothing,
    /// It is committed and published.
    Committed,
    /// It is aborted: the tasks must be rolled back.
    RolledBack,
    /// Nobody knows, or the producer is dead: producer and tasks must be built anew.
    Fenced,
}

impl<W: World> Worker<W> {
    /// Opens a transaction unless one is open: tasks are about to work.
    pub(super) fn begin_work(&mut self) -> Result<(), Error> {
        let state = self.transaction.state();
        assert!(self.transaction.may_work(), "INV-6: tasks were to work while {state:?}");
        match self.transaction.step(Input::Work) {
            Command::Begin if self.shared.config.exactly_once() => {
                self.shared.world.pass("S8");
                self.outbox
                    .producer
                    .begin_transaction()
                    .map_err(|cause| Error::client("could not begin a transaction", cause))
            }
            _ => Ok(()),
        }
    }

    /// Commits if any task needs it.
    pub(super) fn commit_if_needed(&mut self) -> Result<Settled, Error> {
        let needed = self.running().any(|(_, running)| running.task.commit_needed());
        if !needed {
            return Ok(Settled::Nothing);
        }
        self.begin_work()?;
        let settled = self.drive(Input::CommitDue);
        // the interval is time for work, as in Kafka Streams: the commit's own time comes on top
        self.last_commit = self.shared.world.monotonic();
        settled
    }

    /// Aborts: a task failed in the middle of its work.
    pub(super) fn abort(&mut self) -> Result<Settled, Error> {
        match self.transaction.state() {
            State::Idle | State::Suspect => Ok(Settled::RolledBack),
            State::Fenced => Ok(Settled::Fenced),
            _ => self.drive(Input::Failed(Severity::Abort)),
        }
    }

    /// Aborts: the partitions are somebody else's now.
    pub(super) fn lose(&mut self) -> Result<Settled, Error> {
        match self.transaction.state() {
            State::Open => self.drive(Input::Lost),
            _ => Ok(Settled::Nothing),
        }
    }

    /// Feeds an input to the protocol and executes its commands until the transaction is settled.
    fn drive(&mut self, input: Input) -> Result<Settled, Error> {
        let mut plans = Vec::new();
        let mut command = self.transaction.step(input);
        let began = self.shared.world.monotonic();
        let deadline = began + 2 * self.shared.config.transaction_timeout;
        loop {
            let after = self.shared.world.monotonic() - began;
            tracing::debug!(worker = self.identity.worker, ?after, ?command);
            let outcome = match command {
                Command::Flush => self.flush_tasks(&mut plans),
                Command::SendOffsets => self.send_offsets(&plans),
                Command::Commit => self.end(&plans),
                Command::Abort => self.end_by_abort(),
                Command::Publish(proof) => {
                    self.publish(plans, &proof)?;
                    count(&self.status.commits, 1);
                    return Ok(Settled::Committed);
                }
                Command::RollBack => {
                    count(&self.status.aborts, 1);
                    return Ok(Settled::RolledBack);
                }
                Command::Rebuild => return Ok(Settled::Fenced),
                Command::Begin | Command::Nothing => return Ok(Settled::Nothing),
            };
            let (outcome, error) = match outcome {
                Ok(input) => (input, None),
                Err(error) => (self.input_of(&error, deadline), Some(error)),
            };
            if let Some(error) = error {
                let error = self.refused_record().unwrap_or(error);
                tracing::warn!(
                    worker = self.identity.worker, state = ?self.transaction.state(), %error,
                    "the transaction is in trouble"
                );
                if error.severity() == Severity::Fatal {
                    return self.fail(error);
                }
            }
            command = self.transaction.step(outcome);
        }
    }

    /// Turns the error of a call into an input of the protocol.
    fn input_of(&self, error: &Error, deadline: Instant) -> Input {
        match error.severity() {
            Severity::Retry if self.shared.world.monotonic() >= deadline => Input::Deadline,
            severity => Input::Failed(severity),
        }
    }

    /// Ends the transaction as well as possible because of an error that nothing mends.
    fn fail(&mut self, error: Error) -> Result<Settled, Error> {
        let sound = match self.transaction.state() {
            // a handler said fail
            State::Flushing if matches!(error, Error::Task(_)) => true,
            // the broker wants none of it
            State::Flushing | State::SendingOffsets | State::Committing => {
                self.refused_record().is_some()
            }
            _ => false,
        };
        if sound {
            self.drive(Input::Failed(Severity::Abort))?;
        } else {
            self.transaction.step(Input::Failed(Severity::Fatal));
        }
        Err(error)
    }

    /// The transaction fails because the broker refused a record and would refuse it again: what a
    /// rollback does not mend. The client itself only knows that the transaction must be aborted.
    pub(super) fn refused_record(&self) -> Option<Error> {
        let failure = self.outbox.producer.delivery_error()?;
        (failure.error.severity == Severity::Fatal).then(|| {
            let (topic, partition) = (failure.topic, failure.partition);
            let doing = format!(
                "the broker refused a record for {topic}-{partition} (if it is too large, raise \
                 max.message.bytes of the topic)"
            );
            Error::client(doing, failure.error)
        })
    }

    /// Has every touched task forward and log what it holds back.
    fn flush_tasks(&mut self, plans: &mut Vec<CommitPlan>) -> Result<Input, Error> {
        assert!(plans.is_empty(), "INV-1: a task is flushed once in a transaction");
        self.shared.world.pass("S1");
        let shared = std::sync::Arc::clone(&self.shared);
        let now = shared.world.wall_clock();
        for slot in self.slots.values_mut() {
            let Slot::Running(running) = slot else { continue };
            if !running.task.commit_needed() {
                continue;
            }
            let changelogs = &running.changelogs;
            let mut collector = self.outbox.of_task(&shared, changelogs);
            plans.push(running.task.prepare_commit(&mut collector, now)?);
        }
        self.shared.world.pass("S2");
        Ok(Input::Done)
    }

    /// Sends the next offset of every input of every touched task (INV-7).
    fn send_offsets(&mut self, plans: &[CommitPlan]) -> Result<Input, Error> {
        assert!(!plans.is_empty(), "INV-7: a transaction without an offset is not fenced");
        if !self.shared.config.exactly_once() {
            let flushed = self.outbox.producer.flush(CALL_TIMEOUT);
            flushed.map_err(|cause| Error::client("could not deliver the outputs", cause))?;
            return match self.outbox.producer.delivery_error() {
                Some(failure) => Err(Error::client(failure.to_string(), failure.error)),
                None => Ok(Input::Done),
            };
        }
        let group = self.group.as_ref().expect("INV-7: tasks run under a membership");
        let offsets = offsets(plans);
        // the one call that may never return (LRK#5456)
        self.status.enter("send_offsets", self.shared.world.monotonic());
        let sent = self.outbox.producer.send_offsets(&offsets, group, CALL_TIMEOUT);
        self.status.leave();
        sent.map_err(|cause| Error::client("could not send the offsets", cause))?;
        self.shared.world.pass("S3");
        Ok(Input::Done)
    }

    /// Ends the transaction by a commit.
    fn end(&mut self, plans: &[CommitPlan]) -> Result<Input, Error> {
        let began = self.shared.world.monotonic();
        let in_doubt = self.transaction.state() == State::InDoubt;
        if !self.shared.config.exactly_once() {
            let committed = self.consumer.commit_sync(&offsets(plans), CALL_TIMEOUT);
            committed.map_err(|cause| Error::client("could not commit the offsets", cause))?;
            return Ok(Input::Done);
        }
        self.shared.world.pass("S4");
        self.outbox
            .producer
            .commit_transaction(CALL_TIMEOUT)
            .map_err(|cause| Error::client("could not commit the transaction", cause))?;
        self.shared.world.pass("S5");
        Ok(self.how_clean(began, in_doubt))
    }

    /// Ends the transaction by an abort.
    fn end_by_abort(&mut self) -> Result<Input, Error> {
        if !self.shared.config.exactly_once() {
            // what was sent stays sent: at least once. It must not be taken for the next attempt's
            let flushed = self.outbox.producer.flush(CALL_TIMEOUT);
            flushed.map_err(|cause| Error::client("could not wait for the outputs", cause))?;
            self.outbox.producer.clear_delivery_error();
            self.outbox.producer.reset_positions();
            return Ok(Input::Done);
        }
        let began = self.shared.world.monotonic();
        self.shared.world.pass("X1");
        self.outbox
            .producer
            .abort_transaction(CALL_TIMEOUT)
            .map_err(|cause| Error::client("could not abort the transaction", cause))?;
        self.outbox.producer.clear_delivery_error();
        self.outbox.producer.reset_positions();
        Ok(self.how_clean(began, false))
    }

    fn how_clean(&mut self, began: Instant, doubted: bool) -> Input {
        let troubled = self.outbox.producer.troubled();
        if mutation::removed(Guard::ReplaceProducer) {
            return Input::Done;
        }
        if doubted || troubled || self.shared.world.monotonic() - began >= SUSPECT_AFTER {
            return Input::DoneSuspect;
        }
        Input::Done
    }

    /// Writes what every touched task staged, now that it is committed (INV-2, INV-3).
    fn publish(&mut self, plans: Vec<CommitPlan>, proof: &Acknowledgements) -> Result<(), Error> {
        let written = self.changelog_positions()?;
        #[cfg(feature = "mutations")]
        self.mutant.keep(proof);
        self.shared.world.pass("S6");
        let mut purge = Vec::new();
        for plan in plans {
            let slot = self.slots.get_mut(&plan.task_id);
            let Some(Slot::Running(running)) = slot else {
                panic!("INV-1: task {} left in the middle of a commit", plan.task_id);
            };
            let sub = self.shared.plan.sub(plan.task_id);
            purge.extend(sub.purgeable(&plan));
            let stores = sub.sub_topology.stores.iter().zip(&running.changelogs);
            let changelogs: BTreeMap<String, Offset> = stores
                .filter_map(|(store, target)| {
                    let next = written.get(&(*target)?)?;
                    Some((store.name.clone(), *next))
                })
                .collect();
            running.task.complete_commit(plan, changelogs, proof.for_task())?;
        }
        self.shared.world.pass("S7");
        self.outbox.producer.reset_positions();
        self.purge(purge);
        Ok(())
    }

    /// Returns the next offset of each changelog that this transaction wrote: from the delivery
    /// reports, or from the end of the partition where those can't be believed.
    fn changelog_positions(&mut self) -> Result<BTreeMap<ChangelogTarget, Offset>, Error> {
        let acked: BTreeMap<PositionSlot, AckedPosition> =
            self.outbox.producer.positions().into_iter().collect();
        let mut positions = BTreeMap::new();
        let mut doubtful: Vec<(ChangelogTarget, TopicPartition)> = Vec::new();
        for target in self.outbox.targets() {
            match acked.get(&self.outbox.slot(target)) {
                None => {}
                Some(AckedPosition { next: Some(next), suspicious: false }) => {
                    positions.insert(target, *next);
                }
                Some(_) => doubtful.push((target, self.outbox.partition(target).clone())),
            }
        }
        if !doubtful.is_empty() {
            let partitions: Vec<TopicPartition> =
                doubtful.iter().map(|(_, partition)| partition.clone()).collect();
            let ends = self.log_ends(&partitions, OffsetSpec::Latest)?;
            for (target, partition) in doubtful {
                positions.extend(ends.get(&partition).map(|end| (target, *end)));
            }
        }
        Ok(positions)
    }

    /// Has the records of repartition topics deleted that are committed as read, now and then.
    fn purge(&mut self, committed: Vec<(TopicPartition, Offset)>) {
        let due = self.shared.world.monotonic() - self.last_purge
            >= self.shared.config.repartition_purge_interval;
        if due && !committed.is_empty() {
            self.last_purge = self.shared.world.monotonic();
            self.shared.chores.send(Chore::Purge(committed));
        }
    }

    /// After a transaction that left the producer dead or suspect: makes a new one.
    pub(super) fn recover_producer(&mut self, settled: Settled) -> Result<(), Error> {
        if settled == Settled::Fenced || self.transaction.state() == State::Suspect {
            tracing::warn!(worker = self.identity.worker, ?settled, "replacing the producer");
            count(&self.status.rebuilds, 1);
            self.outbox.replace_producer(&self.shared.world, &self.shared.config)?;
            self.transaction.step(Input::Rebuilt);
        }
        Ok(())
    }

    /// Does what the end of a transaction asks for.
    pub(super) fn settle(&mut self, settled: Settled) -> Result<(), Error> {
        self.recover_producer(settled)?;
        match settled {
            Settled::Nothing | Settled::Committed => Ok(()),
            Settled::RolledBack | Settled::Fenced => {
                #[cfg(feature = "mutations")]
                self.mutate_rollback();
                self.close_tasks();
                self.shared.world.pass("X2");
                self.must_reopen = true;
                Ok(())
            }
        }
    }
}

/// The offsets of a transaction, each with its partition time and the task's commit number.
fn offsets(plans: &[CommitPlan]) -> Vec<OffsetCommit> {
    let of_plan = |plan: &CommitPlan| -> Vec<OffsetCommit> {
        plan.inputs
            .iter()
            .map(|(partition, position)| OffsetCommit {
                partition: partition.clone(),
                offset: position.offset,
                metadata: encode_commit_metadata(&plan.metadata(position)),
            })
            .collect()
    };
    plans.iter().flat_map(of_plan).collect()
}
