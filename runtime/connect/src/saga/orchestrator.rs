//! The orchestrator as a processor: everything that a turn changes and sends is part of the task's
//! transaction, together with the offset of the record that it was taken for.

use std::sync::Arc;

use tidemill::BoxError;
use tidemill::processor::{Processor, ProcessorContext, Punctuation};
use tidemill::record::{Record, Timestamp};
use tidemill::store::KeyValueStore;

use super::deadline::{Deadline, Deadlines};
use super::define::Definition;
use super::instance::{Instance, VERSION};
use super::message::{Command, Outcome, Reply, Status, Transition};
use super::mutation::{Guard, removed};
use super::turn::{Effect, Taken, Turn, fresh};

/// What comes in, by the saga's id.
#[derive(Debug, Clone)]
pub(super) enum Input<D> {
    Start(D),
    Reply(Reply),
}

/// What goes out. Commands have the key of their participant, all else the saga's id.
#[derive(Debug, Clone)]
pub(super) enum Output<D> {
    Command(Arc<str>, Command),
    Transition(Transition),
    Outcome(Outcome<D>),
    /// `None` when the saga is forgotten.
    State(Option<Instance<D>>),
}

pub(super) struct Orchestrator<D> {
    definition: Arc<Definition<D>>,
    reply_to: Arc<str>,
    names: (String, String),
    opened: Option<(KeyValueStore<String, Instance<D>>, Deadlines)>,
}

type Context<'a, 'b, D> = ProcessorContext<'a, 'b, String, Output<D>>;

impl<D: Clone + 'static> Orchestrator<D> {
    /// `names` are those of the stores: sagas and deadlines.
    pub(super) fn new(
        definition: Arc<Definition<D>>,
        reply_to: Arc<str>,
        names: (String, String),
    ) -> Self {
        Self { definition, reply_to, names, opened: None }
    }

    fn opened(&mut self) -> Result<&mut (KeyValueStore<String, Instance<D>>, Deadlines), BoxError> {
        self.opened.as_mut().ok_or_else(|| "the orchestrator was not initialised".into())
    }

    fn load(&mut self, saga_id: &String) -> Result<Option<Instance<D>>, BoxError> {
        let found = self.opened()?.0.get(saga_id)?;
        if let Some(version) = found.as_ref().map(|saga| saga.version).filter(|v| *v != VERSION) {
            let what = format!("saga {saga_id} is stored in layout {version}, not {VERSION}");
            return Err(what.into());
        }
        Ok(found)
    }

    /// Stores and sends what came of a turn.
    fn finish(
        &mut self,
        context: &mut Context<'_, '_, D>,
        saga_id: &str,
        before: Option<i64>,
        ended: (Option<Instance<D>>, Vec<Effect<D>>),
    ) -> Result<(), BoxError> {
        let (saga, effects) = ended;
        let name = &self.definition.name;
        if let Some(saga) = saga.as_ref().filter(|saga| saga.status == Status::Stuck) {
            let (step, reason) = (&saga.step, saga.reason.as_deref().unwrap_or_default());
            tracing::error!(saga = name, id = saga_id, step, reason, "a saga is stuck");
        }
        let (states, deadlines) = self.opened()?;
        let id = saga_id.to_owned();
        match &saga {
            Some(saga) => states.put(&id, saga.clone())?,
            None => drop(states.delete(&id)?),
        }
        deadlines.replace(saga_id, before, saga.as_ref().and_then(|saga| saga.due))?;
        let now = context.current_system_time();
        for effect in effects {
            let (key, output) = match effect {
                Effect::Command { topic, key, command } => (key, Output::Command(topic, command)),
                Effect::Transition(transition) => (id.clone(), Output::Transition(transition)),
                Effect::Outcome(outcome) => (id.clone(), Output::Outcome(outcome)),
            };
            forward(context, key, output, now)?;
        }
        forward(context, id, Output::State(saga), now)
    }

    fn come_due(
        &mut self,
        context: &mut Context<'_, '_, D>,
        deadline: &Deadline,
    ) -> Result<(), BoxError> {
        let saga = self.load(&deadline.whom)?.filter(|saga| saga.due == Some(deadline.at));
        let Some(saga) = saga else { return self.opened()?.1.forget(deadline) };
        let before = saga.due;
        let (definition, reply_to) = (Arc::clone(&self.definition), Arc::clone(&self.reply_to));
        let mut turn = turn(&definition, &reply_to, &deadline.whom, context, saga);
        let kept = turn.due();
        let ended = (kept.then_some(turn.saga), turn.effects);
        self.finish(context, &deadline.whom, before, ended)
    }
}

fn turn<'a, D: Clone>(
    definition: &'a Definition<D>,
    reply_to: &'a str,
    saga_id: &'a str,
    context: &Context<'_, '_, D>,
    saga: Instance<D>,
) -> Turn<'a, D> {
    let now = context.current_system_time().0;
    Turn { definition, saga_id, reply_to, now, saga, effects: Vec::new() }
}

fn forward<D: Clone>(
    context: &mut Context<'_, '_, D>,
    key: String,
    output: Output<D>,
    now: Timestamp,
) -> Result<(), BoxError> {
    context.forward(Record::new(key, output, now))
}

impl<D: Clone + 'static> Processor<String, Input<D>, String, Output<D>> for Orchestrator<D> {
    fn init(&mut self, context: &mut Context<'_, '_, D>) -> Result<(), BoxError> {
        let states = context.key_value_store(&self.names.0)?;
        self.opened = Some((states, Deadlines::open(context, &self.names.1)?));
        Ok(())
    }

    fn process(
        &mut self,
        context: &mut Context<'_, '_, D>,
        record: Record<String, Input<D>>,
    ) -> Result<(), BoxError> {
        let mut found = self.load(&record.key)?;
        if removed(Guard::SecondRequest) && matches!(record.value, Input::Start(_)) {
            found = None;
        }
        let (definition, reply_to) = (Arc::clone(&self.definition), Arc::clone(&self.reply_to));
        let before = found.as_ref().and_then(|saga| saga.due);
        let (ended, taken) = match (record.value, found) {
            (Input::Start(data), None) => {
                let saga = fresh(data, context.current_system_time().0);
                let mut turn = turn(&definition, &reply_to, &record.key, context, saga);
                turn.start();
                ((Some(turn.saga), turn.effects), Taken::Yes)
            }
            (Input::Reply(reply), Some(saga)) => {
                let mut turn = turn(&definition, &reply_to, &record.key, context, saga);
                let taken = turn.reply(reply);
                ((Some(turn.saga), turn.effects), taken)
            }
            // asked for twice, or long over
            (Input::Start(_), Some(_)) | (Input::Reply(_), None) => {
                ((None, Vec::new()), Taken::Ignored)
            }
        };
        if taken == Taken::Ignored {
            definition.metrics.count_ignored();
            tracing::debug!(saga = definition.name, id = record.key, "ignored a repetition");
            return Ok(());
        }
        self.finish(context, &record.key, before, ended)?;
        self.opened()?.1.arm(context);
        Ok(())
    }

    fn punctuate(
        &mut self,
        context: &mut Context<'_, '_, D>,
        punctuation: Punctuation,
    ) -> Result<(), BoxError> {
        for deadline in self.opened()?.1.due(punctuation)? {
            self.come_due(context, &deadline)?;
        }
        let (_, deadlines) = self.opened()?;
        deadlines.look()?;
        deadlines.arm(context);
        Ok(())
    }
}
