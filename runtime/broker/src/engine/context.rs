//! What the parts of the engine share while one request is handled.

use kafka_protocol::messages::ResponseKind;

use super::{EngineConfig, Handled, Millis, Ticket};
use crate::journal;

/// Passed down to whatever handles a request or a timer.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    /// The time, the same for everything that one call causes.
    pub(crate) now: Millis,
    /// The broker's settings.
    pub(crate) config: &'a EngineConfig,
    /// Where answers that had to wait go.
    pub(crate) answers: &'a mut Answers,
    /// What a restart has to know, in the order in which it happened.
    pub(crate) journal: &'a mut Vec<journal::Entry>,
}

/// The answers that had to wait.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    next: u64,
    ready: Vec<(Ticket, ResponseKind)>,
}

impl Answers {
    /// Returns a ticket that was never given before.
    pub(crate) fn ticket(&mut self) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        ticket
    }

    /// Answers the request that holds `ticket`.
    pub(crate) fn complete(&mut self, ticket: Ticket, answer: ResponseKind) {
        self.ready.push((ticket, answer));
    }

    /// What became of the request that holds `ticket`: its answer if it is there by now.
    pub(crate) fn settle(&mut self, ticket: Ticket) -> Handled {
        match self.ready.iter().position(|(ready, _)| *ready == ticket) {
            Some(position) => Handled::Answer(Box::new(self.ready.remove(position).1)),
            None => Handled::Waiting(ticket),
        }
    }

    pub(crate) fn take(&mut self) -> Vec<(Ticket, ResponseKind)> {
        std::mem::take(&mut self.ready)
    }

    pub(crate) fn forget(&mut self, ticket: Ticket) {
        self.ready.retain(|(ready, _)| *ready != ticket);
    }
}
