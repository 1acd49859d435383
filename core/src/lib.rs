//! The deterministic heart of Tidemill: no Kafka, no RocksDB, no clock, no thread, no I/O.
//!
//! In the order of a record's path:
//!
//! * [`record`]: what flows;
//! * [`serdes`]: between values and bytes;
//! * [`window`]: spans of time, and keys in them;
//! * [`topology`]: how processors are connected;
//! * [`dsl`]: the same, in terms of streams and tables;
//! * [`processor`]: what user code sees;
//! * [`store`]: what a task remembers;
//! * [`revision`]: which of two events is the newer one;
//! * [`task`]: one sub-topology on one partition;
//! * [`transaction`]: the commit protocol;
//! * [`errors`]: what happens to bad records;
//! * [`driver`]: a whole topology without a broker, for tests.
#![forbid(unsafe_code)]

pub mod driver;
pub mod dsl;
pub mod errors;
pub mod processor;
pub mod record;
pub mod revision;
pub mod serdes;
pub mod store;
pub mod task;
pub mod topology;
pub mod transaction;
pub mod window;

pub use errors::BoxError;
