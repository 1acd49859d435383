//! Versions of streams, and which one an append expects.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which event of its stream, from 1; of a stream, how many events it has.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Version(pub i64);

impl Version {
    /// A stream without an event.
    pub const NONE: Self = Self(0);

    /// Returns the version after this one.
    ///
    /// # Panics
    /// After 2^63 - 1 events.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("a stream has fewer than 2^63 events"))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What must be true of a stream for an append to happen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpectedVersion {
    /// Anything: the decision is made on whatever state there is.
    #[default]
    Any,
    /// The stream has no event yet.
    NoStream,
    /// The stream has an event.
    StreamExists,
    /// The stream is at this version: nothing happened since it was read.
    Exact(Version),
}

impl ExpectedVersion {
    /// Returns true if a stream at this version is what was expected.
    #[must_use]
    pub fn accepts(self, actual: Version) -> bool {
        match self {
            Self::Any => true,
            Self::NoStream => actual == Version::NONE,
            Self::StreamExists => actual > Version::NONE,
            Self::Exact(version) => actual == version,
        }
    }
}

impl fmt::Display for ExpectedVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any version"),
            Self::NoStream => f.write_str("no event"),
            Self::StreamExists => f.write_str("at least one event"),
            Self::Exact(version) => write!(f, "version {version}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expectation_is_about_the_version_the_stream_has() {
        let accepted = |expected: ExpectedVersion| -> Vec<i64> {
            (0..4).filter(|version| expected.accepts(Version(*version))).collect()
        };
        assert_eq!(accepted(ExpectedVersion::Any), [0, 1, 2, 3]);
        assert_eq!(accepted(ExpectedVersion::NoStream), [0]);
        assert_eq!(accepted(ExpectedVersion::StreamExists), [1, 2, 3]);
        assert_eq!(accepted(ExpectedVersion::Exact(Version(2))), [2]);
    }
}
