//! The loop: one thread that owns the engine, the connections and the disk.
//!
//! One thread, and no task or lock, because the engine is one value anyway: a request costs less
//! than handing it to another thread would. Each turn takes what all connections have sent,
//! performs it, writes the journal **once**, and only then sends the answers. So an answer that a
//! client has seen is on disk, and clients share the cost of a write when there are many of them
//! (group commit).
//!
//! A fetch that waits holds a ticket, not the thread. The thread sleeps until a socket is ready,
//! the engine has a deadline, or a fault is due.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};

use super::clock::Clock;
use super::connection::{Closed, Connection, State};
use super::control::Control;
use super::disk::Disk;
use super::perform::Deferred;
use super::shape::Shapes;
use super::{Command, ServerError};
use crate::engine::{Engine, Millis, Ticket};
use crate::fault::Faults;

pub(super) const WAKER: Token = Token(0);
pub(super) const LISTENER: Token = Token(1);
pub(super) const CONTROL: Token = Token(2);
/// Clients and control connections have the tokens from here on, each of them its own.
const FIRST: usize = 3;

/// So many requests of one connection are taken before the others have their turn.
const TURN: usize = 64;
const EVENTS: usize = 256;
const SCRATCH: usize = 128 * 1024;
/// After an error of accept (no file descriptor is left), so long nobody is let in.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Everything that the thread owns.
pub(super) struct Loop {
    pub(super) poll: Poll,
    pub(super) listener: TcpListener,
    pub(super) control: Option<Control>,
    pub(super) commands: Receiver<Command>,
    pub(super) engine: Engine,
    pub(super) faults: Faults,
    pub(super) disk: Disk,
    pub(super) clock: Clock,
    pub(super) shapes: Shapes,
    pub(super) connections: BTreeMap<usize, Connection>,
    /// Connections that are closed as soon as the journal is written.
    leaving: Vec<Connection>,
    pub(super) waiters: BTreeMap<Ticket, super::perform::Waiter>,
    pub(super) deferred: BTreeMap<(Millis, u64), Deferred>,
    pub(super) next_token: usize,
    pub(super) next_deferred: u64,
    accept_paused: bool,
}

/// What a loop is made of.
pub(super) struct Parts {
    pub(super) poll: Poll,
    pub(super) listener: TcpListener,
    pub(super) control: Option<Control>,
    pub(super) commands: Receiver<Command>,
    pub(super) engine: Engine,
    pub(super) faults: Faults,
    pub(super) disk: Disk,
    pub(super) clock: Clock,
}

impl Loop {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { poll, listener, control, commands, engine, faults, disk, clock } = parts;
        Self {
            poll,
            listener,
            control,
            commands,
            engine,
            faults,
            disk,
            clock,
            shapes: Shapes::new(),
            connections: BTreeMap::new(),
            leaving: Vec::new(),
            waiters: BTreeMap::new(),
            deferred: BTreeMap::new(),
            next_token: FIRST,
            next_deferred: 0,
            accept_paused: false,
        }
    }

    /// Serves until it is told to stop.
    ///
    /// # Errors
    /// When the journal can't be written: nothing may be answered then, so the broker ends.
    pub(super) fn run(mut self) -> Result<(), ServerError> {
        let mut events = Events::with_capacity(EVENTS);
        let mut scratch = vec![0; SCRATCH];
        loop {
            let timeout = self.timeout();
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                done => done.map_err(ServerError::Poll)?,
            }
            if std::mem::take(&mut self.accept_paused) {
                self.accept();
            }
            for event in &events {
                match event.token() {
                    WAKER => {}
                    LISTENER => self.accept(),
                    CONTROL => self.accept_control(),
                    Token(token) => match self.connections.get_mut(&token) {
                        Some(connection) => {
                            connection.ready(event);
                            self.notice_hang_up(token);
                        }
                        None => self.serve_control(token),
                    },
                }
            }
            if !self.obey() {
                return self.finish();
            }
            self.turn(&mut scratch)?;
        }
    }

    /// Performs what is there, writes the journal, answers.
    fn turn(&mut self, scratch: &mut [u8]) -> Result<(), ServerError> {
        let now = self.clock.now();
        if self.engine.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.engine.advance(now);
        }
        self.take_due(now);
        let busy = |(token, connection): (&usize, &Connection)| {
            (connection.has_work() || connection.hung_up()).then_some(*token)
        };
        let tokens: Vec<usize> = self.connections.iter().filter_map(busy).collect();
        for token in tokens {
            self.take_requests(token, scratch);
            self.notice_hang_up(token);
        }
        self.collect_answers(now);
        self.disk.write(&mut self.engine).map_err(ServerError::Journal)?;
        self.flush();
        Ok(())
    }

    /// How long there is nothing to do, unless a socket says so.
    fn timeout(&self) -> Option<Duration> {
        if self.connections.values().any(Connection::has_work) {
            return Some(Duration::ZERO);
        }
        let due = self.deferred.keys().next().map(|(due, _)| *due);
        let next = [due, self.engine.next_deadline()].into_iter().flatten().min();
        let now = self.clock.now();
        let left = next.map(|next| {
            Duration::from_millis(u64::try_from(next.saturating_sub(now)).unwrap_or(0))
        });
        if self.accept_paused { left.min(Some(ACCEPT_PAUSE)).or(Some(ACCEPT_PAUSE)) } else { left }
    }

    /// Does what the owner of the server asks for; false when that is to stop.
    fn obey(&mut self) -> bool {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Run(task)) => task(&mut self.engine, &mut self.faults),
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return false,
                Err(TryRecvError::Empty) => return true,
            }
        }
    }

    /// Stops: what was promised is on disk, who waits is let go.
    fn finish(mut self) -> Result<(), ServerError> {
        self.disk.write(&mut self.engine).map_err(ServerError::Journal)
    }

    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((mut stream, peer)) => {
                    let token = self.next_token;
                    self.next_token += 1;
                    let both = Interest::READABLE | Interest::WRITABLE;
                    let registered = stream.set_nodelay(true).and_then(|()| {
                        self.poll.registry().register(&mut stream, Token(token), both)
                    });
                    match registered {
                        Ok(()) => {
                            tracing::debug!(%peer, token, "a client has connected");
                            self.connections.insert(token, Connection::new(stream, peer));
                        }
                        Err(error) => tracing::warn!(%peer, %error, "a client was not let in"),
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // the client has changed its mind
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::warn!(%error, "no client can be let in for a moment");
                    self.accept_paused = true;
                    return;
                }
            }
        }
    }

    /// Takes the requests that a connection has sent.
    fn take_requests(&mut self, token: usize, scratch: &mut [u8]) {
        for _ in 0..TURN {
            let Some(connection) = self.connections.get_mut(&token) else { return };
            if !connection.is_open() {
                return;
            }
            match connection.next(scratch) {
                Ok(Some(frame)) => {
                    if let Err(reason) = self.request(token, frame) {
                        return self.close(token, Some(&reason));
                    }
                }
                Ok(None) if connection.is_done() => return self.close(token, None),
                Ok(None) => return,
                Err(reason) => return self.close(token, Some(&reason)),
            }
        }
    }

    /// Lets go of what a client has waited for that is not there any more.
    fn notice_hang_up(&mut self, token: usize) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        if !connection.hung_up() {
            return;
        }
        match connection.state {
            // what it sent before it left is still read: the end of a transaction, a farewell
            State::Waiting(ticket) => {
                connection.state = State::Open;
                self.abandon(ticket);
            }
            State::Mute => self.close(token, None),
            State::Open | State::Deferred => {}
        }
    }

    fn abandon(&mut self, ticket: Ticket) {
        self.engine.abandon(ticket);
        self.waiters.remove(&ticket);
    }

    /// Closes a connection; a reason is logged, its absence is the normal end.
    pub(super) fn close(&mut self, token: usize, reason: Option<&Closed>) {
        let Some(connection) = self.connections.remove(&token) else { return };
        let peer = connection.peer;
        match reason {
            Some(Closed::Io(error)) => tracing::debug!(%peer, %error, "a connection broke"),
            Some(reason) => tracing::warn!(%peer, %reason, "a connection is closed"),
            None => tracing::debug!(%peer, "a connection has ended"),
        }
        let of_it = self.waiters.iter().filter(|(_, waiter)| waiter.token == token);
        let tickets: Vec<Ticket> = of_it.map(|(ticket, _)| *ticket).collect();
        tickets.into_iter().for_each(|ticket| self.abandon(ticket));
        // answers to what it sent before are its due, once the journal has them
        self.leaving.push(connection);
    }

    /// Sends the answers.
    fn flush(&mut self) {
        let mut broken = Vec::new();
        for (token, connection) in &mut self.connections {
            if let Err(error) = connection.flush() {
                broken.push((*token, Closed::Io(error)));
            }
        }
        for (token, reason) in broken {
            self.close(token, Some(&reason));
        }
        for mut connection in self.leaving.drain(..) {
            let gone = connection.flush();
            let gone = gone.and_then(|()| self.poll.registry().deregister(connection.stream()));
            if let Err(error) = gone {
                tracing::debug!(peer = %connection.peer, %error, "a client did not wait");
            }
        }
    }
}
