//! The source at work on a runtime of its own, asked and answered by messages, so that it reads on
//! while Kafka is waited for.

use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

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

/// Asks the source on behalf of the loop. Of each question at most one is under way, of polls as
/// many batches as are read ahead, which is what bounds the channels.
pub(super) struct Attendant<S: TransactionalSource> {
    asks: mpsc::UnboundedSender<Ask<S::Position>>,
    answers: Receiver<Answer<S::Position>>,
    stop: Stop,
    /// Polls that are asked for and not answered.
    polls: usize,
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
            polls: 0,
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

    /// Has the source read on while something else is done, so many batches at most.
    pub(super) fn read_ahead(
        &mut self,
        limits: BatchLimits,
        batches: usize,
    ) -> Result<(), NoAnswer> {
        while self.polls < batches {
            self.ask(Ask::Poll(limits))?;
            self.polls += 1;
        }
        Ok(())
    }

    /// Returns what the source has, from a poll that was begun or from one that begins now.
    pub(super) fn poll(
        &mut self,
        limits: BatchLimits,
    ) -> Result<Option<SourceBatch<S::Position>>, NoAnswer> {
        self.tell()?;
        self.read_ahead(limits, 1)?;
        loop {
            if let Answer::Polled(polled) = self.answer()? {
                return self.polled(polled);
            }
        }
    }

    /// Returns what a poll that was begun has found, or `None` if it is not known by then, or there
    /// is none.
    pub(super) fn poll_until(
        &mut self,
        deadline: Instant,
    ) -> Result<Option<SourceBatch<S::Position>>, NoAnswer> {
        self.tell()?;
        while self.polls > 0 {
            match self.answer_until(Some(deadline))? {
                None => return Ok(None),
                Some(Answer::Polled(polled)) => return self.polled(polled),
                Some(_) => {}
            }
        }
        Ok(None)
    }

    fn polled(
        &mut self,
        polled: Result<Option<SourceBatch<S::Position>>, SourceError>,
    ) -> Result<Option<SourceBatch<S::Position>>, NoAnswer> {
        let polled = polled?;
        self.failed.take().map_or(Ok(polled), |error| Err(error.into()))
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
        loop {
            if let Some(answer) = self.answer_until(None)? {
                return Ok(answer);
            }
        }
    }

    /// Returns the next answer, or `None` at the deadline if there is one.
    fn answer_until(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<Option<Answer<S::Position>>, NoAnswer> {
        let answer = loop {
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            match self.answers.recv_timeout(left.map_or(LOOK, |left| left.min(LOOK))) {
                Ok(answer) => break answer,
                Err(RecvTimeoutError::Timeout) if self.stop.is_requested() => {
                    return Err(NoAnswer::Stopped);
                }
                Err(RecvTimeoutError::Timeout) if left.is_some_and(|left| left.is_zero()) => {
                    return Ok(None);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(ended()),
            }
        };
        match answer {
            Answer::Polled(polled) => {
                self.polls = self.polls.saturating_sub(1);
                Ok(Some(Answer::Polled(polled)))
            }
            Answer::Committed(told) => {
                self.telling = false;
                self.failed = told.err().or(self.failed.take());
                self.tell()?;
                Ok(Some(Answer::Committed(Ok(()))))
            }
            other => Ok(Some(other)),
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
        f.debug_struct("Attendant").field("polls", &self.polls).finish_non_exhaustive()
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
