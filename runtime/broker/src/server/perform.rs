//! Requests performed, answers given, and what faults do to either.

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{ApiVersionsRequest, RequestKind, ResponseKind};

use super::connection::{Closed, State};
use super::frame::{self, Incoming, Origin};
use super::run::Loop;
use crate::engine::{Call, Handled, Millis};
use crate::fault::{Decision, Fate};

/// Who waits for a ticket.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) token: usize,
    origin: Origin,
    tell: Tell,
}

/// Whether a client learns what its request has led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tell {
    Now,
    NotBefore(Millis),
    Never,
}

/// What a fault has put off.
#[derive(Debug)]
pub(super) enum Deferred {
    /// A request that is performed late.
    Request { token: usize, origin: Origin, call: Box<Call> },
    /// An answer that is given late.
    Answer { token: usize, origin: Origin, answer: Box<ResponseKind> },
}

impl Loop {
    /// Reads a request and does with it as the plan of faults says.
    pub(super) fn request(&mut self, token: usize, frame: Bytes) -> Result<(), Closed> {
        let Some(connection) = self.connections.get(&token) else { return Ok(()) };
        let (origin, call) = match frame::read(&self.shapes, frame)? {
            Incoming::NewerApiVersions { origin } => {
                return self.answer_versions(token, origin);
            }
            Incoming::Request { origin, client_id, request } => {
                let call = Call {
                    connection: token as u64,
                    client_id,
                    client_host: connection.host(),
                    version: origin.version,
                    request: *request,
                };
                (origin, call)
            }
        };
        let now = self.clock.now();
        let Decision { hooks, fate, deliver } =
            self.faults.decide(now, &call, self.engine.topics());
        for hook in hooks {
            hook.apply(now, &mut self.engine);
        }
        let reset = matches!(fate, Fate::Reset | Fate::PerformAndReset);
        match fate {
            Fate::Perform => self.perform(token, origin, call, Tell::Now)?,
            Fate::Answer(answer) => self.tell(token, origin, &answer)?,
            Fate::Delay(until) => {
                let call = Box::new(call);
                self.defer(token, until, Deferred::Request { token, origin, call });
            }
            Fate::Lose => self.set(token, State::Mute),
            Fate::PerformUntold => self.perform(token, origin, call, Tell::Never)?,
            Fate::HoldReply(at) => self.perform(token, origin, call, Tell::NotBefore(at))?,
            Fate::Reset => {}
            Fate::PerformAndReset => self.perform(token, origin, call, Tell::Never)?,
        }
        for call in deliver {
            self.deliver(call);
        }
        if reset {
            self.close(token, None);
        }
        Ok(())
    }

    fn perform(
        &mut self,
        token: usize,
        origin: Origin,
        call: Call,
        tell: Tell,
    ) -> Result<(), Closed> {
        match self.engine.handle(self.clock.now(), call) {
            Handled::Answer(answer) => match tell {
                Tell::Now => self.tell(token, origin, &answer)?,
                Tell::Never => self.set(token, State::Mute),
                Tell::NotBefore(at) => {
                    self.defer(token, at, Deferred::Answer { token, origin, answer });
                }
            },
            Handled::Waiting(ticket) => {
                self.waiters.insert(ticket, Waiter { token, origin, tell });
                self.set(token, State::Waiting(ticket));
            }
            Handled::Silent => {}
            Handled::Refused(reason) => return Err(Closed::Refused(reason)),
        }
        Ok(())
    }

    /// Performs a call whose sender does not wait.
    fn deliver(&mut self, call: Call) {
        match self.engine.handle(self.clock.now(), call) {
            Handled::Waiting(ticket) => self.engine.abandon(ticket),
            outcome => tracing::debug!(?outcome, "a held request was performed"),
        }
    }

    /// Performs and answers what faults have put off until now.
    pub(super) fn take_due(&mut self, now: Millis) {
        while let Some(entry) = self.deferred.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let (token, done) = match entry.remove() {
                // the client may have left: the request was on its way all the same
                Deferred::Request { token, call, .. } if !self.connections.contains_key(&token) => {
                    self.deliver(*call);
                    (token, Ok(()))
                }
                Deferred::Request { token, origin, call } => {
                    self.set(token, State::Open);
                    (token, self.perform(token, origin, *call, Tell::Now))
                }
                Deferred::Answer { token, origin, answer } => {
                    self.set(token, State::Open);
                    (token, self.tell(token, origin, &answer))
                }
            };
            if let Err(reason) = done {
                self.close(token, Some(&reason));
            }
        }
    }

    /// Gives the engine's late answers to those who wait for them.
    pub(super) fn collect_answers(&mut self, now: Millis) {
        for (ticket, answer) in self.engine.take_answers() {
            let Some(waiter) = self.waiters.remove(&ticket) else { continue };
            let Waiter { token, origin, tell } = waiter;
            let done = match tell {
                Tell::NotBefore(at) if at > now => {
                    let answer = Box::new(answer);
                    self.defer(token, at, Deferred::Answer { token, origin, answer });
                    Ok(())
                }
                Tell::Now | Tell::NotBefore(_) => {
                    self.set(token, State::Open);
                    self.tell(token, origin, &answer)
                }
                Tell::Never => {
                    self.set(token, State::Mute);
                    Ok(())
                }
            };
            if let Err(reason) = done {
                self.close(token, Some(&reason));
            }
        }
    }

    fn tell(&mut self, token: usize, origin: Origin, answer: &ResponseKind) -> Result<(), Closed> {
        let Some(connection) = self.connections.get_mut(&token) else { return Ok(()) };
        Ok(frame::write(connection.outbox(), origin, answer)?)
    }

    /// Answers a version of `ApiVersions` that is not known as Apache Kafka does: in version 0,
    /// with the error and the list, from which the client picks a version that is.
    fn answer_versions(&mut self, token: usize, origin: Origin) -> Result<(), Closed> {
        let origin = Origin { version: 0, ..origin };
        let call = Call {
            connection: token as u64,
            client_id: String::new(),
            client_host: String::new(),
            version: 0,
            request: RequestKind::ApiVersions(ApiVersionsRequest::default()),
        };
        match self.engine.handle(self.clock.now(), call) {
            Handled::Answer(answer) => match *answer {
                ResponseKind::ApiVersions(list) => {
                    let list = list.with_error_code(ResponseError::UnsupportedVersion.code());
                    self.tell(token, origin, &list.into())
                }
                other => self.tell(token, origin, &other),
            },
            other => Err(Closed::Refused(format!("ApiVersions came to {other:?}"))),
        }
    }

    fn set(&mut self, token: usize, state: State) {
        if let Some(connection) = self.connections.get_mut(&token) {
            connection.state = state;
        }
    }

    fn defer(&mut self, token: usize, at: Millis, deferred: Deferred) {
        self.set(token, State::Deferred);
        self.deferred.insert((at, self.next_deferred), deferred);
        self.next_deferred += 1;
    }
}
