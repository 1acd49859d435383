//! Guards of sagas that can be taken out, one at a time, to prove that a test would notice.
//!
//! Compiled with the feature `mutations` only, which nothing but this crate's own tests turn on;
//! without it every question is answered "no" when the program is compiled.

/// A guard of the orchestrator or of participants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "mutations"),
    expect(unreachable_pub, reason = "public where guards can be taken out")
)]
pub enum Guard {
    /// A request with the id of a saga that is known starts nothing.
    SecondRequest,
    /// A reply counts if it is to the command that the saga waits for.
    ReplyIsAwaited,
    /// A saga that has ended, or is stuck, takes no reply of a participant.
    EndIsTheEnd,
    /// A refusal that is not final counts if it is of the present attempt.
    RefusalOfTheAttempt,
    /// A step that was given up without an answer is undone itself too.
    UndoTheUnanswered,
    /// A participant answers a command that comes again as before, and does nothing.
    Inbox,
    /// A command that comes after its compensation is refused.
    CompensatedBefore,
    /// Compensating what was never done does nothing.
    EmptyRollback,
    /// A compensation leaves a mark that the command must not be done any more.
    MarkOfCompensation,
}

#[cfg(feature = "mutations")]
impl Guard {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::SecondRequest,
        Self::ReplyIsAwaited,
        Self::EndIsTheEnd,
        Self::RefusalOfTheAttempt,
        Self::UndoTheUnanswered,
        Self::Inbox,
        Self::CompensatedBefore,
        Self::EmptyRollback,
        Self::MarkOfCompensation,
    ];
}

#[cfg(feature = "mutations")]
pub use switch::remove;
#[cfg(feature = "mutations")]
pub(super) use switch::removed;

/// Whether a guard is taken out: never.
#[cfg(not(feature = "mutations"))]
#[inline(always)]
pub(super) const fn removed(_: Guard) -> bool {
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
    pub fn remove(guard: Option<Guard>) {
        REMOVED.set(guard);
    }

    /// Whether a guard is taken out.
    pub(in crate::saga) fn removed(guard: Guard) -> bool {
        REMOVED.get() == Some(guard)
    }
}
