//! A plan of what goes wrong: at which call, and how.
//!
//! Both doors ask the plan about each request and do as it says. A plan is either scripted, rule by
//! rule, or drawn from a seed. It is a value like the engine: time is passed in, and the same plan
//! asked about the same calls decides the same.
//!
//! ```
//! use tidemill_broker::fault::{Action, Api, Faults};
//!
//! let faults = Faults::plan()
//!     .on(Api::EndTxn).nth(2).then(Action::DropReply)
//!     .on(Api::Produce).topic("orders").one_in(50).then(Action::ResetAfter);
//! assert_eq!(faults.unfired().len(), 2);
//! ```
//!
//! Each rule counts the calls that it matched and those where it fired, so that a fault that never
//! happened is seen ([`Faults::unfired`]).

mod builder;
mod decision;
mod plan;
mod random;
mod refuse;
mod rule;
mod seeded;
mod subject;
#[cfg(test)]
mod tests;
mod text;

pub use builder::RuleBuilder;
pub use decision::{Decision, Fate, Hook};
pub use kafka_protocol::ResponseError;
pub use kafka_protocol::messages::ApiKey as Api;
pub use plan::{Faults, Fired};
pub use random::Random;
pub use refuse::refuse;
pub use rule::{Action, Rule, When};
pub use seeded::Intensity;
pub use text::RuleError;
