//! Sagas: one outcome across several services.
//!
//! ```text
//!   requests --> orchestrator --> commands --> participants (each with a database of its own)
//!                  ^   |                             |
//!                  |   +--> outcomes                 |
//!                  +---------- replies <-------------+
//! ```
//!
//! # What is guaranteed
//! Every saga that was requested ends as exactly one of *completed* (all steps are done),
//! *compensated* (all that was done is undone) or *stuck* (something that has to be done was not,
//! however often it was tried: an operator decides, by [`Reply::by_operator`]).
//!
//! Where a saga stands, the commands that it sends and the offset of what made it do so are one
//! Kafka transaction: a crash anywhere leaves all of it or nothing. A command has the same id in
//! each attempt, and a participant does it once, whatever is repeated, late or out of order. What
//! may have been done is undone in reverse order; a step that was not answered may have been done.
//! After the *pivot* there is no way back, and steps are tried until they succeed.
//!
//! # What it costs
//! A round trip through two topics for each step, one commit interval of the orchestrator each way.
//! A participant remembers each command's answer.
//!
//! # What is not promised
//! Isolation: others see what a step did before the saga has ended. Have steps mark what they
//! change as pending (a *semantic lock*), reserve instead of taking, and put the step that is most
//! likely to fail first. Nor can a saga undo what has left the house: such a step is the pivot or
//! follows it. Deadlines are kept by the wall clock of whoever runs the orchestrator.
//!
//! # How to
//! Define it with [`Saga::define`], run it in a topology with [`OrchestrateSagas::saga`], and have
//! its commands done by a [`Participant`](participant::Participant) that keeps its state in stores,
//! or (feature `postgres`) by a `participant::PgParticipant`, whose state is in a database.

mod call;
mod deadline;
mod define;
mod error;
mod instance;
mod message;
mod metrics;
#[cfg(not(feature = "mutations"))]
mod mutation;
#[cfg(feature = "mutations")]
pub mod mutation;
mod orchestrator;
pub mod participant;
mod topology;
mod turn;

pub use call::{Call, Undo};
pub use define::{
    AfterPivot, BeforePivot, NeedsCompensation, NeedsRetry, Saga, SagaBuilder, Unfinished,
};
pub use error::SagaError;
pub use instance::{Instance, PossiblyDone, Waiting};
pub use message::{
    Answer, Command, Direction, Outcome, Reply, Status, Transition, What, command_id,
};
pub use metrics::Metrics;
pub use topology::{OrchestrateSagas, SagaStreams, SagaTopics};
