//! Guards that can be taken out, one at a time, to prove that the simulation would notice.
//!
//! Compiled with the feature `mutations` only, which nothing but the simulation's own tests turn
//! on; without it every question is answered "no" when the program is compiled.

/// A guard of the commit protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "mutations"),
    expect(dead_code, unreachable_pub, reason = "nobody takes a guard out")
)]
pub enum Guard {
    /// Group metadata are sent with the offsets, so that a zombie's commit is refused (INV-7).
    GroupMetadata,
    /// A restore goes to the high watermark, not to the last stable offset (INV-4).
    RestoreToHighWatermark,
    /// What an aborted transaction wrote is dropped (INV-2, INV-5).
    DropOverlay,
    /// After an abort the inputs are read again from the committed offsets (INV-5).
    Rewind,
    /// After a doubtful end of a transaction the producer is replaced (INV-6).
    ReplaceProducer,
    /// The broker refuses records whose sequence number is not the next. A guard of the engine.
    SequenceCheck,
}

#[cfg(feature = "mutations")]
pub(crate) use switch::{remove, removed};

/// Whether a guard is taken out: never.
#[cfg(not(feature = "mutations"))]
#[inline(always)]
pub(crate) const fn removed(_: Guard) -> bool {
    false
}

#[cfg(feature = "mutations")]
mod switch {
    use std::cell::Cell;

    use super::Guard;

    thread_local! {
        static REMOVED: Cell<Option<Guard>> = const { Cell::new(None) };
    }

    /// Takes a guard out in this thread, or puts all back.
    pub(crate) fn remove(guard: Option<Guard>) {
        REMOVED.set(guard);
        tidemill_broker::mutation::check_sequences(guard != Some(Guard::SequenceCheck));
    }

    /// Whether a guard is taken out.
    pub(crate) fn removed(guard: Guard) -> bool {
        REMOVED.get() == Some(guard)
    }
}
