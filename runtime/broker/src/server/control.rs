//! Faults by request of another process: a line in, lines out.
//!
//! ```text
//! fault add api=EndTxn nth=2 then=drop-reply
//! fault seed 42 normal        a plan drawn from a seed, in place of all rules
//! fault list                  each rule with how many calls it matched and how often it fired
//! fault fired                 the faults that happened, the oldest first
//! fault clear                 no rules any more
//! ```
//!
//! The answer ends with a line `ok` or `error: REASON`. Plain lines, so that a shell can speak it
//! and nothing has to be linked for it. The port is off by default and on loopback.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Token};
use thiserror::Error;

use super::run::Loop;
use crate::fault::{Faults, Intensity, Rule};

/// A line is no longer, in bytes.
const LINE_MAX: usize = 4096;

/// How long [`ask`] waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a control port did not do what it was asked.
#[derive(Debug, Error)]
pub enum AskError {
    /// It can't be reached.
    #[error("can't talk to the control port {address}: does a broker run with --control?")]
    Io {
        /// Where it should be.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// It does not do that.
    #[error("the broker refused: {0}")]
    Refused(String),
}

/// Says one line to the control port of a running broker and returns the lines of the answer.
///
/// # Errors
/// [`AskError`] when the port can't be reached, or refuses.
pub fn ask(address: SocketAddr, line: &str) -> Result<Vec<String>, AskError> {
    let talk = || -> io::Result<String> {
        let mut stream = std::net::TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(format!("{}\n", line.replace('\n', " ")).as_bytes())?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = talk().map_err(|source| AskError::Io { address, source })?;
    let mut lines: Vec<String> = answer.lines().map(str::to_owned).collect();
    match lines.pop() {
        Some(last) if last == "ok" => Ok(lines),
        Some(last) => Err(AskError::Refused(last.trim_start_matches("error: ").to_owned())),
        None => Err(AskError::Refused("it closed the connection".to_owned())),
    }
}

/// The control port and who is connected to it.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) listener: TcpListener,
    sessions: BTreeMap<usize, Session>,
}

#[derive(Debug)]
struct Session {
    stream: TcpStream,
    peer: SocketAddr,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
}

impl Control {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener, sessions: BTreeMap::new() }
    }
}

impl Loop {
    pub(super) fn accept_control(&mut self) {
        let Some(control) = &mut self.control else { return };
        while let Ok((mut stream, peer)) = control.listener.accept() {
            let token = self.next_token;
            self.next_token += 1;
            let both = Interest::READABLE | Interest::WRITABLE;
            match self.poll.registry().register(&mut stream, Token(token), both) {
                Ok(()) => {
                    let session = Session { stream, peer, inbox: Vec::new(), outbox: Vec::new() };
                    control.sessions.insert(token, session);
                }
                Err(error) => tracing::warn!(%peer, %error, "a control connection was refused"),
            }
        }
    }

    pub(super) fn serve_control(&mut self, token: usize) {
        let Some(control) = &mut self.control else { return };
        let Some(session) = control.sessions.get_mut(&token) else { return };
        // who has closed its side after its last line still gets the answer
        let more = session.read(&mut self.faults);
        if !(session.flush() && more) {
            control.sessions.remove(&token);
        }
    }
}

impl Session {
    /// Answers the whole lines that are there; false when the session is over.
    fn read(&mut self, faults: &mut Faults) -> bool {
        let mut buffer = [0; LINE_MAX];
        let mut open = true;
        while open {
            match self.stream.read(&mut buffer) {
                Ok(0) => open = false,
                Ok(read) => self.inbox.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => open = false,
            }
            while let Some(end) = self.inbox.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.inbox.drain(..=end).collect();
                let answer = obey(faults, &String::from_utf8_lossy(&line));
                self.outbox.extend_from_slice(answer.as_bytes());
            }
            if self.inbox.len() > LINE_MAX {
                tracing::warn!(peer = %self.peer, "a control line is too long");
                open = false;
            }
        }
        open
    }

    fn flush(&mut self) -> bool {
        while !self.outbox.is_empty() {
            match self.stream.write(&self.outbox) {
                Ok(sent) => drop(self.outbox.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }
}

/// Does what a line says and returns the answer.
fn obey(faults: &mut Faults, line: &str) -> String {
    match command(faults, line.trim()) {
        Ok(answer) => answer + "ok\n",
        Err(reason) => format!("error: {reason}\n"),
    }
}

fn command(faults: &mut Faults, line: &str) -> Result<String, String> {
    let Some(rest) = line.strip_prefix("fault ") else {
        return Err(format!("'{line}' is not a command: fault add|seed|list|fired|clear are"));
    };
    let (verb, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let mut answer = String::new();
    match verb {
        "add" => faults.add(rest.parse::<Rule>().map_err(|error| error.to_string())?),
        "seed" => *faults = seeded(rest)?,
        "clear" => faults.clear(),
        "list" => {
            for (rule, matched, fired) in faults.rules() {
                // writing to a string can't fail
                let _done = writeln!(answer, "{rule} matched={matched} fired={fired}");
            }
        }
        "fired" => {
            for fired in faults.fired() {
                let api = fired.api.map_or_else(|| "?".to_owned(), |api| format!("{api:?}"));
                let (at, connection) = (fired.at, fired.connection);
                let (rule, action) = (fired.rule, fired.action);
                let _done = writeln!(
                    answer,
                    "at={at} rule={rule} api={api} connection={connection} then={action}"
                );
            }
        }
        _ => return Err(format!("'{verb}' is not one of add, seed, list, fired, clear")),
    }
    Ok(answer)
}

fn seeded(text: &str) -> Result<Faults, String> {
    let (seed, intensity) = text.trim().split_once(' ').unwrap_or((text.trim(), "normal"));
    let seed = seed.parse().map_err(|_| format!("'{seed}' is not a seed: a number is"))?;
    let intensity = match intensity.trim() {
        "rare" => Intensity::Rare,
        "normal" => Intensity::Normal,
        "fierce" => Intensity::Fierce,
        other => return Err(format!("'{other}' is not one of rare, normal, fierce")),
    };
    Ok(Faults::seeded(seed, intensity))
}
