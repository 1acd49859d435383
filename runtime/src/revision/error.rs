//! Why there is no next revision, and what to do then.

use std::io;
use std::path::{Path, PathBuf};

use tidemill_core::revision::NextRevisionError;

/// A revision can't be made. None was given out, and the generator can be asked again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RevisionGeneratorError {
    /// The clock is wrong, or the node's number is.
    #[error(transparent)]
    Next(#[from] NextRevisionError),
    /// Another generator has the directory. Two of them would make the same revisions.
    #[error("the mark of revisions in {} is in use: stop the process that has it", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The file is damaged. What was given out is not known any more.
    #[error(
        "the mark of revisions {} can't be read: {reason}; restore it, or remove it if no revision \
         was given out within the last minute",
        path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A later release wrote the file.
    #[error(
        "the mark of revisions {} has format {found}, this release knows {known}: use the release \
         that wrote it",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest format that is known.
        known: u64,
    },
    /// The file is that of another node, or of a generator without one.
    #[error(
        "the mark of revisions {} is that of {found}, not of {wanted}: give each generator a \
         directory of its own",
        path.display()
    )]
    OtherNode {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Who asks.
        wanted: String,
    },
    /// The file or its directory can't be read or written.
    #[error("could not {operation} {}: {cause}", path.display())]
    Io {
        /// What was being done, e.g. `write`.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        cause: io::Error,
    },
}

impl RevisionGeneratorError {
    pub(super) fn io(operation: &'static str, path: &Path) -> impl Fn(io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self::Io { operation, path: path.clone(), cause }
    }
}
