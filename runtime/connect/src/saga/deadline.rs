//! What is due when: a store whose keys are in the order of time, and a timer on its first entry.

use std::time::Duration;

use tidemill::BoxError;
use tidemill::processor::{ProcessorContext, Punctuation, PunctuationHandle, PunctuationType};
use tidemill::serdes::{Encoded, Serde, SerdeError, StringSerde, string};
use tidemill::store::KeyValueStore;
use tidemill::topology::{StoreBuilder, key_value_store};

/// Entries that one punctuation takes; the rest is for the next one.
const BATCH: usize = 256;

/// An instant, in milliseconds since the Unix epoch, and whom it concerns.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Deadline {
    pub(super) at: i64,
    pub(super) whom: String,
}

/// Big-endian with the sign turned, then the text: byte order is the order of time.
#[derive(Debug, Clone, Copy)]
pub(super) struct DeadlineSerde;

impl Serde<Deadline> for DeadlineSerde {
    fn serialize(
        &self,
        _: &str,
        value: &Deadline,
        out: &mut Vec<u8>,
    ) -> Result<Encoded, SerdeError> {
        out.extend_from_slice(&(value.at.cast_unsigned() ^ (1 << 63)).to_be_bytes());
        out.extend_from_slice(value.whom.as_bytes());
        Ok(Encoded::Bytes)
    }

    fn deserialize(&self, _: &str, bytes: Option<&[u8]>) -> Result<Deadline, SerdeError> {
        let bytes = bytes.ok_or(SerdeError::Null("a deadline"))?;
        let Some((at, whom)) = bytes.split_first_chunk::<8>() else {
            return Err(SerdeError::Length { what: "a deadline", expected: 8, found: bytes.len() });
        };
        let at = (u64::from_be_bytes(*at) ^ (1 << 63)).cast_signed();
        let whom = std::str::from_utf8(whom).map_err(SerdeError::format)?.to_owned();
        Ok(Deadline { at, whom })
    }
}

type Store = KeyValueStore<Deadline, String>;

/// Declares the store.
pub(super) fn store(name: String) -> StoreBuilder<Deadline, String> {
    let nothing: StringSerde = string();
    key_value_store(name, DeadlineSerde, nothing)
}

/// The deadlines of a task.
pub(super) struct Deadlines {
    store: Store,
    /// No deadline is earlier; `None` if there is none at all.
    earliest: Option<i64>,
    /// The punctuation that is scheduled, and for when.
    armed: Option<(PunctuationHandle, i64)>,
}

impl Deadlines {
    /// Takes the store and looks what is in it.
    pub(super) fn open<K, V>(
        context: &mut ProcessorContext<'_, '_, K, V>,
        store: &str,
    ) -> Result<Self, BoxError> {
        let store: Store = context.key_value_store(store)?;
        let mut deadlines = Self { store, earliest: None, armed: None };
        deadlines.earliest = deadlines.first()?;
        deadlines.arm(context);
        Ok(deadlines)
    }

    fn first(&self) -> Result<Option<i64>, BoxError> {
        Ok(self.store.all()?.next().transpose()?.map(|(deadline, _)| deadline.at))
    }

    /// Replaces one deadline by another.
    pub(super) fn replace(
        &mut self,
        whom: &str,
        before: Option<i64>,
        after: Option<i64>,
    ) -> Result<(), BoxError> {
        if before == after {
            return Ok(());
        }
        if let Some(at) = before {
            self.store.delete(&Deadline { at, whom: whom.to_owned() })?;
        }
        if let Some(at) = after {
            // an empty text, which is not null: null would delete the entry
            self.store.put(&Deadline { at, whom: whom.to_owned() }, String::new())?;
            self.earliest = Some(self.earliest.map_or(at, |earliest| earliest.min(at)));
        }
        Ok(())
    }

    /// Returns what is due, a bounded number of entries.
    pub(super) fn due(&self, punctuation: Punctuation) -> Result<Vec<Deadline>, BoxError> {
        let after = Deadline { at: punctuation.timestamp.0.saturating_add(1), whom: String::new() };
        let due = self.store.range(..after)?.take(BATCH);
        due.map(|entry| Ok(entry?.0)).collect()
    }

    /// Drops an entry that belongs to nobody.
    pub(super) fn forget(&self, deadline: &Deadline) -> Result<(), BoxError> {
        self.store.delete(deadline)?;
        Ok(())
    }

    /// Looks again what comes first, after [`Deadlines::due`].
    pub(super) fn look(&mut self) -> Result<(), BoxError> {
        self.earliest = self.first()?;
        Ok(())
    }

    /// Has the processor called when the first entry is due. Without entries there are no calls,
    /// and so no commits for nothing.
    pub(super) fn arm<K, V>(&mut self, context: &mut ProcessorContext<'_, '_, K, V>) {
        let now = context.current_system_time().0;
        let at = self.earliest.map(|at| at.max(now.saturating_add(1)));
        match (self.armed, at) {
            // one for a later time would come too late, one for an earlier does no harm
            (Some((_, armed)), Some(at)) if armed <= at && armed > now => return,
            (Some((handle, _)), _) => context.cancel(handle),
            (None, _) => {}
        }
        self.armed = at.map(|at| {
            let wait = Duration::from_millis(at.saturating_sub(now).unsigned_abs());
            (context.schedule(wait, PunctuationType::WallClockTime), at)
        });
    }
}
