//! The life of a saga, as a function: what is stored, what comes in and the time give what is
//! stored next and what is sent. No clock, no store, no Kafka.
//!
//! ```text
//!           +--------- refused, or given up --------+
//!           |                                       v
//!  Running: step -> step -> PIVOT -> step    Compensating: undo <- undo
//!                             |        |            |          |
//!                             |        v            |          v
//!                             |    Completed        |      Compensated
//!                             +--> Stuck <----------+  given up where nothing else is left
//! ```

use std::sync::Arc;
use std::time::Duration;

use tidemill::BoxError;

use super::call::Patience;
use super::define::{Definition, Kind, Step};
use super::instance::{Instance, PossiblyDone, VERSION, Waiting};
use super::message::{
    Answer, Command, Direction, Outcome, Reply, Status, Transition, What, command_id,
};
use super::mutation::{Guard, removed};

/// What comes of a turn, in the order in which it is sent.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Effect<D> {
    Command { topic: Arc<str>, key: String, command: Command },
    Transition(Transition),
    Outcome(Outcome<D>),
}

/// One saga while something happens to it.
pub(super) struct Turn<'a, D> {
    pub(super) definition: &'a Definition<D>,
    pub(super) saga_id: &'a str,
    pub(super) reply_to: &'a str,
    /// Milliseconds since the Unix epoch.
    pub(super) now: i64,
    pub(super) saga: Instance<D>,
    pub(super) effects: Vec<Effect<D>>,
}

/// Whether a reply changed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Yes,
    /// It is late, there twice, or not for this saga.
    Ignored,
}

/// What a saga is before its first step.
pub(super) fn fresh<D>(data: D, now: i64) -> Instance<D> {
    Instance {
        version: VERSION,
        status: Status::Running,
        step: String::new(),
        direction: Direction::Forward,
        attempt: 1,
        waiting: Waiting::Nothing,
        due: None,
        key: String::new(),
        possibly_done: Vec::new(),
        transitions: 0,
        failed_step: None,
        reason: None,
        started_at: now,
        data,
    }
}

impl<D: Clone> Turn<'_, D> {
    /// Begins with the first step.
    pub(super) fn start(&mut self) {
        self.definition.metrics.count_started();
        self.enter(0);
    }

    /// Takes a reply, if it is the one that is waited for.
    pub(super) fn reply(&mut self, reply: Reply) -> Taken {
        let saga = &self.saga;
        let stuck = saga.status == Status::Stuck;
        let open = !saga.status.is_end() || (stuck && reply.by_operator);
        let command = self.command_id(&saga.step, saga.direction);
        let awaited = reply.command_id == command && reply.saga_id == self.saga_id;
        if !(open || removed(Guard::EndIsTheEnd)) || !(awaited || removed(Guard::ReplyIsAwaited)) {
            return Taken::Ignored;
        }
        if stuck {
            self.saga.status = match saga.direction {
                Direction::Forward => Status::Running,
                Direction::Compensation => Status::Compensating,
            };
        }
        match (reply.answer, self.saga.direction) {
            (Answer::Done(value), Direction::Forward) => self.done(&value),
            (Answer::Done(_), Direction::Compensation) => self.undone(),
            (Answer::Refused(_), _) if stuck => self.again(),
            (Answer::Refused(reason), _) if self.refusal_is_final() => self.refused(reason),
            (Answer::Refused(reason), _) => {
                let present = reply.attempt == self.saga.attempt;
                let waiting = self.saga.waiting == Waiting::Reply;
                if !(present && waiting || removed(Guard::RefusalOfTheAttempt)) {
                    return Taken::Ignored;
                }
                self.note(What::Refused, Some(reason.clone()));
                self.try_again_or_give_up(format!("refused: {reason}"));
            }
        }
        Taken::Yes
    }

    /// Does what is due. Returns false if the saga is to be forgotten.
    pub(super) fn due(&mut self) -> bool {
        match self.saga.waiting {
            Waiting::Nothing => return false,
            Waiting::Pause => {
                self.saga.attempt = self.saga.attempt.saturating_add(1);
                self.definition.metrics.count_repeated();
                self.send();
            }
            Waiting::Reply => {
                self.definition.metrics.count_timed_out();
                self.note(What::TimedOut, None);
                self.try_again_or_give_up("no reply in time".to_owned());
            }
        }
        true
    }

    fn step(&self) -> Option<&Step<D>> {
        let position = self.definition.position(&self.saga.step)?;
        self.definition.steps.get(position)
    }

    fn refusal_is_final(&self) -> bool {
        let may_fail = self.step().is_some_and(|step| step.kind.may_fail());
        may_fail && self.saga.direction == Direction::Forward
    }

    fn command_id(&self, step: &str, direction: Direction) -> uuid::Uuid {
        command_id(&self.definition.name, self.saga_id, step, direction)
    }

    /// Goes on with the step at this position, or ends.
    fn enter(&mut self, position: usize) {
        let definition = self.definition;
        let Some(step) = definition.steps.get(position) else { return self.end(Status::Completed) };
        let key = step.forward.key.as_ref().map(|key| key(&self.saga.data));
        let key = key.unwrap_or_else(|| self.saga_id.to_owned());
        if matches!(step.kind, Kind::Compensable(_)) {
            let done = PossiblyDone { step: step.name.clone(), key: key.clone() };
            self.saga.possibly_done.push(done);
        }
        self.point_at(step.name.clone(), key, Direction::Forward);
        self.send();
    }

    /// Undoes the last of what may have been done, or ends.
    fn undo_next(&mut self) {
        match self.saga.possibly_done.last().cloned() {
            None => self.end(Status::Compensated),
            Some(PossiblyDone { step, key }) => {
                self.point_at(step, key, Direction::Compensation);
                self.send();
            }
        }
    }

    fn point_at(&mut self, step: String, key: String, direction: Direction) {
        let saga = &mut self.saga;
        (saga.step, saga.key, saga.direction, saga.attempt) = (step, key, direction, 1);
    }

    /// Sends the command that the saga points at.
    fn send(&mut self) {
        match self.command() {
            Ok((topic, timeout, command)) => {
                let key = self.saga.key.clone();
                self.effects.push(Effect::Command { topic, key, command });
                self.wait(Waiting::Reply, timeout);
                self.note(What::Sent, None);
            }
            // nothing of this step was sent, or was by an attempt before
            Err(why) => self.give_up(format!("the command can't be made: {why}")),
        }
    }

    fn command(&self) -> Result<(Arc<str>, Duration, Command), BoxError> {
        let (saga, definition) = (&self.saga, self.definition);
        let gone = || format!("step {} is no longer part of the definition", saga.step);
        let step = self.step().ok_or_else(gone)?;
        let (payload, patience) = match (saga.direction, &step.kind) {
            (Direction::Forward, _) => (&step.forward.payload, &step.forward.patience),
            (Direction::Compensation, Kind::Compensable(undo)) => (&undo.payload, &undo.patience),
            (Direction::Compensation, _) => {
                return Err(format!("step {} has no compensation any more", step.name).into());
            }
        };
        let compensates = (saga.direction == Direction::Compensation)
            .then(|| self.command_id(&saga.step, Direction::Forward));
        let command = Command {
            command_id: self.command_id(&saga.step, saga.direction),
            saga: definition.name.clone(),
            saga_id: self.saga_id.to_owned(),
            step: saga.step.clone(),
            direction: saga.direction,
            attempt: saga.attempt,
            compensates,
            refusal_is_final: self.refusal_is_final(),
            reply_to: self.reply_to.to_owned(),
            payload: payload(&saga.data)?,
        };
        Ok((Arc::clone(&step.forward.topic), patience.timeout, command))
    }

    /// The step is done: on to the next.
    fn done(&mut self, value: &serde_json::Value) {
        let definition = self.definition;
        self.note(What::Done, None);
        let Some(position) = definition.position(&self.saga.step) else {
            let why = format!("step {} is no longer part of the definition", self.saga.step);
            return self.give_up(why);
        };
        let Some(step) = definition.steps.get(position) else { return };
        if matches!(step.kind, Kind::Pivot) {
            self.saga.possibly_done.clear();
        }
        let mut data = self.saga.data.clone();
        if let Some(take) = &step.forward.on_reply {
            match take(&mut data, value) {
                Ok(()) => self.saga.data = data,
                Err(why) => {
                    return self.give_up(format!("the reply can't be taken over: {why}"));
                }
            }
        }
        self.enter(position + 1);
    }

    /// The last step that may have been done is undone.
    fn undone(&mut self) {
        self.note(What::Done, None);
        self.saga.possibly_done.pop();
        self.undo_next();
    }

    /// The participant did nothing and never will.
    fn refused(&mut self, reason: String) {
        self.note(What::Refused, Some(reason.clone()));
        let saga = &mut self.saga;
        if saga.possibly_done.last().is_some_and(|last| last.step == saga.step) {
            saga.possibly_done.pop();
        }
        self.turn_back(format!("refused: {reason}"));
    }

    fn turn_back(&mut self, reason: String) {
        self.saga.failed_step = Some(self.saga.step.clone());
        self.saga.reason = Some(reason);
        self.saga.status = Status::Compensating;
        self.undo_next();
    }

    fn try_again_or_give_up(&mut self, reason: String) {
        let attempt = self.saga.attempt;
        let Some(patience) = self.patience() else { return self.give_up(reason) };
        if patience.is_over_after(attempt) {
            return self.give_up(format!("{reason} ({attempt} attempts)"));
        }
        self.saga.reason = Some(reason);
        self.wait(Waiting::Pause, patience.pause_after(attempt));
    }

    fn patience(&self) -> Option<Patience> {
        let step = self.step()?;
        match (self.saga.direction, &step.kind) {
            (Direction::Forward, _) => Some(step.forward.patience),
            (Direction::Compensation, Kind::Compensable(undo)) => Some(undo.patience),
            (Direction::Compensation, _) => None,
        }
    }

    /// Goes back if there is a way back.
    fn give_up(&mut self, reason: String) {
        let compensable = self.step().is_some_and(|step| {
            let before_pivot = matches!(step.kind, Kind::Compensable(_) | Kind::ReadOnly);
            before_pivot && self.saga.direction == Direction::Forward
        });
        if compensable {
            if removed(Guard::UndoTheUnanswered) {
                self.saga.possibly_done.pop();
            }
            return self.turn_back(reason);
        }
        self.saga.failed_step.get_or_insert_with(|| self.saga.step.clone());
        self.saga.reason = Some(reason);
        self.end(Status::Stuck);
    }

    /// An operator wants it tried again.
    fn again(&mut self) {
        self.saga.attempt = self.saga.attempt.saturating_add(1);
        self.send();
    }

    fn end(&mut self, status: Status) {
        let metrics = &self.definition.metrics;
        match status {
            Status::Completed => metrics.count_completed(),
            Status::Compensated => metrics.count_compensated(),
            Status::Running | Status::Compensating | Status::Stuck => metrics.count_stuck(),
        }
        self.saga.status = status;
        self.wait(Waiting::Nothing, self.definition.remember);
        if status == Status::Stuck {
            // kept until an operator settles it
            self.saga.due = None;
        }
        if status == Status::Completed {
            self.saga.reason = None;
        }
        self.note(What::Ended, self.saga.reason.clone());
        self.effects.push(Effect::Outcome(Outcome {
            saga: self.definition.name.clone(),
            saga_id: self.saga_id.to_owned(),
            status,
            failed_step: self.saga.failed_step.clone(),
            reason: self.saga.reason.clone(),
            data: self.saga.data.clone(),
        }));
    }

    fn wait(&mut self, waiting: Waiting, time: Duration) {
        let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        self.saga.waiting = waiting;
        self.saga.due = Some(self.now.saturating_add(millis));
    }

    fn note(&mut self, what: What, reason: Option<String>) {
        self.saga.transitions += 1;
        self.effects.push(Effect::Transition(Transition {
            saga: self.definition.name.clone(),
            saga_id: self.saga_id.to_owned(),
            number: self.saga.transitions,
            what,
            status: self.saga.status,
            step: self.saga.step.clone(),
            direction: self.saga.direction,
            attempt: self.saga.attempt,
            reason,
        }));
    }
}
