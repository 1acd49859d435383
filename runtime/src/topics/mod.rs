//! The topics of an application: which tasks they make, and that they are as they have to be.
//!
//! Internal topics (repartition, changelog) are created with Kafka Streams' names and settings. An
//! existing topic is never altered: if it does not fit, the application does not start.

mod create;
mod plan;
#[cfg(test)]
mod tests;

pub(crate) use create::{prepare, retrying};
pub(crate) use plan::Plan;
