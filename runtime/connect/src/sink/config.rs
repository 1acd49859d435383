//! Options of a sink.

use std::time::Duration;

/// Where a sink begins with a topic that it never read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StartAt {
    /// With the first record that is still there.
    #[default]
    Earliest,
    /// With what is committed from now on.
    Latest,
}

/// What happens to a record that the target refuses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnPoison {
    /// The sink ends, with all records before it applied.
    #[default]
    Halt,
    /// It is put aside, in the transaction that moves the offset behind it.
    DeadLetter,
}

/// How much a sink does at once, and how long it waits for what.
#[derive(Debug, Clone)]
pub struct SinkOptions {
    /// Records of one transaction, at most.
    pub batch_records: usize,
    /// Bytes of one transaction; a single record may be larger. Twice that may be in memory, beside
    /// what the Kafka client fetched in advance (`queued.max.messages.kbytes`).
    pub batch_bytes: usize,
    /// Where to begin with a topic that was never read.
    pub start_at: StartAt,
    /// What happens to a record that the target refuses.
    pub on_poison: OnPoison,
    /// The first pause after something failed; it doubles up to `retry_max`.
    pub retry_first: Duration,
    /// The longest pause.
    pub retry_max: Duration,
    /// How often offsets are committed to the group, as a hint, and the topics' ids are looked at.
    pub housekeeping: Duration,
    /// How long to wait for an answer of the broker, and for topics that do not exist yet.
    pub patience: Duration,
}

impl Default for SinkOptions {
    /// 5000 records, 4 MiB, from the earliest record, halt, 50 ms to 5 s, every 5 s, 30 s.
    fn default() -> Self {
        Self {
            batch_records: 5000,
            batch_bytes: 4 << 20,
            start_at: StartAt::Earliest,
            on_poison: OnPoison::Halt,
            retry_first: Duration::from_millis(50),
            retry_max: Duration::from_secs(5),
            housekeeping: Duration::from_secs(5),
            patience: Duration::from_secs(30),
        }
    }
}

/// A pause that doubles with each failure in a row, with some chance in it.
#[derive(Debug)]
pub(super) struct BackOff {
    first: Duration,
    max: Duration,
    next: Duration,
}

impl BackOff {
    pub(super) fn new(options: &SinkOptions) -> Self {
        Self { first: options.retry_first, max: options.retry_max, next: options.retry_first }
    }

    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }

    /// Returns the next pause: between half and all of it, so that many do not come at once.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.max);
        pause.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}
