//! Commands on their way to a decider, and the answers.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{ExpectedVersion, Recorded, Version};

/// A command: the value of the records of a commands topic, as JSON; the key is the stream's id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Command<C> {
    /// Names the attempt. Whoever sends again because no answer came, sends the same id; a new
    /// attempt after an answer is a new command with a new id.
    pub id: Uuid,
    /// Where the stream must be.
    #[serde(default)]
    pub expected: ExpectedVersion,
    /// What is wanted.
    pub command: C,
}

impl<C> Command<C> {
    /// A command that takes the stream as it is.
    pub fn new(id: Uuid, command: C) -> Self {
        Self { id, expected: ExpectedVersion::Any, command }
    }

    /// Is carried out only if the stream is there.
    #[must_use]
    pub fn expecting(mut self, expected: ExpectedVersion) -> Self {
        self.expected = expected;
        self
    }
}

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reply<E, R> {
    /// Which command.
    pub command_id: Uuid,
    /// True if the command was answered before, and this is the answer of then.
    pub repeated: bool,
    /// What became of it.
    pub outcome: Outcome<E, R>,
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome<E, R> {
    /// It was carried out.
    Accepted {
        /// What happened. May be empty.
        events: Vec<Recorded<E>>,
        /// Where the stream was afterwards.
        version: Version,
    },
    /// The decider said no.
    Rejected {
        /// Why.
        rejection: R,
        /// On what the decision was made.
        version: Version,
    },
    /// The stream was not where the command expected it. Nothing was decided, and nothing is
    /// remembered: read the stream again, and send the command with what it is now expected to be.
    Conflict {
        /// What the command said.
        expected: ExpectedVersion,
        /// Where the stream is.
        actual: Version,
    },
    /// The id belongs to another command of this stream, which was answered before. Nothing was
    /// decided.
    IdTaken,
}
