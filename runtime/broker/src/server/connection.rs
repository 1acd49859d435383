//! A client's connection: what came in and is not read yet, what is to go out.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

use bytes::{Buf, Bytes, BytesMut};
use mio::event::Event;
use mio::net::TcpStream;

use super::frame::{self, FrameError};
use crate::engine::Ticket;

/// A client that does not take its answers is not read from any more.
const UNSENT_BYTES_MAX: usize = 1024 * 1024;

/// A buffer that is kept for the next answer is no larger.
const KEPT_BYTES_MAX: usize = 256 * 1024;

/// What a connection does about the request that it read last. Like Apache Kafka, a connection has
/// one request at a time: the next one is looked at when the answer of the last one is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Reads the next request.
    Open,
    /// Waits for an answer of the engine.
    Waiting(Ticket),
    /// Waits for a time that a fault has set.
    Deferred,
    /// A fault has lost a request or an answer: nothing is heard of the broker any more.
    Mute,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) peer: SocketAddr,
    pub(super) state: State,
    stream: TcpStream,
    inbox: BytesMut,
    outbox: BytesMut,
    /// The system may have more bytes for us.
    readable: bool,
    /// Whether the system takes bytes: false until it says so again.
    writable: bool,
    /// The client has said its last; some of it may not be read yet.
    hung_up: bool,
    /// Everything was read and the client will send no more.
    ended: bool,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, peer: SocketAddr) -> Self {
        Self {
            peer,
            state: State::Open,
            stream,
            inbox: BytesMut::new(),
            outbox: BytesMut::new(),
            readable: true,
            writable: true,
            hung_up: false,
            ended: false,
        }
    }

    pub(super) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// What the client is shown as in a group, in Java's way of writing addresses.
    pub(super) fn host(&self) -> String {
        format!("/{}", self.peer.ip())
    }

    /// The system has something to read, or room, or the client's last bytes.
    pub(super) fn ready(&mut self, event: &Event) {
        self.readable |= event.is_readable() || event.is_error();
        self.writable |= event.is_writable();
        self.hung_up |= event.is_read_closed() || event.is_error();
    }

    /// Whether nobody waits for answers any more.
    pub(super) fn hung_up(&self) -> bool {
        self.hung_up
    }

    /// Whether a request may be taken from it now.
    pub(super) fn is_open(&self) -> bool {
        self.state == State::Open && self.outbox.len() < UNSENT_BYTES_MAX
    }

    /// Whether [`Connection::next`] may find something without waiting for the system.
    pub(super) fn has_work(&self) -> bool {
        self.is_open() && !self.ended && (self.readable || frame::is_whole(&self.inbox))
    }

    /// Whether the client is gone and nothing it said is left.
    pub(super) fn is_done(&self) -> bool {
        self.ended
    }

    /// Returns the next whole request that is there.
    pub(super) fn next(&mut self, scratch: &mut [u8]) -> Result<Option<Bytes>, Closed> {
        loop {
            if let Some(frame) = frame::cut(&mut self.inbox)? {
                return Ok(Some(frame));
            }
            if !self.readable {
                return Ok(None);
            }
            match self.stream.read(scratch) {
                Ok(0) => {
                    self.readable = false;
                    self.ended = true;
                    let whole = self.inbox.is_empty();
                    return if whole { Ok(None) } else { Err(Closed::Truncated) };
                }
                Ok(read) => self.inbox.extend_from_slice(&scratch[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Where answers are put, to be sent by the next [`Connection::flush`].
    pub(super) fn outbox(&mut self) -> &mut BytesMut {
        &mut self.outbox
    }

    /// Sends what the system takes.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.writable && !self.outbox.is_empty() {
            match self.stream.write(&self.outbox) {
                Ok(sent) => self.outbox.advance(sent),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.outbox.is_empty() && self.outbox.capacity() > KEPT_BYTES_MAX {
            // a large answer's memory is given back
            self.outbox = BytesMut::new();
        }
        Ok(())
    }
}

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum Closed {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the client closed it in the middle of a request")]
    Truncated,
    #[error("a request that is not served: {0}")]
    Refused(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}
