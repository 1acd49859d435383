//! Listen to yourself: the event first, the own tables from the log.
//!
//! Other names are *self-read* and *own event consumption*. A service does not write to its tables
//! when it is asked to do something: it emits the event, answers, and applies the event from the
//! topic, like everybody else who reads it. So there is one write, not two, and nothing to agree
//! on.
//!
//! # What is promised
//!
//! * Once [`Emitter::emit`] returned a receipt, the event is durable (`acks=all`), and every
//!   consumer, the emitting service included, comes to see it.
//! * A [`SelfRead`] consumer makes the effect of an event **exactly once**. What Kafka delivers
//!   again is told by the offset, moved in the transaction of the effect; what a *client* sends
//!   again lies at another offset and is told by the **event id**, remembered in the
//!   [`inbox`](crate::inbox) in the same transaction. Both are needed.
//! * All events of one key are applied in the order in which they were emitted. The key is the
//!   event's own ([`Event::key`]), so that no two places of a program can choose different ones.
//!
//! # What it costs
//!
//! The tables lag behind the answer by one way through the log (milliseconds), and one row of the
//! inbox for each event. Who must see his own write waits for it:
//! [`AppliedPositions::applied_up_to`](crate::sink::postgres::AppliedPositions::applied_up_to) with
//! the receipt.
//!
//! # What is not promised
//!
//! * Reading one's own writes, unless one waits as above.
//! * That what was valid when the event was emitted is valid when it is applied: see below.
//! * If `emit` fails, the event may be in the log all the same. Send it again **with the same id**.
//!
//! # Request or fact
//!
//! What may still be refused is no fact. Emit a *request* (`OrderRequested`); the own consumer, one
//! for each key, decides when it applies it, and in the same transaction stages the fact
//! (`OrderPlaced` or `OrderRejected`) in the [`outbox`](../outbox/index.html). An event that is
//! a fact is applied whatever the tables say; a handler that returns an error stops the partition.
//!
//! | fault | outcome |
//! |---|---|
//! | client or service killed before or after the emit; the client asks again | once (LY1) |
//! | one consumer down, the other up | both converge (LY2) |
//! | consumer killed after the commit of its database | not applied twice (LY3) |
//! | the same event at two offsets | applied once, counted as a duplicate (LY4) |
//! | an invariant broken when a request is applied | one rejection, no stuck partition (LY5) |
//! | two keys for one order | does not compile (LY6) |

mod emitter;
mod event;
mod producer;
#[cfg(feature = "postgres")]
mod self_read;

pub use emitter::{EmitError, Emitter, Receipt};
pub use event::Event;
#[cfg(feature = "postgres")]
pub use self_read::{EventHandler, SelfRead, SelfReadWriter};
