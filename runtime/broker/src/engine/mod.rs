//! The engine: requests in, answers out, no clock, no socket, no disk.
//!
//! Requests and answers are Kafka's own messages ([`RequestKind`], [`ResponseKind`]), so that both
//! doors speak the same language and the TCP door adds nothing but bytes.

use kafka_protocol::messages::{RequestKind, ResponseKind};

/// Milliseconds since the Unix epoch, of a clock that never goes back.
pub type Millis = i64;

/// One request with what the door knows of its sender.
#[derive(Debug, Clone)]
pub struct Call {
    /// Which connection: a door numbers them.
    pub connection: u64,
    /// `client.id` of the request's header.
    pub client_id: String,
    /// Where the client is, e.g. `/127.0.0.1`.
    pub client_host: String,
    /// Version of the request's schema; the answer is for the same one.
    pub version: i16,
    /// The request.
    pub request: RequestKind,
}

/// An answer that is not there yet: a fetch that waits for records, a join that waits for members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What became of a request.
#[derive(Debug, Clone)]
pub enum Handled {
    /// The answer. The journal is to be written before it is sent.
    Answer(Box<ResponseKind>),
    /// The answer will be among [`Engine::take_answers`].
    Waiting(Ticket),
    /// There is none (a produce request with `acks=0`).
    Silent,
}
