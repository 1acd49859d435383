//! The broker's end: requests are performed one after another, answers go back, timers fire.

use std::time::Duration;

use kafka_protocol::messages::{RequestKind, ResponseKind};
use tidemill_broker::engine::{Call, Handled, Millis};
use tidemill_broker::fault::{Decision, Fate};

use super::state::{Asked, Frame, Told};
use super::stray::Passed;
use super::{ConnectionId, Network};

impl Network {
    /// A client asks for a connection.
    pub(super) fn accept(&self, connection: ConnectionId, delay: Duration) {
        let made = {
            let mut state = self.0.state.borrow_mut();
            let up = state.engine.is_some();
            let Some(one) = state.connections.get_mut(&connection) else { return };
            one.broker_open = up && one.client_open;
            one.to_client = self.0.scheduler.now().saturating_add(delay);
            up
        };
        self.after(delay, move |network| {
            let endpoint = {
                let mut state = network.0.state.borrow_mut();
                let Some(one) = state.connections.get(&connection) else { return };
                let endpoint = one.client_open.then(|| one.endpoint.clone());
                if !made {
                    state.connections.remove(&connection);
                }
                endpoint
            };
            if let Some(endpoint) = endpoint.and_then(|endpoint| endpoint.upgrade()) {
                endpoint.connected(connection, made);
            }
        });
    }

    /// A request arrives.
    pub(super) fn arrive(&self, connection: ConnectionId, frame: Frame) {
        let open = {
            let mut state = self.0.state.borrow_mut();
            let Some(one) = state.connections.get_mut(&connection) else { return };
            if one.broker_open {
                one.frames.push_back(frame);
            }
            one.broker_open
        };
        if open {
            self.serve(connection);
        } else {
            self.tell_lost(connection);
        }
    }

    /// The client's end is closed; nothing more comes from it.
    pub(super) fn hang_up(&self, connection: ConnectionId) {
        let mut state = self.0.state.borrow_mut();
        state.connections.remove(&connection);
        let waiting = state.tickets.iter().filter(|(_, asked)| asked.connection == connection);
        let waiting: Vec<_> = waiting.map(|(ticket, _)| *ticket).collect();
        for ticket in waiting {
            state.tickets.remove(&ticket);
            if let Some(engine) = &mut state.engine {
                engine.abandon(ticket);
            }
        }
        drop(state);
        self.settle();
    }

    /// Performs what a connection has sent, as far as that goes.
    fn serve(&self, connection: ConnectionId) {
        loop {
            let (frame, call, decision) = {
                let now = self.now();
                let mut state = self.0.state.borrow_mut();
                let Some(one) = state.connections.get_mut(&connection) else { return };
                if one.busy {
                    return;
                }
                let Some(frame) = one.frames.pop_front() else { return };
                one.busy = true;
                let call = Call {
                    connection: connection.0,
                    client_id: one.client_id.clone(),
                    client_host: format!("/process-{}", one.process.number()),
                    version: frame.version,
                    request: frame.request.clone(),
                };
                let state = &mut *state;
                let Some(engine) = &state.engine else { return };
                let decision = state.faults.decide(now, &call, engine.topics());
                (frame, call, decision)
            };
            self.0.scheduler.trace(name_of(&frame), connection.0);
            if self.goes_astray(connection, &call) {
                return;
            }
            self.perform(connection, frame.correlation, call, decision);
        }
    }

    fn perform(&self, connection: ConnectionId, correlation: u64, call: Call, decision: Decision) {
        let now = self.now();
        if let Some(engine) = &mut self.0.state.borrow_mut().engine {
            decision.hooks.iter().for_each(|hook| hook.apply(now, engine));
        }
        let asked = |told| Asked { connection, correlation, told };
        let is_performed = matches!(
            decision.fate,
            Fate::Perform | Fate::PerformUntold | Fate::PerformAndReset | Fate::HoldReply(_)
        );
        let passed = is_performed.then(|| Passed::of(&call.request)).flatten();
        match decision.fate {
            Fate::Perform => self.handle(asked(Told::AtOnce), call),
            Fate::PerformUntold => self.handle(asked(Told::Never), call),
            Fate::PerformAndReset => self.handle(asked(Told::Reset), call),
            Fate::HoldReply(until) => self.handle(asked(Told::At(until)), call),
            Fate::Answer(answer) => self.reply(asked(Told::AtOnce), *answer),
            Fate::Lose => self.done(connection),
            Fate::Reset => self.reset(connection),
            Fate::Delay(until) => {
                let asked = asked(Told::AtOnce);
                let broker = self.0.state.borrow().crashes;
                self.at(self.time_of(until), move |network| {
                    // also if the client has hung up, but not by a broker that was not there
                    if network.0.state.borrow().crashes == broker {
                        network.handle(asked, call);
                        network.settle();
                        network.serve(connection);
                    }
                });
            }
        }
        self.after_request_of(passed);
        for late in decision.deliver {
            let nobody = ConnectionId(u64::MAX);
            self.handle(Asked { connection: nobody, correlation: 0, told: Told::Never }, late);
        }
        self.settle();
    }

    pub(super) fn handle(&self, asked: Asked, call: Call) {
        let now = self.now();
        let handled = {
            let mut state = self.0.state.borrow_mut();
            let Some(engine) = &mut state.engine else { return };
            if let (RequestKind::DeleteRecords(_), Some(look)) =
                (&call.request, &*self.0.deletion.borrow())
            {
                look(engine);
            }
            let handled = engine.handle(now, call);
            if let Handled::Waiting(ticket) = handled {
                state.tickets.insert(ticket, asked);
            }
            handled
        };
        match handled {
            Handled::Waiting(_) => {}
            Handled::Answer(answer) => {
                self.write_journal();
                self.reply(asked, *answer);
            }
            Handled::Silent => self.done(asked.connection),
            Handled::Refused(why) => {
                tracing::warn!(why, "the simulated broker refuses a request");
                self.reset(asked.connection);
            }
        }
    }

    /// Sends an answer back, the way that the plan of faults says.
    fn reply(&self, asked: Asked, answer: ResponseKind) {
        let Asked { connection, correlation, told } = asked;
        match told {
            Told::Never => return self.done(connection),
            Told::Reset => return self.reset(connection),
            Told::At(until) if until > self.now() => {
                let asked = Asked { told: Told::AtOnce, ..asked };
                return self.at(self.time_of(until), move |network| {
                    network.reply(asked, answer);
                    network.serve(connection);
                });
            }
            Told::At(_) | Told::AtOnce => {}
        }
        let delay = self.delay();
        let arrival = {
            let mut state = self.0.state.borrow_mut();
            let Some(one) = state.connections.get_mut(&connection) else { return };
            if !one.broker_open {
                return;
            }
            one.busy = false;
            let arrival = self.0.scheduler.now().saturating_add(delay);
            one.to_client = one.to_client.max(arrival);
            one.to_client
        };
        self.at(arrival, move |network| {
            let endpoint = network.0.state.borrow().connections.get(&connection).and_then(|one| {
                let listens = one.client_open && !network.0.scheduler.is_killed(one.process);
                listens.then(|| one.endpoint.clone())
            });
            if let Some(endpoint) = endpoint.and_then(|endpoint| endpoint.upgrade()) {
                endpoint.answered(connection, correlation, answer);
            }
        });
    }

    /// The broker is through with a request that has no answer.
    fn done(&self, connection: ConnectionId) {
        if let Some(one) = self.0.state.borrow_mut().connections.get_mut(&connection) {
            one.busy = false;
        }
    }

    /// The broker closes a connection.
    pub(super) fn reset(&self, connection: ConnectionId) {
        if let Some(one) = self.0.state.borrow_mut().connections.get_mut(&connection) {
            one.broker_closes();
        }
        self.tell_lost(connection);
    }

    /// Lets the client know, behind the answers that are on their way to it; returns when it will.
    pub(super) fn tell_lost(&self, connection: ConnectionId) -> Duration {
        let delay = self.delay();
        let arrival = {
            let (state, now) = (self.0.state.borrow(), self.0.scheduler.now());
            let Some(one) = state.connections.get(&connection) else { return now };
            one.to_client.max(now.saturating_add(delay))
        };
        self.at(arrival, move |network| {
            let endpoint = {
                let mut state = network.0.state.borrow_mut();
                let Some(one) = state.connections.get_mut(&connection) else { return };
                let endpoint = one.client_open.then(|| one.endpoint.clone());
                one.client_open = false;
                if !one.broker_open {
                    state.connections.remove(&connection);
                }
                endpoint
            };
            if let Some(endpoint) = endpoint.and_then(|endpoint| endpoint.upgrade()) {
                endpoint.lost(connection);
            }
        });
        arrival
    }

    fn write_journal(&self) {
        let mut state = self.0.state.borrow_mut();
        if let Some(engine) = &mut state.engine {
            let entries = engine.take_journal();
            state.journal.extend(entries);
        }
    }

    /// Sends what the engine has to say after it was called, and sets its alarm.
    pub(super) fn settle(&self) {
        self.write_journal();
        let answers = {
            let mut state = self.0.state.borrow_mut();
            let Some(engine) = &mut state.engine else { return };
            let answers = engine.take_answers().into_iter();
            answers
                .filter_map(|(ticket, answer)| Some((state.tickets.remove(&ticket)?, answer)))
                .collect::<Vec<_>>()
        };
        for (asked, answer) in answers {
            self.reply(asked, answer);
            // what waited behind it
            self.after(Duration::ZERO, move |network| network.serve(asked.connection));
        }
        self.set_alarm();
    }

    fn set_alarm(&self) {
        let now = self.now();
        let due = {
            let mut state = self.0.state.borrow_mut();
            let Some(due) = state.engine.as_ref().and_then(|engine| engine.next_deadline()) else {
                return;
            };
            // never at once: an engine that has nothing to do then must not stop the clock
            let due = due.max(now.saturating_add(1));
            if state.timer.is_some_and(|timer| timer <= due && timer > now) {
                return;
            }
            state.timer = Some(due);
            due
        };
        self.at(self.time_of(due), move |network| {
            let now = network.now();
            {
                let mut state = network.0.state.borrow_mut();
                if state.timer != Some(due) {
                    return;
                }
                state.timer = None;
                if let Some(engine) = &mut state.engine {
                    engine.advance(now);
                }
            }
            network.settle();
        });
    }

    /// Returns when the broker's clock shows this.
    fn time_of(&self, millis: Millis) -> Duration {
        let since = millis.saturating_sub(self.0.start);
        Duration::from_millis(u64::try_from(since).unwrap_or(0))
    }
}

/// What goes into the trace: which request it was, not what it said.
fn name_of(frame: &Frame) -> &'static str {
    use kafka_protocol::messages::RequestKind as Kind;
    match &frame.request {
        Kind::Produce(_) => "produce",
        Kind::Fetch(_) => "fetch",
        Kind::EndTxn(_) => "end transaction",
        Kind::TxnOffsetCommit(_) => "commit offsets in a transaction",
        Kind::InitProducerId(_) => "init producer id",
        Kind::JoinGroup(_) => "join",
        Kind::SyncGroup(_) => "sync",
        Kind::Heartbeat(_) => "heartbeat",
        Kind::LeaveGroup(_) => "leave",
        _ => "request",
    }
}
