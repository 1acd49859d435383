//! The types of option values, and how each is read from and printed as text.
//!
//! A refusal says what was expected and never repeats what was given: the given text may be a
//! secret in the wrong place.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// What was expected instead.
pub(crate) type Rejected = &'static str;

/// A type that an option can have.
pub(crate) trait OptionValue: Sized {
    /// The form of its text, for the documentation.
    const KIND: &'static str;
    /// Reads it.
    fn parse(text: &str) -> Result<Self, Rejected>;
    /// Prints it so that `parse` reads the same value; `None` for a value that is not set.
    fn print(&self) -> Option<String>;
}

/// A number of bytes. Text is a plain number, or one with `KiB`, `MiB` or `GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// `n` KiB.
    #[must_use]
    pub const fn kib(n: u64) -> Self {
        Self(n * 1024)
    }

    /// `n` MiB.
    #[must_use]
    pub const fn mib(n: u64) -> Self {
        Self(n * 1024 * 1024)
    }

    /// The number of bytes.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The number of bytes, for sizes in memory (saturates where pointers are smaller).
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0)
    }
}

/// What one transaction covers (`processing.guarantee`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProcessingGuarantee {
    /// Each record's effects happen once: one transaction a commit (KIP-447).
    ExactlyOnceV2,
    /// Records may be processed again after a failure; no transactions.
    AtLeastOnce,
}

/// What the built-in exception handlers do with a record that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExceptionPolicy {
    /// Stop the worker with the error; the record is taken again after a restart.
    Fail,
    /// Log and leave the record out.
    Continue,
    /// Write the record to `errors.dead.letter.queue.topic.name` and go on (KIP-1034).
    DeadLetterQueue,
}

/// How long a task waits for the partition that has nothing buffered before it takes records of
/// the others (`max.task.idle.ms`, KIP-353 and KIP-695).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MaxTaskIdle {
    /// `-1`: never; records of different partitions may be taken out of timestamp order.
    Never,
    /// `0`: until what the broker already has was fetched.
    UntilFetched,
    /// More than 0: that, and then so long for records that were not yet written.
    For(Duration),
}

/// Implements `OptionValue` for an enum whose values are words.
macro_rules! words {
    ($ty:ident, $kind:literal, $($word:literal => $variant:ident),+) => {
        impl OptionValue for $ty {
            const KIND: &'static str = $kind;

            fn parse(text: &str) -> Result<Self, Rejected> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(concat!("it must be one of ", $kind)),
                }
            }

            fn print(&self) -> Option<String> {
                Some(match self { $(Self::$variant => $word,)+ }.to_owned())
            }
        }

        impl fmt::Display for $ty {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $word,)+ })
            }
        }
    };
}

words!(ProcessingGuarantee, "exactly_once_v2, at_least_once",
    "exactly_once_v2" => ExactlyOnceV2, "at_least_once" => AtLeastOnce);
words!(ExceptionPolicy, "fail, continue, dead-letter-queue",
    "fail" => Fail, "continue" => Continue, "dead-letter-queue" => DeadLetterQueue);

/// Implements `OptionValue` for a whole number.
macro_rules! numbers {
    ($($ty:ty),+) => {$(
        impl OptionValue for $ty {
            const KIND: &'static str = "whole number";

            fn parse(text: &str) -> Result<Self, Rejected> {
                text.parse().map_err(|_| "it must be a whole number in range")
            }

            fn print(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
    )+};
}

numbers!(i16, usize);

impl OptionValue for Option<usize> {
    const KIND: &'static str = "whole number";

    fn parse(text: &str) -> Result<Self, Rejected> {
        usize::parse(text).map(Some)
    }

    fn print(&self) -> Option<String> {
        self.map(|n| n.to_string())
    }
}

impl OptionValue for bool {
    const KIND: &'static str = "true, false";

    fn parse(text: &str) -> Result<Self, Rejected> {
        text.parse().map_err(|_| "it must be true or false")
    }

    fn print(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl OptionValue for String {
    const KIND: &'static str = "text";

    fn parse(text: &str) -> Result<Self, Rejected> {
        if text.contains('\0') { Err("it must not hold a NUL byte") } else { Ok(text.to_owned()) }
    }

    fn print(&self) -> Option<String> {
        (!self.is_empty()).then(|| self.clone())
    }
}

impl OptionValue for Option<String> {
    const KIND: &'static str = "text";

    fn parse(text: &str) -> Result<Self, Rejected> {
        String::parse(text).map(|text| (!text.is_empty()).then_some(text))
    }

    fn print(&self) -> Option<String> {
        self.clone()
    }
}

impl OptionValue for PathBuf {
    const KIND: &'static str = "path";

    fn parse(text: &str) -> Result<Self, Rejected> {
        String::parse(text).map(Self::from)
    }

    fn print(&self) -> Option<String> {
        Some(self.to_string_lossy().into_owned())
    }
}

impl OptionValue for Duration {
    const KIND: &'static str = "milliseconds";

    fn parse(text: &str) -> Result<Self, Rejected> {
        text.parse()
            .map(Self::from_millis)
            .map_err(|_| "it must be a whole number of milliseconds, 0 or more")
    }

    fn print(&self) -> Option<String> {
        Some(self.as_millis().to_string())
    }
}

impl OptionValue for Option<Duration> {
    const KIND: &'static str = "milliseconds";

    fn parse(text: &str) -> Result<Self, Rejected> {
        Duration::parse(text).map(Some)
    }

    fn print(&self) -> Option<String> {
        self.as_ref().and_then(Duration::print)
    }
}

impl OptionValue for MaxTaskIdle {
    const KIND: &'static str = "milliseconds, or -1";

    fn parse(text: &str) -> Result<Self, Rejected> {
        match text {
            "-1" => Ok(Self::Never),
            "0" => Ok(Self::UntilFetched),
            _ => Duration::parse(text)
                .map(|wait| if wait.is_zero() { Self::UntilFetched } else { Self::For(wait) })
                .map_err(|_| "it must be a whole number of milliseconds, or -1"),
        }
    }

    fn print(&self) -> Option<String> {
        match self {
            Self::Never => Some("-1".to_owned()),
            Self::UntilFetched => Some("0".to_owned()),
            Self::For(wait) => wait.print(),
        }
    }
}

impl OptionValue for ByteSize {
    const KIND: &'static str = "bytes (`KiB`, `MiB`, `GiB` allowed)";

    fn parse(text: &str) -> Result<Self, Rejected> {
        const WANTED: Rejected = "it must be a whole number of bytes, or one with KiB, MiB or GiB";
        let (digits, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
            None => (text, 1),
            Some(at) => {
                let unit = match text[at..].trim() {
                    "KiB" => 1 << 10,
                    "MiB" => 1 << 20,
                    "GiB" => 1 << 30,
                    _ => return Err(WANTED),
                };
                (&text[..at], unit)
            }
        };
        let number: u64 = digits.parse().map_err(|_| WANTED)?;
        number.checked_mul(unit).map(Self).ok_or(WANTED)
    }

    fn print(&self) -> Option<String> {
        Some(self.0.to_string())
    }
}
