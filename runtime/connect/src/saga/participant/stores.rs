//! A participant as a processor: answers and effects in stores, one Kafka transaction.

use std::sync::Arc;
use std::time::Duration;

use tidemill::BoxError;
use tidemill::processor::{Processor, ProcessorContext, Punctuation};
use tidemill::record::Record;
use tidemill::store::KeyValueStore;

use super::Participant;
use super::memory::{Plan, Remembered, is_remembered, plan};
use crate::saga::deadline::Deadlines;
use crate::saga::message::{Answer, Command, Reply};
use crate::saga::mutation::{Guard, removed};

pub(super) struct Handler<P> {
    participant: P,
    /// Of the answers, and of when they are forgotten.
    names: (String, String),
    reply_to: Arc<str>,
    remember: Duration,
    opened: Option<Opened>,
}

struct Opened {
    answers: KeyValueStore<String, Remembered>,
    forgetting: Deadlines,
}

type Context<'a, 'b> = ProcessorContext<'a, 'b, String, Reply>;

impl<P: Participant> Handler<P> {
    pub(super) fn new(
        participant: P,
        names: (String, String),
        reply_to: Arc<str>,
        remember: Duration,
    ) -> Self {
        Self { participant, names, reply_to, remember, opened: None }
    }

    fn opened(&mut self) -> Result<&mut Opened, BoxError> {
        self.opened.as_mut().ok_or_else(|| "the participant was not initialised".into())
    }

    fn recall(&mut self, id: &String) -> Result<Option<Option<Answer>>, BoxError> {
        Ok(self.opened()?.answers.get(id)?.map(|found| found.answer))
    }

    fn remember(
        &mut self,
        context: &Context<'_, '_>,
        id: &String,
        answer: Option<Answer>,
    ) -> Result<(), BoxError> {
        let time = i64::try_from(self.remember.as_millis()).unwrap_or(i64::MAX);
        let until = context.current_system_time().0.saturating_add(time);
        let opened = self.opened()?;
        let before = opened.answers.get(id)?.map(|found| found.until);
        opened.answers.put(id, Remembered { answer, until })?;
        opened.forgetting.replace(id, before, Some(until))
    }

    fn answer(
        &mut self,
        context: &mut Context<'_, '_>,
        command: &Command,
    ) -> Result<Answer, BoxError> {
        let id = command.command_id.to_string();
        let undone = command.compensates.map(|id| id.to_string());
        let before = match &undone {
            Some(undone) => self.recall(undone)?,
            None => None,
        };
        let answer = match plan(command.direction, self.recall(&id)?, before) {
            Plan::Repeat(answer) => return Ok(answer),
            Plan::Bury => Answer::done(),
            Plan::Do => self.participant.handle(context, command)?,
        };
        if is_remembered(command, &answer) {
            self.remember(context, &id, Some(answer.clone()))?;
            if let Some(undone) = undone.filter(|_| !removed(Guard::MarkOfCompensation)) {
                self.remember(context, &undone, None)?;
            }
        }
        Ok(answer)
    }
}

impl<P: Participant> Processor<String, Command, String, Reply> for Handler<P> {
    fn init(&mut self, context: &mut Context<'_, '_>) -> Result<(), BoxError> {
        let answers = context.key_value_store(&self.names.0)?;
        let forgetting = Deadlines::open(context, &self.names.1)?;
        self.opened = Some(Opened { answers, forgetting });
        self.participant.init(context)
    }

    fn process(
        &mut self,
        context: &mut Context<'_, '_>,
        record: Record<String, Command>,
    ) -> Result<(), BoxError> {
        let command = record.value;
        if *command.reply_to != *self.reply_to {
            let (step, id, to) = (&command.step, &command.saga_id, &command.reply_to);
            let here = &self.reply_to;
            let what = format!(
                "step {step} of saga {id} wants its reply in topic {to}, but this participant \
                 replies to {here}"
            );
            return Err(what.into());
        }
        let answer = self.answer(context, &command)?;
        let now = context.current_system_time();
        context.forward(Record::new(command.saga_id.clone(), command.reply(answer), now))?;
        self.opened()?.forgetting.arm(context);
        Ok(())
    }

    fn punctuate(
        &mut self,
        context: &mut Context<'_, '_>,
        punctuation: Punctuation,
    ) -> Result<(), BoxError> {
        let Opened { answers, forgetting } = self.opened()?;
        for deadline in forgetting.due(punctuation)? {
            forgetting.forget(&deadline)?;
            if answers.get(&deadline.whom)?.is_some_and(|found| found.until == deadline.at) {
                answers.delete(&deadline.whom)?;
            }
        }
        forgetting.look()?;
        forgetting.arm(context);
        Ok(())
    }
}
