//! What a participant does with a command, by what it remembers. Shared by all kinds of memory.

use serde::{Deserialize, Serialize};

use crate::saga::message::{Answer, Command, Direction};
use crate::saga::mutation::{Guard, removed};

/// What is remembered of a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    /// What is answered when it comes again. `None`: it was undone, or must not be done any more.
    pub(crate) answer: Option<Answer>,
    /// Until when, in milliseconds since the Unix epoch.
    pub(crate) until: i64,
}

/// What to do with a command.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Plan {
    /// Have it done, and remember the answer unless it is a refusal that is not final.
    Do,
    /// Say this, and change nothing.
    Repeat(Answer),
    /// There is nothing to undo: see to it that there never will be.
    Bury,
}

/// Decides by the answers to this command and, of a compensation, to the command that it undoes.
/// The inner `None` is a tombstone.
pub(crate) fn plan(
    direction: Direction,
    own: Option<Option<Answer>>,
    undone: Option<Option<Answer>>,
) -> Plan {
    match (direction, own, undone) {
        (_, Some(Some(answer)), _) if !removed(Guard::Inbox) => Plan::Repeat(answer),
        (Direction::Forward, Some(None), _) if !removed(Guard::CompensatedBefore) => {
            Plan::Repeat(Answer::refused("it was compensated before"))
        }
        (Direction::Compensation, _, Some(Some(Answer::Done(_)))) | (Direction::Forward, ..) => {
            Plan::Do
        }
        (Direction::Compensation, ..) if removed(Guard::EmptyRollback) => Plan::Do,
        (Direction::Compensation, ..) => Plan::Bury,
    }
}

/// Whether the answer is given again to the same command, or the command is done again.
pub(crate) fn is_remembered(command: &Command, answer: &Answer) -> bool {
    command.refusal_is_final || matches!(answer, Answer::Done(_))
}
