//! What an orchestrator and its participants say to each other, and what it tells the world. All of
//! it is JSON in the topics.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidemill::BoxError;
use uuid::Uuid;

/// The namespace of all command ids: drawn once, part of the format.
const NAMESPACE: Uuid = Uuid::from_u128(0x5f0a_3c6e_9d1b_4b7e_8a44_2f6d_70c1_95b3);

/// Whether a command does a step or undoes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Does the step.
    Forward,
    /// Undoes it.
    Compensation,
}

impl Direction {
    /// Returns the word that stands for it in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Compensation => "compensation",
        }
    }
}

/// Returns the id of a step's command: the same one for each attempt, whoever computes it.
#[must_use]
pub fn command_id(saga: &str, saga_id: &str, step: &str, direction: Direction) -> Uuid {
    let mut name = Vec::new();
    for part in [saga, saga_id, step, direction.as_str()] {
        // with their lengths, so that no two lists of parts give the same bytes
        name.extend_from_slice(&(part.len() as u64).to_be_bytes());
        name.extend_from_slice(part.as_bytes());
    }
    Uuid::new_v5(&NAMESPACE, &name)
}

/// What a participant is asked to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// Of this step, saga and direction; the same in each attempt.
    pub command_id: Uuid,
    /// The saga's name.
    pub saga: String,
    /// Which saga of that name.
    pub saga_id: String,
    /// The step's name.
    pub step: String,
    /// Whether to do or to undo.
    pub direction: Direction,
    /// Counted from 1. A reply carries the attempt that it answers.
    pub attempt: u32,
    /// Of a compensation: the command that it undoes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensates: Option<Uuid>,
    /// Whether a refusal ends the step for good, so that it is remembered. Otherwise the command
    /// comes again after a refusal.
    pub refusal_is_final: bool,
    /// The topic that waits for the reply.
    pub reply_to: String,
    /// What the step's definition made of the saga's data.
    pub payload: Value,
}

impl Command {
    /// Reads the payload.
    ///
    /// # Errors
    /// If it is of another shape.
    pub fn payload<P: DeserializeOwned>(&self) -> Result<P, BoxError> {
        P::deserialize(&self.payload).map_err(|error| {
            let (step, id) = (&self.step, &self.saga_id);
            format!("payload of step {step} of saga {id}: {error}").into()
        })
    }

    /// Returns the reply with this answer.
    #[must_use]
    pub fn reply(&self, answer: Answer) -> Reply {
        Reply {
            command_id: self.command_id,
            saga: self.saga.clone(),
            saga_id: self.saga_id.clone(),
            step: self.step.clone(),
            direction: self.direction,
            attempt: self.attempt,
            by_operator: false,
            answer,
        }
    }
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It was done, now or before.
    Done(Value),
    /// It was not done, and nothing of it is left. Not for a failure that time heals: then there is
    /// no answer, and the command comes again.
    Refused(String),
}

impl Answer {
    /// It was done, and there is nothing to tell.
    #[must_use]
    pub fn done() -> Self {
        Self::Done(Value::Null)
    }

    /// It was done, and this is told to the saga.
    ///
    /// # Errors
    /// If the value is no JSON.
    pub fn done_with(value: impl Serialize) -> Result<Self, BoxError> {
        Ok(Self::Done(serde_json::to_value(value)?))
    }

    /// It was not done, for this reason.
    pub fn refused(reason: impl Into<String>) -> Self {
        Self::Refused(reason.into())
    }
}

/// A participant's answer on its way to the orchestrator. Its key is the saga's id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// Of the command.
    pub command_id: Uuid,
    /// The saga's name.
    pub saga: String,
    /// Which saga of that name.
    pub saga_id: String,
    /// The step's name.
    pub step: String,
    /// Of the command.
    pub direction: Direction,
    /// Which attempt is answered.
    pub attempt: u32,
    /// An operator says so: the only reply that moves a saga that is stuck.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_operator: bool,
    /// What became of it.
    pub answer: Answer,
}

impl Reply {
    /// What an operator says about a saga that is stuck, by the last of its transitions: `Done` if
    /// the open command was done by hand, `Refused` to have it sent once more.
    #[must_use]
    pub fn by_operator(stuck: &Transition, answer: Answer) -> Self {
        let Transition { saga, saga_id, step, direction, attempt, .. } = stuck.clone();
        let command_id = command_id(&saga, &saga_id, &step, direction);
        Self { command_id, saga, saga_id, step, direction, attempt, by_operator: true, answer }
    }
}

/// Where a saga stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Its steps are being done.
    Running,
    /// Its steps are being undone.
    Compensating,
    /// All steps are done. An end.
    Completed,
    /// What was done is undone. An end.
    Compensated,
    /// Something that has to be done was refused, or not answered, too often. An end, unless an
    /// operator settles what is open.
    Stuck,
}

impl Status {
    /// Whether nothing more happens by itself.
    #[must_use]
    pub fn is_end(self) -> bool {
        matches!(self, Self::Completed | Self::Compensated | Self::Stuck)
    }
}

/// How a saga ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome<D> {
    /// The saga's name.
    pub saga: String,
    /// Which saga of that name.
    pub saga_id: String,
    /// How it ended.
    pub status: Status,
    /// The step that did not succeed, if one did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_step: Option<String>,
    /// Why it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The data as the replies left it.
    pub data: D,
}

/// One change of a saga.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    /// The saga's name.
    pub saga: String,
    /// Which saga of that name.
    pub saga_id: String,
    /// Counted from 1, without gaps: the changes of a saga in their order.
    pub number: u64,
    /// What happened.
    pub what: What,
    /// Where the saga stands since.
    pub status: Status,
    /// The step that it is about.
    pub step: String,
    /// Whether it is about doing or undoing it.
    pub direction: Direction,
    /// The attempt, from 1.
    pub attempt: u32,
    /// Why, if there is something to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What happened to a saga.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A command was sent.
    Sent,
    /// The step is done.
    Done,
    /// The participant refused.
    Refused,
    /// No reply came in time.
    TimedOut,
    /// The saga ended.
    Ended,
}
