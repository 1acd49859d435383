//! The network between simulated clients and one broker: delays, connections, a broker that dies.
//!
//! It behaves as TCP does. What is sent on a connection arrives in order and late; what was sent
//! before a client died, or closed the connection, still arrives; a broker that dies takes its
//! connections with it, and what it had answered is still on its way. The broker handles one
//! request of a connection at a time, as Apache Kafka does. A [`Faults`] plan is asked about each
//! request when it arrives.
//!
//! Whatever the broker has to remember goes to its journal before an answer leaves: a restart
//! recovers from that.

mod broker;
mod state;
mod stray;

use std::cell::RefCell;
use std::fmt;
use std::rc::{Rc, Weak};
use std::time::Duration;

use kafka_protocol::messages::{RequestKind, ResponseKind};
use tidemill_broker::engine::{Engine, EngineConfig, Millis};
use tidemill_broker::fault::Faults;

use self::state::{Frame, State};
pub(crate) use self::stray::Landing;
use crate::simulation::fiber::{ProcessId, Scheduler};

/// A connection, used once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionId(u64);

/// How long a message takes from one end to the other, in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Latency {
    pub(crate) least: Duration,
    pub(crate) most: Duration,
    /// Of a thousand messages, so many take up to `slow`.
    pub(crate) slow_of_thousand: u32,
    pub(crate) slow: Duration,
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            least: Duration::from_micros(50),
            most: Duration::from_micros(800),
            slow_of_thousand: 5,
            slow: Duration::from_millis(60),
        }
    }
}

/// The client's end of a connection. Called outside of fibers, so nothing in here may wait; what
/// arrives for a frozen process waits in here as it does in a socket.
pub(super) trait Endpoint {
    /// The connection stands, or could not be made.
    fn connected(&self, connection: ConnectionId, made: bool);
    /// The answer to a request.
    fn answered(&self, connection: ConnectionId, correlation: u64, answer: ResponseKind);
    /// The broker is gone, or closed the connection.
    fn lost(&self, connection: ConnectionId);
}

/// All connections and the broker: a handle, cheap to clone.
#[derive(Clone)]
pub(crate) struct Network(Rc<Inner>);

/// Looks at the engine.
type Look = Box<dyn Fn(&Engine)>;

struct Inner {
    scheduler: Scheduler,
    /// What the wall clock shows when the simulation starts.
    start: Millis,
    latency: Latency,
    state: RefCell<State>,
    /// Looks at the engine before records are deleted.
    deletion: RefCell<Option<Look>>,
}

impl Network {
    /// Makes a network with a broker that has no topic yet.
    pub(crate) fn new(
        scheduler: &Scheduler,
        config: EngineConfig,
        start: Millis,
        latency: Latency,
    ) -> Self {
        let state = RefCell::new(State::new(config));
        Self(Rc::new(Inner {
            scheduler: scheduler.clone(),
            start,
            latency,
            state,
            deletion: RefCell::default(),
        }))
    }

    pub(crate) fn scheduler(&self) -> &Scheduler {
        &self.0.scheduler
    }

    /// Returns the broker's time of day.
    pub(crate) fn now(&self) -> Millis {
        let since = self.0.scheduler.now().as_millis();
        self.0.start.saturating_add(i64::try_from(since).unwrap_or(i64::MAX))
    }

    /// Has this plan decide about requests from now on.
    pub(crate) fn set_faults(&self, faults: Faults) {
        self.0.state.borrow_mut().faults = faults;
    }

    /// Looks at the plan: what fired, what is held.
    pub(crate) fn with_faults<R>(&self, look: impl FnOnce(&mut Faults) -> R) -> R {
        look(&mut self.0.state.borrow_mut().faults)
    }

    /// Has somebody look at the engine whenever a client is about to delete records.
    pub(crate) fn before_deletion(&self, look: impl Fn(&Engine) + 'static) {
        *self.0.deletion.borrow_mut() = Some(Box::new(look));
    }

    /// Does something with the engine, unless the broker is down: hooks, oracles.
    pub(crate) fn with_engine<R>(&self, act: impl FnOnce(&mut Engine) -> R) -> Option<R> {
        let result = self.0.state.borrow_mut().engine.as_mut().map(act);
        self.settle();
        result
    }

    pub(crate) fn is_up(&self) -> bool {
        self.0.state.borrow().engine.is_some()
    }

    /// Ends the broker as SIGKILL does. What it journaled stays.
    pub(crate) fn crash(&self) {
        self.0.scheduler.trace("broker crashes", 0);
        let lost = {
            let mut state = self.0.state.borrow_mut();
            state.engine = None;
            state.crashes += 1;
            state.timer = None;
            state.tickets.clear();
            state.stray = None;
            let open = state.connections.iter_mut().filter(|(_, one)| one.broker_open);
            open.map(|(id, one)| {
                one.broker_closes();
                *id
            })
            .collect::<Vec<_>>()
        };
        for connection in lost {
            self.tell_lost(connection);
        }
    }

    /// Starts the broker again, from its journal.
    ///
    /// # Panics
    /// If the journal does not recover: a bug of the broker, which a simulation is there to find.
    pub(crate) fn restart(&self) {
        self.0.scheduler.trace("broker starts", 0);
        let now = self.now();
        let mut state = self.0.state.borrow_mut();
        if state.engine.is_some() {
            return;
        }
        let entries = state.journal.clone();
        let engine = match Engine::recover(state.config.clone(), entries, now) {
            Ok(engine) => engine,
            Err(error) => panic!("the broker does not start again: {error}"),
        };
        state.journal = engine.snapshot();
        state.engine = Some(engine);
        drop(state);
        self.settle();
    }

    /// Has a process connect; its end is told whether it worked.
    pub(super) fn connect(
        &self,
        process: ProcessId,
        client_id: &str,
        endpoint: Weak<dyn Endpoint>,
    ) -> ConnectionId {
        let (asked, answered) = (self.delay(), self.delay());
        let connection = self.0.state.borrow_mut().open(process, client_id, endpoint);
        self.after(asked, move |network| network.accept(connection, answered));
        connection
    }

    /// Sends a request. Nothing is sent by a process that was killed.
    pub(super) fn send(
        &self,
        connection: ConnectionId,
        correlation: u64,
        version: i16,
        request: RequestKind,
    ) {
        let frame = Frame { correlation, version, request };
        let delay = self.delay();
        let now = self.0.scheduler.now();
        let arrival = {
            let mut state = self.0.state.borrow_mut();
            let Some(one) = state.connections.get_mut(&connection) else { return };
            if !one.client_open || one.cut || self.0.scheduler.is_killed(one.process) {
                return;
            }
            // as TCP: never before what was sent earlier
            one.to_broker = one.to_broker.max(now.saturating_add(delay));
            one.to_broker
        };
        self.at(arrival, move |network| network.arrive(connection, frame));
    }

    /// Closes the client's end. What was sent before still arrives.
    pub(super) fn close(&self, connection: ConnectionId) {
        let arrival = {
            let mut state = self.0.state.borrow_mut();
            let Some(one) = state.connections.get_mut(&connection) else { return };
            if !one.client_open {
                return;
            }
            one.client_open = false;
            one.to_broker.max(self.0.scheduler.now())
        };
        let delay = self.delay();
        self.at(arrival.saturating_add(delay), move |network| network.hang_up(connection));
    }

    /// Closes every connection of a process that was killed.
    pub(crate) fn process_died(&self, process: ProcessId) {
        let connections = self.0.state.borrow().of_process(process);
        connections.into_iter().for_each(|connection| self.close(connection));
    }

    /// Cuts every connection of a process from outside: the client sees it soon, and what it has
    /// sent arrives late, or rather when `arrival` has passed. What a proxy between them does.
    pub(crate) fn cut(&self, process: ProcessId, arrival: Duration) {
        let connections = self.0.state.borrow().of_process(process);
        for connection in connections {
            let told = self.tell_lost(connection);
            let mut state = self.0.state.borrow_mut();
            let Some(one) = state.connections.get_mut(&connection) else { continue };
            one.cut = true;
            let arrival = one.to_broker.max(self.0.scheduler.now().saturating_add(arrival));
            drop(state);
            // nobody can be told of a connection that nobody knows any more
            self.at(arrival.max(told + Duration::from_micros(1)), move |network| {
                network.hang_up(connection)
            });
        }
    }

    fn delay(&self) -> Duration {
        let Latency { least, most, slow_of_thousand, slow } = self.0.latency;
        let most = if self.0.scheduler.chance(slow_of_thousand) { slow } else { most };
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let (least, most) = (micros(least), micros(most.max(least)));
        Duration::from_micros(self.0.scheduler.random(|rng| rng.u64(least..=most)))
    }

    fn after(&self, delay: Duration, event: impl FnOnce(&Self) + 'static) {
        self.at(self.0.scheduler.now().saturating_add(delay), event);
    }

    fn at(&self, time: Duration, event: impl FnOnce(&Self) + 'static) {
        let network = Rc::downgrade(&self.0);
        self.0.scheduler.at(time, move || {
            if let Some(inner) = network.upgrade() {
                event(&Self(inner));
            }
        });
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").field("up", &self.is_up()).finish_non_exhaustive()
    }
}
