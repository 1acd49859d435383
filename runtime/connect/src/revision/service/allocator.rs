//! Gives out numbers: one task, one statement for all requests that wait at the same time.

use std::time::Duration;

use tidemill::failpoint;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use super::ledger::Ledger;
use super::{RevisionServiceConfig, RevisionServiceError};

/// Requests that share a statement at most.
const TOGETHER_MAX: usize = 1_024;
/// Between two tries of a statement that failed for a reason that time heals.
const PAUSE: Duration = Duration::from_millis(50);

/// First and last of the numbers, or why there are none: text, and whether to try again.
pub(super) type Answer = Result<(i64, i64), (String, bool)>;

/// A request for numbers.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) count: u32,
    pub(super) answer: oneshot::Sender<Answer>,
}

#[derive(Debug)]
pub(super) struct Allocator {
    ledger: Ledger,
    block: i64,
    patience: Duration,
    /// The last number that was given out, and the last that may be.
    last: i64,
    end: i64,
}

impl Allocator {
    pub(super) fn new(ledger: Ledger, config: &RevisionServiceConfig) -> Self {
        let (block, patience) = (i64::from(config.block), config.timeout);
        Self { ledger, block, patience, last: 0, end: 0 }
    }

    /// Answers until nobody can ask any more.
    pub(super) async fn run(mut self, mut asked: mpsc::Receiver<Asked>) {
        let mut waiting = Vec::new();
        while asked.recv_many(&mut waiting, TOGETHER_MAX).await > 0 {
            // whoever gave up needs no numbers
            waiting.retain(|asked| !asked.answer.is_closed());
            let count: i64 = waiting.iter().map(|asked| i64::from(asked.count)).sum();
            let outcome = self.reserve(count).await;
            if let Err(error) = &outcome {
                tracing::warn!(error = error.in_a_line(), "no revisions were given out");
            }
            for Asked { count, answer } in waiting.drain(..) {
                let granted = match &outcome {
                    Ok(()) => Ok(self.grant(i64::from(count))),
                    Err(error) => Err((error.in_a_line(), error.is_retriable())),
                };
                // who went away meanwhile leaves a gap
                let _ = answer.send(granted);
            }
        }
    }

    fn grant(&mut self, count: i64) -> (i64, i64) {
        let first = self.last + 1;
        self.last += count;
        assert!(self.last <= self.end, "{} is above {}, which is committed", self.last, self.end);
        (first, self.last)
    }

    /// Sees to it that `count` numbers can be given out. What is left of an older block is dropped
    /// if it does not suffice.
    async fn reserve(&mut self, count: i64) -> Result<(), RevisionServiceError> {
        if count <= self.end - self.last {
            return Ok(());
        }
        let taken = count.max(self.block);
        let deadline = Instant::now() + self.patience;
        failpoint::pass("RS1");
        let end = loop {
            // a try that failed may have moved the counter: the next one moves it again
            match self.ledger.take(taken).await {
                Err(error) if error.is_retriable() && Instant::now() + PAUSE < deadline => {
                    tracing::debug!(error = error.in_a_line(), "trying again");
                    sleep(PAUSE).await;
                }
                outcome => break outcome?,
            }
        };
        failpoint::pass("RS2");
        (self.last, self.end) = (end - taken, end);
        Ok(())
    }
}
