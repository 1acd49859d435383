//! Names for operators.

/// The name of an operator (`Named.as` of Kafka Streams), for `named(..)` of a stream or table. A
/// plain string does as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named(String);

impl Named {
    /// Makes a name. It is checked when the topology is built.
    pub fn as_(name: impl Into<String>) -> Self {
        Self(name.into())
    }
}

impl From<&str> for Named {
    fn from(name: &str) -> Self {
        Self::as_(name)
    }
}

impl From<String> for Named {
    fn from(name: String) -> Self {
        Self(name)
    }
}

impl Named {
    pub(super) fn into_string(self) -> String {
        self.0
    }
}
