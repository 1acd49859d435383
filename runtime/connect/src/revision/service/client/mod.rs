//! The client: what is asked for at the same time goes in one request.

mod config;
mod error;
mod requests;

use std::ops::RangeInclusive;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

pub use config::RevisionClientConfig;
pub use error::RevisionClientError;

use crate::revision::RevisionSource;
use requests::{Asked, Requests};

/// Callers that wait at most; others are told so at once.
const CALLERS_MAX: usize = 10_000;

/// Asks a revision service. Clones share one connection and one queue.
///
/// Numbers are asked for when a caller wants them, never in advance, so they are larger than all
/// that anybody was given before the call. Callers that come while a request is under way share the
/// next one. A request without an answer is repeated, and what it would have brought is a gap.
#[derive(Debug, Clone)]
pub struct RevisionClient {
    asking: mpsc::Sender<Asked>,
    address: String,
    count_max: u32,
    timeout: Duration,
}

impl RevisionClient {
    /// Makes a client; it connects when it is asked. Needs a tokio runtime that goes on running.
    ///
    /// # Errors
    /// If the address is none.
    pub fn new(config: &RevisionClientConfig) -> Result<Self, RevisionClientError> {
        let (asking, asked) = mpsc::channel(CALLERS_MAX);
        let requests = Requests::new(config)?;
        let address = requests.address.clone();
        tokio::spawn(requests.run(asked));
        let (count_max, timeout) = (config.count_max, config.timeout);
        Ok(Self { asking, address, count_max, timeout })
    }

    /// Returns `count` numbers that follow each other.
    ///
    /// # Errors
    /// See [`RevisionClientError`].
    pub async fn next_revisions(
        &self,
        count: u32,
    ) -> Result<RangeInclusive<i64>, RevisionClientError> {
        let count_max = self.count_max;
        if count == 0 || count > count_max {
            return Err(RevisionClientError::Count { count, count_max });
        }
        let late = |why: &str| {
            let (address, why) = (self.address.clone(), why.to_owned());
            RevisionClientError::Unavailable { address, why }
        };
        let (answer, answered) = oneshot::channel();
        self.asking.try_send(Asked { count, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => late("too many callers wait"),
            mpsc::error::TrySendError::Closed(_) => RevisionClientError::Ended,
        })?;
        // the requests have a timeout too, and say more
        let deadline = Instant::now() + self.timeout + Duration::from_millis(100);
        let answered = timeout_at(deadline, answered).await;
        let answered = answered.map_err(|_| late("the requests before take too long"))?;
        let (first, last) = answered.map_err(|_| RevisionClientError::Ended)??;
        Ok(first..=last)
    }
}

impl RevisionSource for RevisionClient {
    type Error = RevisionClientError;

    async fn next_revision(&self) -> Result<i64, RevisionClientError> {
        Ok(*self.next_revisions(1).await?.start())
    }
}
