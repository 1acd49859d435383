//! The answers of the past, so that a command that comes again is answered and not carried out.
//!
//! Two entries for each answer: under the command's id the answer, under its number the id, so that
//! the oldest can be forgotten.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidemill::BoxError;
use tidemill::store::KeyValueStore;
use uuid::Uuid;

use super::stored::StoredStream;
use crate::event_sourcing::decider::Data;
use crate::event_sourcing::{
    EventEnvelope, EventType, Fingerprint, Outcome, Recorded, Upcasters, Version,
};

/// At most so many answers are forgotten for one that is added: a window that was made smaller is
/// emptied little by little.
const FORGOTTEN_AT_ONCE: u32 = 8;

/// What the store of answers holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Entry {
    /// Under a number: the id of the command that was answered then.
    Command(Uuid),
    /// Under an id: what was answered.
    Answer { command: Fingerprint, answer: Answer },
}

/// An answer, with its events as they are stored in the topic: they may become old.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Accepted { events: Vec<EventEnvelope>, version: Version },
    Rejected { rejection: Value, version: Version },
}

impl Answer {
    fn read<E: Data + EventType, R: Data>(
        self,
        upcasters: &Upcasters,
    ) -> Result<Outcome<E, R>, BoxError> {
        match self {
            Self::Accepted { events, version } => {
                let events = events.into_iter().map(|event| upcasters.read(event));
                let events = events.collect::<Result<Vec<Recorded<E>>, _>>()?;
                Ok(Outcome::Accepted { events, version })
            }
            Self::Rejected { rejection, version } => {
                let rejection = serde_json::from_value(rejection)?;
                Ok(Outcome::Rejected { rejection, version })
            }
        }
    }
}

/// The store, with what it takes to use it.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) store: KeyValueStore<String, Entry>,
    pub(super) remembered: u32,
}

impl Answers {
    /// Returns the answer to a command that was answered before.
    pub(super) fn find<E: Data + EventType, R: Data>(
        &self,
        stream: &str,
        (id, command): (Uuid, Fingerprint),
        upcasters: &Upcasters,
    ) -> Result<Option<Outcome<E, R>>, BoxError> {
        match self.store.get(&by_id(id, stream))? {
            None | Some(Entry::Command(_)) => Ok(None),
            Some(Entry::Answer { command: before, .. }) if before != command => {
                Ok(Some(Outcome::IdTaken))
            }
            Some(Entry::Answer { answer, .. }) => answer.read(upcasters).map(Some),
        }
    }

    /// Remembers an answer, and forgets what is beyond the window.
    pub(super) fn remember<S>(
        &self,
        stream: &str,
        stored: &mut StoredStream<S>,
        (id, command): (Uuid, Fingerprint),
        answer: Answer,
    ) -> Result<(), BoxError> {
        if self.remembered > 0 {
            self.store.put(&by_id(id, stream), Entry::Answer { command, answer })?;
            self.store.put(&by_number(stored.next_answer, stream), Entry::Command(id))?;
            stored.next_answer += 1;
        }
        for _ in 0..FORGOTTEN_AT_ONCE {
            if stored.next_answer - stored.first_answer <= u64::from(self.remembered) {
                break;
            }
            let number = by_number(stored.first_answer, stream);
            if let Some(Entry::Command(old)) = self.store.delete(&number)? {
                self.store.delete(&by_id(old, stream))?;
            }
            stored.first_answer += 1;
        }
        Ok(())
    }
}

/// Ids and numbers have a fixed length, so no stream's name can make two keys equal.
fn by_id(id: Uuid, stream: &str) -> String {
    format!("i/{id}/{stream}")
}

fn by_number(number: u64, stream: &str) -> String {
    format!("n/{number:020}/{stream}")
}
