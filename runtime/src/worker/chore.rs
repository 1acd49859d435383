//! What workers leave to the housekeeping thread.

use std::sync::{Arc, mpsc};

use tidemill_core::record::{Offset, TopicPartition};

use crate::client::Waker;

/// What the housekeeping thread is asked for.
#[derive(Debug)]
pub(crate) enum Chore {
    /// Delete the records of repartition topics below these offsets: they are committed as read.
    Purge(Vec<(TopicPartition, Offset)>),
    /// End.
    Stop,
}

/// The way to the housekeeping thread.
#[derive(Debug, Clone)]
pub(crate) struct Chores {
    sender: mpsc::Sender<Chore>,
    waker: Arc<Waker>,
}

impl Chores {
    /// Returns the way there and, for the thread, what arrives.
    pub(crate) fn new() -> (Self, ChoresToDo) {
        let (sender, receiver) = mpsc::channel();
        let waker = Arc::new(Waker::default());
        (Self { sender, waker: Arc::clone(&waker) }, ChoresToDo { receiver, waker })
    }

    /// Asks for something. The thread ends before the workers only when the process does; nothing
    /// depends on it then.
    pub(crate) fn send(&self, chore: Chore) {
        let _ = self.sender.send(chore);
        self.waker.wake();
    }
}

/// What the housekeeping thread has of it.
#[derive(Debug)]
pub(crate) struct ChoresToDo {
    receiver: mpsc::Receiver<Chore>,
    waker: Arc<Waker>,
}

impl ChoresToDo {
    /// Takes the next one that is there.
    pub(crate) fn take(&self) -> Option<Chore> {
        match self.receiver.try_recv() {
            Ok(chore) => Some(chore),
            Err(mpsc::TryRecvError::Empty) => None,
            // nobody is left who could ask
            Err(mpsc::TryRecvError::Disconnected) => Some(Chore::Stop),
        }
    }

    /// Is raised when there may be one.
    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }
}
