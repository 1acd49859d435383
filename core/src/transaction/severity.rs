//! What an error of the client means for the transaction.

use std::fmt;

/// How bad an error is, and so what to do. Worker code matches on this, never on text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// Nothing was decided: the same call again, with the same arguments, until a deadline.
    Retry,
    /// The transaction can't commit: abort it, roll every task back, begin anew.
    Abort,
    /// Superseded by a newer producer or group member, or the producer is unusable: rebuild
    /// producer and tasks from committed data. Not a reason to exit.
    Fenced,
    /// Nothing that retrying or rebuilding mends, e.g. missing rights or a bad configuration: stop
    /// with an error.
    Fatal,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Retry => "retry",
            Self::Abort => "abort",
            Self::Fenced => "fenced",
            Self::Fatal => "fatal",
        })
    }
}
