//! Producers, zombies, late requests and restarts in any order, compared with a naive model.
//!
//! The model knows one transactional id and one group. It keeps no log and no journal: what it says
//! of a request follows from the last epoch, from whether a transaction is open, and from the time
//! until which the group's markers are held back.

use kafka_protocol::ResponseError::*;
use proptest::prelude::*;
use tidemill_broker::engine::{Engine, EngineConfig, MarkerTarget, Millis};

use crate::kit::*;
use crate::restart::state;

/// One thing that happens. `back` says which producer asks: 0 is the newest one.
#[derive(Debug, Clone)]
enum Step {
    Init,
    InitAgain { back: usize },
    Add { back: usize, partition: i32 },
    AddOffsets { back: usize },
    Commit { back: usize },
    End { back: usize, committed: bool },
    Hold { time: Millis },
    Pass { time: Millis },
    TimeOut,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let back = prop_oneof![4 => Just(0_usize), 1 => 1..3_usize];
    prop_oneof![
        2 => Just(Step::Init),
        1 => back.clone().prop_map(|back| Step::InitAgain { back }),
        4 => (back.clone(), 0..2).prop_map(|(back, partition)| Step::Add { back, partition }),
        4 => back.clone().prop_map(|back| Step::AddOffsets { back }),
        5 => back.clone().prop_map(|back| Step::Commit { back }),
        5 => (back, any::<bool>()).prop_map(|(back, committed)| Step::End { back, committed }),
        1 => (1..200_i64).prop_map(|time| Step::Hold { time }),
        2 => (1..300_i64).prop_map(|time| Step::Pass { time }),
        1 => Just(Step::TimeOut),
        1 => Just(Step::Restart),
    ]
}

/// How far the transaction is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Nothing,
    Open,
    /// Decided; the group's marker is under way.
    Decided(bool),
    Over(bool),
}

#[derive(Debug)]
struct Model {
    epoch: i16,
    last_epoch: i16,
    phase: Phase,
    has_group: bool,
    /// What a commit would make of the offset, and under which epoch it was asked for.
    pending: Option<(i64, i16)>,
    /// The newest epoch that the group's offsets have seen.
    offsets_epoch: i16,
    committed: i64,
    held_until: Millis,
}

impl Model {
    fn new() -> Self {
        Self {
            epoch: -1,
            last_epoch: -1,
            phase: Phase::Nothing,
            has_group: false,
            pending: None,
            offsets_epoch: -1,
            committed: -1,
            held_until: 0,
        }
    }

    fn decide(&mut self, committed: bool, now: Millis) {
        self.phase = Phase::Decided(committed);
        self.mark(now);
    }

    /// The markers that may be written are.
    fn mark(&mut self, now: Millis) {
        let Phase::Decided(committed) = self.phase else { return };
        if self.has_group {
            if now < self.held_until {
                return;
            }
            self.offsets_epoch = self.epoch;
            if let Some((offset, _)) = self.pending.take().filter(|_| committed) {
                self.committed = offset;
            }
        }
        self.has_group = false;
        self.phase = Phase::Over(committed);
    }

    fn fence(&mut self, now: Millis) {
        self.epoch += 1;
        self.last_epoch = -1;
        self.decide(false, now);
    }

    fn init(&mut self, expected: Option<i16>, now: Millis) -> Result<i16, i16> {
        match self.phase {
            Phase::Decided(_) => return Err(ConcurrentTransactions.code()),
            Phase::Open => {
                self.fence(now);
                return Err(ConcurrentTransactions.code());
            }
            Phase::Nothing | Phase::Over(_) => {}
        }
        match expected {
            Some(expected) if expected != self.epoch && expected == self.last_epoch => {}
            Some(expected) if expected != self.epoch => return Err(ProducerFenced.code()),
            _ => {
                self.last_epoch = expected.map_or(-1, |_| self.epoch);
                self.epoch += 1;
            }
        }
        self.phase = Phase::Nothing;
        Ok(self.epoch)
    }

    fn refuse(&self, epoch: i16) -> Option<i16> {
        match self.phase {
            _ if epoch != self.epoch => Some(ProducerFenced.code()),
            Phase::Decided(_) => Some(ConcurrentTransactions.code()),
            _ => None,
        }
    }

    fn add(&mut self, epoch: i16, group: bool) -> i16 {
        if let Some(error) = self.refuse(epoch) {
            return error;
        }
        self.phase = Phase::Open;
        self.has_group |= group;
        0
    }

    fn commit(&mut self, epoch: i16, offset: i64) -> i16 {
        // the offsets of an open transaction of this epoch are taken without asking who ends it
        if self.pending.is_none_or(|(_, of)| of != epoch) {
            if epoch != self.epoch {
                return InvalidProducerEpoch.code();
            }
            if let Some(error) = self.refuse(epoch) {
                return error;
            }
            if !(self.phase == Phase::Open && self.has_group) {
                return InvalidTxnState.code();
            }
        }
        assert!(epoch >= self.offsets_epoch, "a zombie is refused before");
        self.pending = Some((offset, epoch));
        0
    }

    fn end(&mut self, epoch: i16, committed: bool, now: Millis) -> i16 {
        if let Some(error) = self.refuse(epoch) {
            return error;
        }
        match self.phase {
            Phase::Open => {
                self.decide(committed, now);
                0
            }
            Phase::Over(before) if before == committed => 0,
            _ => InvalidTxnState.code(),
        }
    }
}

/// A broker, the model of it, and the producers that were let in.
struct Pair {
    broker: Broker,
    model: Model,
    producers: Vec<(i64, i16)>,
    next_offset: i64,
}

impl Pair {
    fn producer(&self, back: usize) -> Option<(i64, i16)> {
        self.producers.len().checked_sub(back + 1).map(|index| self.producers[index])
    }

    fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let now = self.broker.now;
        match *step {
            Step::Init => self.init(None)?,
            Step::InitAgain { back } => self.init(self.producer(back))?,
            Step::Add { back, partition } => {
                let Some(producer) = self.producer(back) else { return Ok(()) };
                let expected = self.model.add(producer.1, false);
                prop_assert_eq!(self.broker.add("t", producer, partition), expected);
            }
            Step::AddOffsets { back } => {
                let Some(producer) = self.producer(back) else { return Ok(()) };
                let expected = self.model.add(producer.1, true);
                prop_assert_eq!(self.broker.add_offsets("t", producer), expected);
            }
            Step::Commit { back } => {
                let Some(producer) = self.producer(back) else { return Ok(()) };
                self.next_offset += 1;
                let expected = self.model.commit(producer.1, self.next_offset);
                let error = self.broker.txn_commit("t", producer, self.next_offset);
                prop_assert_eq!(error, expected);
            }
            Step::End { back, committed } => {
                let Some(producer) = self.producer(back) else { return Ok(()) };
                let expected = self.model.end(producer.1, committed, now);
                prop_assert_eq!(self.broker.end("t", producer, committed), expected);
            }
            Step::Hold { time } => {
                self.model.held_until = now + time;
                let target = MarkerTarget::Group("g".to_owned());
                self.broker.engine.hold_markers(target, now + time);
            }
            Step::Pass { time } => {
                self.broker.pass(time);
                self.model.mark(self.broker.now);
            }
            Step::TimeOut => {
                let open = self.model.phase == Phase::Open;
                if open {
                    self.model.fence(now);
                }
                prop_assert_eq!(self.broker.engine.time_out_transaction(now, "t"), open);
                self.broker.pass(0);
            }
            Step::Restart => {
                self.broker.restart();
                self.broker.pass(0);
                self.model.held_until = 0;
                self.model.mark(now);
            }
        }
        let expected = match self.model.pending {
            Some(_) => Err(UnstableOffsetCommit.code()),
            None => Ok(self.model.committed),
        };
        prop_assert_eq!(self.broker.committed(true), expected);
        prop_assert_eq!(self.broker.committed(false), Ok(self.model.committed));
        Ok(())
    }

    fn init(&mut self, known: Option<(i64, i16)>) -> Result<(), TestCaseError> {
        let expected = self.model.init(known.map(|(_, epoch)| epoch), self.broker.now);
        let given = self.broker.init_as("t", known.unwrap_or((-1, -1)));
        prop_assert_eq!(given.map(|(_, epoch)| epoch), expected);
        if let Ok(producer) = given {
            prop_assert!(self.producers.iter().all(|known| known.0 == producer.0));
            if self.producers.last() != Some(&producer) {
                self.producers.push(producer);
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_interleaving_ends_as_the_model_says(steps in prop::collection::vec(step(), 1..60)) {
        let (broker, model) = (Broker::new(), Model::new());
        let mut pair = Pair { broker, model, producers: Vec::new(), next_offset: 0 };
        for step in &steps {
            pair.take(step)?;
        }
        // until the last marker is written, how far that is is not in the journal
        pair.take(&Step::Pass { time: 1_000 })?;
        let engine = &mut pair.broker.engine;
        pair.broker.journal.extend(engine.take_journal());
        let journal = pair.broker.journal.clone();
        let config = EngineConfig::default();
        let replayed = Engine::recover(config.clone(), journal, pair.broker.now).unwrap();
        prop_assert_eq!(state(&replayed), state(&pair.broker.engine));
        let snapshot = pair.broker.engine.snapshot();
        let rewritten = Engine::recover(config, snapshot, pair.broker.now).unwrap();
        prop_assert_eq!(state(&rewritten), state(&pair.broker.engine));
    }
}
