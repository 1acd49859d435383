//! A mail server for this program alone: takes every mail on 127.0.0.1 and keeps it, refuses some
//! at first, and can let the sender wait for its answer while that is killed.

use std::io::{self, BufRead, BufReader, Error, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Longest line and longest mail.
const LINE_MAX: u64 = 2_000;
const MAIL_MAX: usize = 1 << 20;
const TIMEOUT: Duration = Duration::from_secs(60);
/// Each mail of that number is refused for the moment, as busy servers do.
const REFUSED_EACH: u32 = 23;

/// A mail that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mail {
    pub(crate) to: String,
    pub(crate) message_id: String,
    pub(crate) subject: String,
}

#[derive(Debug, Default)]
struct State {
    /// Connections.
    talking: u32,
    taken: Vec<Mail>,
    seen: u32,
    refused: u32,
    /// The next mail is taken, and its sender gets no answer.
    hold_next: bool,
    holding: bool,
}

/// The server. Its thread ends with the process.
#[derive(Debug, Clone)]
pub(crate) struct MailServer {
    address: SocketAddr,
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl MailServer {
    pub(crate) fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let server = Self { address: listener.local_addr()?, shared: Arc::default() };
        let accepting = server.clone();
        std::thread::Builder::new().name("smtp".into()).spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = accepting.clone();
                server.lock().talking += 1;
                std::thread::spawn(move || {
                    // a sender that is killed leaves its connection behind
                    let _ = server.talk(&stream);
                    server.lock().talking -= 1;
                });
            }
        })?;
        Ok(server)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn taken(&self) -> Vec<Mail> {
        self.lock().taken.clone()
    }

    /// How many mails were refused for the moment.
    pub(crate) fn refused(&self) -> u32 {
        self.lock().refused
    }

    /// Takes the next mail without an answer, and returns when that has happened.
    pub(crate) fn hold_next(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.hold_next = true;
        let waiting = |state: &mut State| !state.holding;
        let waited = self.shared.1.wait_timeout_while(state, TIMEOUT, waiting);
        let (mut state, late) = waited.unwrap_or_else(PoisonError::into_inner);
        if late.timed_out() {
            state.hold_next = false;
            return Err(Error::other("no mail came for a minute"));
        }
        Ok(())
    }

    /// Lets go of a connection that is held: it is closed.
    pub(crate) fn let_go(&self) {
        self.lock().holding = false;
        self.shared.1.notify_all();
    }

    /// Returns true if no connection is open.
    pub(crate) fn is_silent(&self) -> bool {
        self.lock().talking == 0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn talk(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(TIMEOUT))?;
        let (mut lines, mut answers) = (BufReader::new(stream), stream);
        let mut say = |text: &str| answers.write_all(format!("{text}\r\n").as_bytes());
        say("220 mail.example")?;
        let mut to = String::new();
        loop {
            let line = line(&mut lines)?;
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            match &*verb {
                "EHLO" | "HELO" => say("250 mail.example")?,
                "MAIL" | "RSET" | "NOOP" => say("250 OK")?,
                "RCPT" => {
                    to = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
                    say("250 OK")?;
                }
                "DATA" => {
                    say("354 end with a line that has a dot only")?;
                    let mail = mail(&mut lines, &to)?;
                    match self.take(mail)? {
                        true => say("250 taken")?,
                        false => say("451 try again later")?,
                    }
                }
                "QUIT" => return say("221 bye"),
                _ => say("502 not implemented")?,
            }
        }
    }

    /// Keeps a mail; false if it is refused for the moment.
    fn take(&self, mail: Mail) -> io::Result<bool> {
        let mut state = self.lock();
        state.seen += 1;
        if state.seen.is_multiple_of(REFUSED_EACH) {
            state.refused += 1;
            return Ok(false);
        }
        state.taken.push(mail);
        if std::mem::take(&mut state.hold_next) {
            state.holding = true;
            self.shared.1.notify_all();
            let held = |state: &mut State| state.holding;
            let waited = self.shared.1.wait_timeout_while(state, TIMEOUT, held);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
            return Err(Error::other("the sender gets no answer"));
        }
        Ok(true)
    }
}

fn line(lines: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    lines.by_ref().take(LINE_MAX).read_until(b'\n', &mut line)?;
    if !line.ends_with(b"\r\n") {
        return Err(Error::other("the line does not end"));
    }
    line.truncate(line.len() - 2);
    String::from_utf8(line).map_err(Error::other)
}

/// Reads a mail up to the line with the dot.
pub(crate) fn mail(lines: &mut impl BufRead, to: &str) -> io::Result<Mail> {
    let mut mail = Mail { to: to.to_owned(), message_id: String::new(), subject: String::new() };
    let (mut bytes, mut in_header) = (0, true);
    loop {
        let line = line(lines)?;
        if line == "." {
            return Ok(mail);
        }
        bytes += line.len();
        if bytes > MAIL_MAX {
            return Err(Error::other("the mail is too long"));
        }
        in_header &= !line.is_empty();
        match line.split_once(": ") {
            Some(("Message-ID", id)) if in_header => mail.message_id = id.to_owned(),
            Some(("Subject", subject)) if in_header => mail.subject = subject.to_owned(),
            _ => {}
        }
    }
}
