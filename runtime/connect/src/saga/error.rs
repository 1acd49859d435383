//! What can be wrong with a definition.

/// A definition that can't be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SagaError {
    /// There is nothing to do.
    #[error("saga {0} has no steps")]
    Empty(String),
    /// A name that can't be part of a topic's name.
    #[error("'{0}' is no legal name: use 1 to 100 of a-z, A-Z, 0-9, '.', '_' and '-'")]
    IllegalName(String),
    /// Two steps are called the same, and their commands would have the same id.
    #[error("saga {saga} has two steps called {step}: their commands could not be told apart")]
    DuplicateStep {
        /// The saga.
        saga: String,
        /// The name.
        step: String,
    },
    /// A setting that makes no sense.
    #[error("step {step} of saga {saga}: {what}")]
    Setting {
        /// The saga.
        saga: String,
        /// The step.
        step: String,
        /// What is wrong.
        what: &'static str,
    },
}

/// Names become parts of the names of stores, and these of topics.
pub(super) fn check_name(name: &str) -> Result<(), SagaError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if (1..=100).contains(&name.len()) && name.chars().all(legal) {
        return Ok(());
    }
    Err(SagaError::IllegalName(name.to_owned()))
}
