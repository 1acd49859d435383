//! What is stored of a saga.

use serde::{Deserialize, Serialize};

use super::message::{Direction, Status};

/// The layout below; a store with another one is refused by name, not misread.
pub(super) const VERSION: u8 = 1;

/// One saga as its store and the topic of states have it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Instance<D> {
    pub(super) version: u8,
    /// Where it stands.
    pub status: Status,
    /// The step whose command is on its way, or was the last one.
    pub step: String,
    /// Whether the command does or undoes the step.
    pub direction: Direction,
    /// The attempt, from 1.
    pub attempt: u32,
    /// What it waits for.
    pub waiting: Waiting,
    /// When something happens without a reply: the command is sent again, the saga gives up, or its
    /// end is forgotten. Milliseconds since the Unix epoch.
    pub due: Option<i64>,
    /// The record key of the command.
    pub key: String,
    /// What may have been done and can be undone, in the order of the steps.
    pub possibly_done: Vec<PossiblyDone>,
    /// How many changes there were.
    pub transitions: u64,
    /// The step that did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_step: Option<String>,
    /// Why it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it began, in milliseconds since the Unix epoch.
    pub started_at: i64,
    /// What it knows.
    pub data: D,
}

/// What a saga waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Waiting {
    /// A reply.
    Reply,
    /// The time to try again.
    Pause,
    /// Nothing: it ended.
    Nothing,
}

/// A step whose command was sent, and was not refused for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PossiblyDone {
    /// Its name.
    pub step: String,
    /// The record key of its command, and of the one that undoes it.
    pub key: String,
}
