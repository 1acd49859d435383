//! The operator that decides.

use std::marker::PhantomData;
use std::sync::Arc;

use tidemill::BoxError;
use tidemill::processor::{FixedKeyProcessor, FixedKeyProcessorContext, FixedKeyRecord};
use tidemill::record::Headers;
use tidemill::store::KeyValueStore;

use super::answers::{Answer, Answers};
use super::options::EventSourced;
use super::stored::StoredStream;
use crate::event_sourcing::event::{HEADER_ID, HEADER_REVISION, HEADER_TYPE, event_id};
use crate::event_sourcing::{
    Command, Decider, EventEnvelope, Fingerprint, Outcome, Recorded, Reply, Stream,
};

/// What comes out: events first, then the answer.
#[derive(Debug, Clone)]
pub(super) enum Output<E, R> {
    Event(Arc<EventEnvelope>),
    Reply(Arc<Reply<E, R>>),
}

impl<E, R> Output<E, R> {
    pub(super) fn into_event(self) -> Option<EventEnvelope> {
        match self {
            Self::Event(event) => Some(Arc::unwrap_or_clone(event)),
            Self::Reply(_) => None,
        }
    }
}

impl<E: Clone, R: Clone> Output<E, R> {
    pub(super) fn into_reply(self) -> Option<Reply<E, R>> {
        match self {
            Self::Event(_) => None,
            Self::Reply(reply) => Some(Arc::unwrap_or_clone(reply)),
        }
    }
}

type OutputOf<D> = Output<<D as Decider>::Event, <D as Decider>::Rejection>;
type OutcomeOf<D> = Outcome<<D as Decider>::Event, <D as Decider>::Rejection>;

/// One task's decider, with its streams.
pub(super) struct Deciding<D: Decider> {
    rules: Arc<EventSourced>,
    opened: Option<Opened<D::State>>,
    decider: PhantomData<fn() -> D>,
}

struct Opened<S> {
    streams: KeyValueStore<String, StoredStream<S>>,
    answers: Answers,
}

/// What a command came to.
struct Decided<D: Decider> {
    events: Vec<EventEnvelope>,
    repeated: bool,
    outcome: OutcomeOf<D>,
}

impl<D: Decider> Decided<D> {
    /// Nothing happens.
    fn nothing(repeated: bool, outcome: OutcomeOf<D>) -> Self {
        Self { events: Vec::new(), repeated, outcome }
    }
}

impl<D: Decider> Deciding<D> {
    pub(super) fn new(rules: Arc<EventSourced>) -> Self {
        Self { rules, opened: None, decider: PhantomData }
    }

    fn turn(&self, stream: &str, command: &Command<D::Command>) -> Result<Decided<D>, BoxError> {
        let Opened { streams, answers } =
            self.opened.as_ref().expect("a processor is initialised first");
        let named = (command.id, Fingerprint::of(&command.command)?);
        if let Some(outcome) = answers.find(stream, named, &self.rules.upcasters)? {
            let repeated = outcome != Outcome::IdTaken;
            return Ok(Decided::nothing(repeated, outcome));
        }
        let key = stream.to_owned();
        let mut stored =
            streams.get(&key)?.unwrap_or_else(|| StoredStream::of::<D>(Stream::new::<D>()));
        stored.check::<D>(&self.rules.store)?;
        let actual = stored.version;
        if !command.expected.accepts(actual) {
            let expected = command.expected;
            return Ok(Decided::nothing(false, Outcome::Conflict { expected, actual }));
        }
        let (answer, decided) = match D::decide(&command.command, &stored.state) {
            Ok(events) => self.happen(stream, command, &mut stored, events)?,
            Err(rejection) => {
                let remembered = serde_json::to_value(&rejection)?;
                let answer = Answer::Rejected { rejection: remembered, version: actual };
                let outcome = Outcome::Rejected { rejection, version: actual };
                (answer, Decided::nothing(false, outcome))
            }
        };
        answers.remember(stream, &mut stored, named, answer)?;
        streams.put(&key, stored)?;
        Ok(decided)
    }

    /// Folds the events of a decision and wraps them.
    fn happen(
        &self,
        stream: &str,
        command: &Command<D::Command>,
        stored: &mut StoredStream<D::State>,
        events: Vec<D::Event>,
    ) -> Result<(Answer, Decided<D>), BoxError> {
        let mut folded = Stream { version: stored.version, state: stored.state.clone() };
        let (mut envelopes, mut recorded) = (Vec::new(), Vec::new());
        for (index, event) in events.into_iter().enumerate() {
            folded = folded.evolve::<D>(&event);
            let event_id = event_id(command.id, stream, index);
            let one = Recorded { version: folded.version, event_id, event };
            envelopes.push(EventEnvelope::of(&one, command.id)?);
            recorded.push(one);
        }
        let Stream { version, state } = folded;
        (stored.version, stored.state) = (version, state);
        let answer = Answer::Accepted { events: envelopes.clone(), version };
        let outcome = Outcome::Accepted { events: recorded, version };
        Ok((answer, Decided { events: envelopes, repeated: false, outcome }))
    }
}

impl<D: Decider> FixedKeyProcessor<String, Command<D::Command>, OutputOf<D>> for Deciding<D> {
    fn init(
        &mut self,
        context: &mut FixedKeyProcessorContext<'_, '_, '_, String, OutputOf<D>>,
    ) -> Result<(), BoxError> {
        let streams = context.key_value_store(&self.rules.store)?;
        let store = context.key_value_store(&self.rules.answers())?;
        let answers = Answers { store, remembered: self.rules.remembered };
        self.opened = Some(Opened { streams, answers });
        Ok(())
    }

    fn process(
        &mut self,
        context: &mut FixedKeyProcessorContext<'_, '_, '_, String, OutputOf<D>>,
        record: FixedKeyRecord<String, Command<D::Command>>,
    ) -> Result<(), BoxError> {
        let Decided { events, repeated, outcome } = self.turn(record.key(), record.value())?;
        let command_id = record.value().id;
        let record = record.with_value(());
        for event in events {
            let headers = headers(record.headers(), &event);
            let event = Output::Event(Arc::new(event));
            context.forward(record.clone().with_headers(headers).with_value(event))?;
        }
        let reply = Reply { command_id, repeated, outcome };
        context.forward(record.with_value(Output::Reply(Arc::new(reply))))
    }
}

/// The command's headers, and those that every event has.
fn headers(command: &Headers, event: &EventEnvelope) -> Headers {
    let mut headers = command.clone();
    for (name, value) in [
        (HEADER_ID, event.event_id.to_string()),
        (HEADER_TYPE, event.event_type.clone()),
        (HEADER_REVISION, event.version.to_string()),
    ] {
        headers.remove(name);
        headers.add(name, Some(value.into_bytes()));
    }
    headers
}
