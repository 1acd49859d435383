//! Participants: they do what a command says once, and undo it once, whatever is repeated or late.
//!
//! | what comes | what was there before | what happens |
//! |---|---|---|
//! | command | nothing | it is done, or refused; the answer is remembered with the effect |
//! | command | an answer | the same answer again |
//! | command | its compensation | refused: it comes too late (*hanging*) |
//! | compensation | the command was done | it is undone; the answer is remembered |
//! | compensation | nothing, or a refusal | nothing to undo, which succeeds (*empty rollback*) |
//! | compensation | an answer | the same answer again |
//!
//! A refusal of what has to be done in the end, a compensation or a step after the pivot, is not
//! remembered: the command comes again.

mod memory;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
mod service;
#[cfg(feature = "postgres")]
mod session;
mod stores;

use std::sync::Arc;
use std::time::Duration;

use tidemill::BoxError;
use tidemill::dsl::{KStream, StreamsBuilder};
use tidemill::processor::ProcessorContext;
use tidemill::serdes::{json, string};
use tidemill::topology::{Consumed, Produced, key_value_store};

use super::deadline;
use super::message::{Answer, Command, Reply};
use memory::Remembered;
#[cfg(feature = "postgres")]
pub use postgres::{ParticipantError, PgParticipant};
#[cfg(feature = "postgres")]
pub use service::{ParticipantService, ServiceError, ServiceOptions};
use stores::Handler;

/// A participant that keeps its state in stores, so that command, effect and reply are one Kafka
/// transaction.
pub trait Participant: 'static {
    /// Called once, before the first command: the place to take store handles.
    ///
    /// # Errors
    /// Whatever stops the task from being built.
    fn init(
        &mut self,
        _context: &mut ProcessorContext<'_, '_, String, Reply>,
    ) -> Result<(), BoxError> {
        Ok(())
    }

    /// Does what the command says, and tells what came of it. Called once for each command that is
    /// to be done or undone. Whoever refuses must not have written anything.
    ///
    /// # Errors
    /// What an answer would be wrong for: the processing handler decides about the command.
    fn handle(
        &mut self,
        context: &mut ProcessorContext<'_, '_, String, Reply>,
        command: &Command,
    ) -> Result<Answer, BoxError>;
}

/// How a participant is put into a topology.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParticipantOptions {
    name: String,
    commands: String,
    replies: String,
    stores: Vec<String>,
    remember: Duration,
}

impl ParticipantOptions {
    /// A participant of this name reads commands from one topic and writes replies to another.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        commands: impl Into<String>,
        replies: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            commands: commands.into(),
            replies: replies.into(),
            stores: Vec::new(),
            remember: Duration::from_hours(7 * 24),
        }
    }

    /// Connects it to a store that was added to the builder.
    #[must_use]
    pub fn store(mut self, name: impl Into<String>) -> Self {
        self.stores.push(name.into());
        self
    }

    /// Sets how long answers are remembered. Default: 7 days. Take more than the retention of the
    /// commands' topic: a command that comes after that is taken for a new one.
    #[must_use]
    pub fn remember(mut self, time: Duration) -> Self {
        self.remember = time;
        self
    }
}

/// Puts participants into topologies.
pub trait ServeSagas {
    /// Adds a participant; `supplier` is called once for each task. Returns its replies, which are
    /// written to their topic already. Its stores are `<name>-answers` and `<name>-forgetting`.
    fn participant<P: Participant>(
        &self,
        options: &ParticipantOptions,
        supplier: impl Fn() -> P + Send + Sync + 'static,
    ) -> KStream<String, Reply>;
}

impl ServeSagas for StreamsBuilder {
    fn participant<P: Participant>(
        &self,
        options: &ParticipantOptions,
        supplier: impl Fn() -> P + Send + Sync + 'static,
    ) -> KStream<String, Reply> {
        let ParticipantOptions { name, commands, replies, stores, remember } = options.clone();
        let names = (format!("{name}-answers"), format!("{name}-forgetting"));
        self.add_state_store(key_value_store(&*names.0, string(), json::<Remembered>()));
        self.add_state_store(deadline::store(names.1.clone()));
        let mut connected: Vec<&str> = stores.iter().map(|store| &**store).collect();
        connected.extend([&*names.0, &*names.1]);
        let (own, reply_to): (_, Arc<str>) = (names.clone(), replies.as_str().into());
        let handled = self
            .stream(&commands, Consumed::with(string(), json::<Command>()))
            .named(format!("{name}-participant"))
            .process(
                move || Handler::new(supplier(), own.clone(), Arc::clone(&reply_to), remember),
                &connected,
            );
        handled.to(&replies, Produced::with(string(), json::<Reply>()));
        handled
    }
}
