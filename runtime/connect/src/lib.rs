//! Databases beside Kafka, without dual writes.
//!
//! A service that changes its database and tells the world in a second step will one day do only
//! one of the two. Each module here is one cure, and each is exactly once by the rules that its
//! page states:
//!
//! * [`source`]: the one loop that takes changes from anywhere into Kafka, each once;
//! * [`outbox`]: events staged in the transaction that they tell of, published by a relay;
//! * [`cdc`]: the changes of the business tables themselves, from PostgreSQL's log;
//! * [`listen`]: the event first, the own tables from the log;
//! * [`sink`]: from topics into tables, offsets in the data's own transaction;
//! * [`inbox`]: events remembered by their id, so that each has its effect once;
//! * [`revision`]: revisions from a counter of the row, or from a service;
//! * [`event_sourcing`]: events as the truth, state as their fold;
//! * [`saga`]: several services, one outcome.
//!
//! What needs PostgreSQL is behind the feature `postgres`, logical replication behind
//! `postgres-cdc`. `testing` has the throw-away servers that tests and example programs start.

#![forbid(unsafe_code)]

#[cfg(feature = "postgres-cdc")]
pub mod cdc;
pub mod event_sourcing;
#[cfg(feature = "postgres")]
pub mod inbox;
pub mod listen;
#[cfg(feature = "postgres")]
pub mod outbox;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "postgres")]
pub mod revision;
pub mod saga;
pub mod sink;
pub mod source;
#[cfg(feature = "testing")]
pub mod testing;
