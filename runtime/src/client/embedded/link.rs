//! A client's way to the broker, by one connection at a time: requests out, answers in.
//!
//! As a broker thread of librdkafka: what is asked while there is no connection waits for one, what
//! was sent on a connection that is lost fails, and a request whose time is over takes its
//! connection with it. A fiber drives it; nothing happens here while the process is frozen but
//! that answers pile up.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::{Rc, Weak};
use std::time::Duration;

use kafka_protocol::messages::{RequestKind, ResponseKind};

use super::network::{ConnectionId, Endpoint, Network};
use super::options::Timing;
use crate::client::kafka::code;
use crate::simulation::fiber::{ProcessId, Scheduler, Signal};

/// librdkafka tells the same error of the same broker only once in this time.
const SAME_ERROR: Duration = Duration::from_secs(30);

/// Why a request has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// The connection was lost; the request may have been carried out.
    Transport,
    /// No answer in time; the request may have been carried out, or may be yet.
    TimedOut,
    /// There was no connection for so long; it was never sent.
    TimedOutInQueue,
    /// The client itself is being closed.
    Closed,
}

impl Broken {
    /// What librdkafka calls it.
    pub(super) fn code(self) -> i32 {
        match self {
            Self::Transport => code::TRANSPORT,
            Self::TimedOut => code::TIMED_OUT,
            Self::TimedOutInQueue => code::TIMED_OUT_QUEUE,
            Self::Closed => code::DESTROY,
        }
    }
}

/// What comes of a request.
pub(super) type Outcome = Result<ResponseKind, Broken>;

/// A request that was made.
#[derive(Clone)]
pub(super) struct Pending(Rc<Ask>);

struct Ask {
    request: RefCell<Option<RequestKind>>,
    version: i16,
    deadline: Duration,
    signal: Signal,
    outcome: RefCell<Option<Outcome>>,
    done: Cell<bool>,
}

impl Pending {
    /// Takes the outcome, if there is one by now.
    pub(super) fn take(&self) -> Option<Outcome> {
        self.0.outcome.borrow_mut().take()
    }

    fn complete(&self, outcome: Outcome) {
        if !self.0.done.replace(true) {
            *self.0.outcome.borrow_mut() = Some(outcome);
            self.0.signal.raise();
        }
    }
}

/// A logical broker of one client: a handle, cheap to clone.
#[derive(Clone)]
pub(super) struct Link(Rc<Inner>);

struct Inner {
    network: Network,
    process: ProcessId,
    client_id: String,
    timing: Timing,
    state: RefCell<State>,
    /// Errors of the connection that the application has not been told yet.
    errors: Rc<RefCell<Vec<i32>>>,
}

#[derive(Default)]
struct State {
    phase: Phase,
    retry_at: Duration,
    failures: u32,
    correlation: u64,
    waiting: VecDeque<Pending>,
    sent: BTreeMap<u64, Pending>,
    closed: bool,
    told: Option<(i32, Duration)>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    #[default]
    Down,
    Connecting(ConnectionId),
    Up(ConnectionId),
}

impl Link {
    pub(super) fn new(
        network: &Network,
        process: ProcessId,
        client_id: &str,
        timing: Timing,
        errors: Rc<RefCell<Vec<i32>>>,
    ) -> Self {
        Self(Rc::new(Inner {
            network: network.clone(),
            process,
            client_id: client_id.to_owned(),
            timing,
            state: RefCell::default(),
            errors,
        }))
    }

    pub(super) fn scheduler(&self) -> &Scheduler {
        self.0.network.scheduler()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.state.borrow().closed
    }

    /// Makes a request whose outcome raises the signal. Its time counts from now.
    pub(super) fn post(
        &self,
        version: i16,
        request: impl Into<RequestKind>,
        timeout: Duration,
        signal: &Signal,
    ) -> Pending {
        let pending = Pending(Rc::new(Ask {
            request: RefCell::new(Some(request.into())),
            version,
            deadline: self.scheduler().now().saturating_add(timeout),
            signal: signal.clone(),
            outcome: RefCell::default(),
            done: Cell::new(false),
        }));
        if self.is_closed() || self.scheduler().is_killed(self.0.process) {
            pending.complete(Err(Broken::Closed));
        } else {
            self.0.state.borrow_mut().waiting.push_back(pending.clone());
            self.drive();
        }
        pending
    }

    /// Makes a request and waits for its outcome.
    pub(super) fn call(
        &self,
        version: i16,
        request: impl Into<RequestKind>,
        timeout: Duration,
    ) -> Outcome {
        let signal = Signal::new("an answer");
        let pending = self.post(version, request, timeout, &signal);
        loop {
            self.drive();
            if let Some(outcome) = pending.take() {
                return outcome;
            }
            if self.scheduler().is_killed(self.0.process) {
                return Err(Broken::Closed);
            }
            self.scheduler().park(&signal, self.next_wake());
        }
    }

    /// Makes a request and waits for its outcome until then. A request that is given up goes on
    /// without its asker, and its connection stays.
    pub(super) fn call_until(
        &self,
        version: i16,
        request: impl Into<RequestKind>,
        until: Duration,
    ) -> Outcome {
        let signal = Signal::new("an answer in time");
        let pending = self.post(version, request, self.0.timing.socket_timeout, &signal);
        loop {
            self.drive();
            if let Some(outcome) = pending.take() {
                return outcome;
            }
            if self.scheduler().is_killed(self.0.process) {
                return Err(Broken::Closed);
            }
            if self.scheduler().now() >= until {
                return Err(Broken::TimedOut);
            }
            let wake = self.next_wake().map_or(until, |wake| wake.min(until));
            self.scheduler().park(&signal, Some(wake));
        }
    }

    /// Does what is due: connects, sends what waits, gives up what took too long.
    pub(super) fn drive(&self) {
        let now = self.scheduler().now();
        self.expire(now);
        let phase = {
            let state = self.0.state.borrow();
            if state.closed || state.waiting.is_empty() {
                return;
            }
            state.phase
        };
        match phase {
            Phase::Connecting(_) => {}
            Phase::Up(connection) => self.flush(connection),
            Phase::Down => {
                if now >= self.0.state.borrow().retry_at {
                    self.connect();
                }
            }
        }
    }

    /// Returns when [`Link::drive`] has something to do again, if nothing arrives before.
    pub(super) fn next_wake(&self) -> Option<Duration> {
        let state = self.0.state.borrow();
        let deadlines = state.waiting.iter().chain(state.sent.values()).map(|one| one.0.deadline);
        let reconnect = (state.phase == Phase::Down && !state.waiting.is_empty())
            .then(|| state.retry_at.max(self.scheduler().now()));
        deadlines.chain(reconnect).min()
    }

    /// Ends all that is asked, and the connection. A request on its way arrives all the same.
    pub(super) fn close(&self) {
        self.0.state.borrow_mut().closed = true;
        self.fail(Broken::Closed, true);
    }

    fn connect(&self) {
        let as_endpoint: Rc<dyn Endpoint> = Rc::<Inner>::clone(&self.0);
        let endpoint: Weak<dyn Endpoint> = Rc::downgrade(&as_endpoint);
        let connection = self.0.network.connect(self.0.process, &self.0.client_id, endpoint);
        self.0.state.borrow_mut().phase = Phase::Connecting(connection);
    }

    fn flush(&self, connection: ConnectionId) {
        loop {
            let (correlation, version, request) = {
                let mut state = self.0.state.borrow_mut();
                let Some(pending) = state.waiting.pop_front() else { return };
                let Some(request) = pending.0.request.borrow_mut().take() else { continue };
                state.correlation += 1;
                let correlation = state.correlation;
                let version = pending.0.version;
                state.sent.insert(correlation, pending);
                (correlation, version, request)
            };
            self.0.network.send(connection, correlation, version, request);
        }
    }

    fn expire(&self, now: Duration) {
        let (queued, sent) = {
            let mut state = self.0.state.borrow_mut();
            let is_over = |one: &Pending| one.0.deadline <= now;
            let (over, waiting) = state.waiting.drain(..).partition::<Vec<_>, _>(is_over);
            state.waiting = waiting.into();
            (over, state.sent.values().any(is_over))
        };
        queued.iter().for_each(|one| one.complete(Err(Broken::TimedOutInQueue)));
        if !sent {
            return;
        }
        let over = {
            let mut state = self.0.state.borrow_mut();
            let over = state.sent.iter().filter(|(_, one)| one.0.deadline <= now);
            let over: Vec<_> = over.map(|(correlation, _)| *correlation).collect();
            over.into_iter().filter_map(|one| state.sent.remove(&one)).collect::<Vec<_>>()
        };
        over.iter().for_each(|one| one.complete(Err(Broken::TimedOut)));
        // `socket.max.fails` is 1: the rest of the connection is not trusted either
        self.0.tell(code::TIMED_OUT);
        self.fail(Broken::Transport, false);
    }

    /// The connection is over.
    fn fail(&self, why: Broken, all: bool) {
        let connection = self.0.failed(why, all);
        if let Phase::Up(connection) | Phase::Connecting(connection) = connection {
            self.0.network.close(connection);
        }
    }
}

impl Inner {
    fn failed(&self, why: Broken, all: bool) -> Phase {
        let now = self.network.scheduler().now();
        let jitter = self.network.scheduler().random(|rng| rng.u32(75..=125));
        let (phase, failed) = {
            let mut state = self.state.borrow_mut();
            let phase = std::mem::take(&mut state.phase);
            let backoff = self.timing.reconnect_backoff(state.failures) * jitter / 100;
            state.failures = state.failures.saturating_add(1);
            state.retry_at = now.saturating_add(backoff);
            let mut failed: Vec<_> = std::mem::take(&mut state.sent).into_values().collect();
            if all {
                failed.extend(state.waiting.drain(..));
            }
            (phase, failed)
        };
        failed.iter().for_each(|one| one.complete(Err(why)));
        phase
    }

    fn tell(&self, error: i32) {
        let now = self.network.scheduler().now();
        let mut state = self.state.borrow_mut();
        let fresh = |(last, at): (i32, Duration)| last == error && now < at + SAME_ERROR;
        if !state.told.is_some_and(fresh) {
            state.told = Some((error, now));
            self.errors.borrow_mut().push(error);
        }
    }

    /// Wakes whoever waits, since something may be done now.
    fn wake(&self) {
        let waiting: Vec<_> = self.state.borrow().waiting.iter().cloned().collect();
        waiting.iter().for_each(|one| one.0.signal.raise());
    }
}

impl Endpoint for Inner {
    fn connected(&self, connection: ConnectionId, made: bool) {
        if self.state.borrow().phase != Phase::Connecting(connection) {
            return;
        }
        if made {
            let mut state = self.state.borrow_mut();
            state.phase = Phase::Up(connection);
            state.failures = 0;
        } else {
            self.tell(code::TRANSPORT);
            self.failed(Broken::Transport, false);
        }
        self.wake();
    }

    fn answered(&self, connection: ConnectionId, correlation: u64, answer: ResponseKind) {
        if self.state.borrow().phase != Phase::Up(connection) {
            return;
        }
        let pending = self.state.borrow_mut().sent.remove(&correlation);
        if let Some(pending) = pending {
            pending.complete(Ok(answer));
        }
    }

    fn lost(&self, connection: ConnectionId) {
        let phase = self.state.borrow().phase;
        if phase == Phase::Up(connection) || phase == Phase::Connecting(connection) {
            self.tell(code::TRANSPORT);
            self.failed(Broken::Transport, false);
            self.wake();
        }
    }
}
