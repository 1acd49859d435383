//! Why a client has no numbers, and what to do then.

/// There are no numbers. None that was lost on the way is ever given out again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RevisionClientError {
    /// The address can't be one.
    #[error("the address of the revision service is no http://host:port: {0}")]
    Address(String),
    /// Nothing, or more than the client asks for at once.
    #[error("{count} revisions can't be asked for at once: 1 to {count_max} can")]
    Count {
        /// What was asked for.
        count: u32,
        /// What can be.
        count_max: u32,
    },
    /// The service does not answer, or asks to try later, and the time is over.
    #[error("the revision service at {address} gave out nothing in time: {why}")]
    Unavailable {
        /// The service.
        address: String,
        /// What happened last.
        why: String,
    },
    /// The service refuses: time does not heal it.
    #[error("the revision service at {address} refuses ({status}): {why}")]
    Refused {
        /// The service.
        address: String,
        /// Of its answer.
        status: u16,
        /// What it says.
        why: String,
    },
    /// Something answered that is no revision service.
    #[error("what {address} answers is not what a revision service says: {why}")]
    Malformed {
        /// The service.
        address: String,
        /// What is wrong.
        why: String,
    },
    /// The service gave out numbers that this client is beyond. Its database was set back.
    #[error(
        "the revision service at {address} went back: it gave out {first} after {last}; see \
         whether its database was restored from a backup, and adopt the counter above that"
    )]
    WentBack {
        /// The service.
        address: String,
        /// What it gave out.
        first: i64,
        /// What it gave out before.
        last: i64,
    },
    /// The runtime in which the client was made is gone.
    #[error("the client of the revision service has ended with its runtime")]
    Ended,
}
