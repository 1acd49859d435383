//! The commands of a step: where they go, what they say, how patient the saga is with them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tidemill::BoxError;

type Payload<D> = Arc<dyn Fn(&D) -> Result<Value, BoxError> + Send + Sync>;
type KeyOf<D> = Arc<dyn Fn(&D) -> String + Send + Sync>;
type OnReply<D> = Arc<dyn Fn(&mut D, &Value) -> Result<(), BoxError> + Send + Sync>;

/// How long to wait for an answer, and how often to ask.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) timeout: Duration,
    pub(super) attempts: Attempts,
    pub(super) pause: Duration,
    pub(super) pause_max: Duration,
}

/// How often a command is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempts {
    /// As the step's kind suggests.
    Default,
    AtMost(u32),
    Forever,
}

impl Patience {
    const fn new() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            attempts: Attempts::Default,
            pause: Duration::from_secs(1),
            pause_max: Duration::from_secs(60),
        }
    }

    pub(super) fn check(&self) -> Result<(), &'static str> {
        if self.attempts == Attempts::AtMost(0) {
            return Err("a command is tried at least once");
        }
        if self.timeout < Duration::from_millis(1) {
            return Err("a time-out is at least a millisecond");
        }
        if self.pause > self.pause_max {
            return Err("the first pause is longer than the longest");
        }
        Ok(())
    }

    /// The pause after the n-th attempt, from 1: doubled each time, up to the longest.
    pub(super) fn pause_after(&self, attempt: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(attempt.saturating_sub(1));
        self.pause.saturating_mul(doubled).min(self.pause_max)
    }

    pub(super) fn is_over_after(&self, attempt: u32) -> bool {
        matches!(self.attempts, Attempts::AtMost(most) if attempt >= most)
    }

    pub(super) fn or_default(mut self, attempts: Attempts) -> Self {
        if self.attempts == Attempts::Default {
            self.attempts = attempts;
        }
        self
    }
}

macro_rules! patience_of {
    ($($field:ident).+) => {
        /// Sets how long to wait for a reply. Default: 30 s.
        #[must_use]
        pub fn timeout(mut self, timeout: Duration) -> Self {
            self.$($field).+.timeout = timeout;
            self
        }

        /// Sets the pause before the second attempt, doubled before each further one up to `max`.
        /// Default: 1 s, up to 60 s.
        #[must_use]
        pub fn back_off(mut self, first: Duration, max: Duration) -> Self {
            self.$($field).+.pause = first;
            self.$($field).+.pause_max = max;
            self
        }

        /// Sets how often it is tried.
        #[must_use]
        pub fn attempts(mut self, attempts: u32) -> Self {
            self.$($field).+.attempts = Attempts::AtMost(attempts);
            self
        }

        /// Tries until it is answered.
        #[must_use]
        pub fn forever(mut self) -> Self {
            self.$($field).+.attempts = Attempts::Forever;
            self
        }
    };
}

/// What does a step: a command for a participant.
///
/// Tried 3 times unless told otherwise, a pivot and what follows it for ever.
pub struct Call<D> {
    pub(super) forward: Forward<D>,
}

pub(super) struct Forward<D> {
    pub(super) topic: Arc<str>,
    pub(super) key: Option<KeyOf<D>>,
    pub(super) payload: Payload<D>,
    pub(super) on_reply: Option<OnReply<D>>,
    pub(super) patience: Patience,
}

impl<D> fmt::Debug for Call<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("topic", &self.forward.topic).finish_non_exhaustive()
    }
}

impl<D: 'static> Call<D> {
    /// A command with this payload for the participant that reads `topic`.
    pub fn to<P: Serialize>(
        topic: &str,
        payload: impl Fn(&D) -> P + Send + Sync + 'static,
    ) -> Self {
        let forward = Forward {
            topic: topic.into(),
            key: None,
            payload: Arc::new(move |data| Ok(serde_json::to_value(payload(data))?)),
            on_reply: None,
            patience: Patience::new(),
        };
        Self { forward }
    }

    /// Sets the record's key, and so the partition: for participants that keep what they know in
    /// stores. Default: the saga's id.
    #[must_use]
    pub fn keyed_by(mut self, key: impl Fn(&D) -> String + Send + Sync + 'static) -> Self {
        self.forward.key = Some(Arc::new(key));
        self
    }

    /// Takes over into the data what the participant said. A reply that can't be taken over fails
    /// the saga, and the step counts as done.
    #[must_use]
    pub fn on_reply<R: DeserializeOwned>(
        mut self,
        take: impl Fn(&mut D, R) -> Result<(), BoxError> + Send + Sync + 'static,
    ) -> Self {
        self.forward.on_reply =
            Some(Arc::new(move |data, value| take(data, R::deserialize(value)?)));
        self
    }
}

impl<D> Call<D> {
    patience_of!(forward.patience);

    pub(super) fn or_default(mut self, attempts: Attempts) -> Self {
        self.forward.patience = self.forward.patience.or_default(attempts);
        self
    }
}

/// What undoes a step: a command for the participant that did it. Tried 10 times unless told
/// otherwise; then the saga is stuck.
pub struct Undo<D> {
    pub(super) payload: Payload<D>,
    pub(super) patience: Patience,
}

impl<D> fmt::Debug for Undo<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Undo").finish_non_exhaustive()
    }
}

impl<D: 'static> Undo<D> {
    /// A command with this payload. What the step replied may not have come: the participant finds
    /// what it did by the saga and the step, or by the id of the command that is undone.
    pub fn with<P: Serialize>(payload: impl Fn(&D) -> P + Send + Sync + 'static) -> Self {
        let payload: Payload<D> = Arc::new(move |data| Ok(serde_json::to_value(payload(data))?));
        Self { payload, patience: Patience::new() }
    }
}

impl<D> Undo<D> {
    patience_of!(patience);

    pub(super) fn or_default(mut self, attempts: Attempts) -> Self {
        self.patience = self.patience.or_default(attempts);
        self
    }
}
