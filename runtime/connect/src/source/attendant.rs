//! The source at work on a runtime of its own, asked and answered by messages, so that it reads on
//! while Kafka is waited for.

use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

use super::{
    BatchLimits, RelayError, SourceBatch, SourceError, SourceRecord, Stop, TransactionalSource,
};

/// How often the request to stop is looked at while the source is waited for.
const LOOK: Duration = Duration::from_millis(50);

enum Ask<P> {
    Open(Option<P>),
    Poll(BatchLimits),
    Committed(P),
    Rejected(Box<SourceRecord>, String),
}

enum Answer<P> {
    Opened(Result<Option<P>, SourceError>),
    Polled(Result<Option<SourceBatch<P>>, SourceError>),
    Committed(Result<(), SourceError>),
    Rejected(Result<(), SourceError>),
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// Stop was requested.
    Stopped,
    /// The source failed.
    Failed(SourceError),
}

impl From<SourceError> for NoAnswer {
    fn from(error: SourceError) -> Self {
        Self::Failed(error)
    }
}

/// Asks the source on behalf of the loop. Of each question at most one is under way, which is what
/// bounds the channels.
pub(super) struct Attendant<S: TransactionalSource> {
    asks: mpsc::UnboundedSender<Ask<S::Position>>,
    answers: Receiver<Answer<S::Position>>,
    stop: Stop,
    /// A poll is asked for and not answered.
    polling: bool,
    /// A commit is told and not answered.
    telling: bool,
    /// The newest commit that the source was not told of, because it is busy with an earlier one.
    untold: Option<S::Position>,
    /// What the source said about a commit that it was told of.
    failed: Option<SourceError>,
    /// Drives the source and its connections.
    runtime: Option<Runtime>,
}

impl<S: TransactionalSource> Attendant<S> {
    pub(super) fn new(relay: &str, source: S, stop: Stop) -> Result<Self, RelayError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name(format!("source-{relay}"))
            .enable_all()
            .build()
            .map_err(|cause| RelayError::Resources { relay: relay.into(), cause: cause.into() })?;
        let (asks, asked) = mpsc::unbounded_channel();
        let (answer, answers) = channel();
        runtime.spawn(attend(source, asked, answer));
        Ok(Self {
            asks,
            answers,
            stop,
            polling: false,
            telling: false,
            untold: None,
            failed: None,
            runtime: Some(runtime),
        })
    }

    /// Opens the source, whatever it was doing before.
    pub(super) fn open(
        &mut self,
        committed: Option<S::Position>,
    ) -> Result<Option<S::Position>, NoAnswer> {
        self.untold = None;
        self.ask(Ask::Open(committed))?;
        loop {
            if let Answer::Opened(opened) = self.answer()? {
                self.failed = None;
                return Ok(opened?);
            }
        }
    }

    /// Has the source read on while something else is done.
    pub(super) fn begin_poll(&mut self, limits: BatchLimits) -> Result<(), NoAnswer> {
        if !self.polling {
            self.ask(Ask::Poll(limits))?;
            self.polling = true;
        }
        Ok(())
    }

    /// Returns what the source has, from a poll that was begun or from one that begins now.
    pub(super) fn poll(
        &mut self,
        limits: BatchLimits,
    ) -> Result<Option<SourceBatch<S::Position>>, NoAnswer> {
        self.tell()?;
        self.begin_poll(limits)?;
        loop {
            if let Answer::Polled(polled) = self.answer()? {
                let polled = polled?;
                return self.failed.take().map_or(Ok(polled), |error| Err(error.into()));
            }
        }
    }

    /// Tells the source of a commit. What it answers comes out of a later poll.
    pub(super) fn committed(&mut self, position: S::Position) -> Result<(), NoAnswer> {
        self.untold = Some(position);
        self.tell()
    }

    fn tell(&mut self) -> Result<(), NoAnswer> {
        if self.telling {
            return Ok(());
        }
        if let Some(position) = self.untold.take() {
            self.ask(Ask::Committed(position))?;
            self.telling = true;
        }
        Ok(())
    }

    /// Has the source put a record aside that can't be sent. It has to be opened again afterwards.
    pub(super) fn rejected(&mut self, record: SourceRecord, why: String) -> Result<(), NoAnswer> {
        self.ask(Ask::Rejected(Box::new(record), why))?;
        loop {
            if let Answer::Rejected(outcome) = self.answer()? {
                return Ok(outcome?);
            }
        }
    }

    fn ask(&self, ask: Ask<S::Position>) -> Result<(), NoAnswer> {
        self.asks.send(ask).map_err(|_| ended())
    }

    fn answer(&mut self) -> Result<Answer<S::Position>, NoAnswer> {
        let answer = loop {
            match self.answers.recv_timeout(LOOK) {
                Ok(answer) => break answer,
                Err(RecvTimeoutError::Timeout) if self.stop.is_requested() => {
                    return Err(NoAnswer::Stopped);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(ended()),
            }
        };
        match answer {
            Answer::Polled(polled) => {
                self.polling = false;
                Ok(Answer::Polled(polled))
            }
            Answer::Committed(told) => {
                self.telling = false;
                self.failed = told.err().or(self.failed.take());
                self.tell()?;
                Ok(Answer::Committed(Ok(())))
            }
            other => Ok(other),
        }
    }
}

impl<S: TransactionalSource> Drop for Attendant<S> {
    fn drop(&mut self) {
        // may be dropped on a thread that must not block
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl<S: TransactionalSource> fmt::Debug for Attendant<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attendant").field("polling", &self.polling).finish_non_exhaustive()
    }
}

fn ended() -> NoAnswer {
    NoAnswer::Failed(SourceError::Failed("the source ended by a panic, see the log".into()))
}

/// The source's side: one question after the other, until nobody asks any more.
async fn attend<S: TransactionalSource>(
    mut source: S,
    mut asked: mpsc::UnboundedReceiver<Ask<S::Position>>,
    answers: Sender<Answer<S::Position>>,
) {
    while let Some(ask) = asked.recv().await {
        let answer = match ask {
            Ask::Open(committed) => Answer::Opened(source.open(committed.as_ref()).await),
            Ask::Poll(limits) => Answer::Polled(source.poll(&limits).await),
            Ask::Committed(position) => Answer::Committed(source.committed(&position).await),
            Ask::Rejected(record, why) => Answer::Rejected(source.rejected(&record, &why).await),
        };
        if answers.send(answer).is_err() {
            return;
        }
    }
}
