//! The producer of a client, and where its records went.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{DeliveryResult, ProducerContext, ThreadedProducer};

use super::client::Spec;
use super::history::{Offset, Value};

pub(crate) type Sender = ThreadedProducer<Reports>;
type Report = (Value, Result<Offset, KafkaError>);

/// Shorter than the longest pauses, so that transactions time out.
pub(crate) const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(3);

pub(crate) fn new_sender(spec: &Spec) -> Result<Sender, KafkaError> {
    ClientConfig::new()
        .set("bootstrap.servers", &spec.bootstrap)
        .set("transactional.id", &spec.transactional_id)
        .set("transaction.timeout.ms", TRANSACTION_TIMEOUT.as_millis().to_string())
        .set("message.timeout.ms", TRANSACTION_TIMEOUT.as_millis().to_string())
        .set("linger.ms", "0")
        .set("retry.backoff.ms", "20")
        .set("reconnect.backoff.ms", "20")
        .set("reconnect.backoff.max.ms", "200")
        .create_with_context(Reports::default())
}

/// What the broker said of each record since the last look.
#[derive(Default)]
pub(crate) struct Reports {
    new: Mutex<Vec<Report>>,
    changed: Condvar,
}

impl Reports {
    pub(crate) fn take(&self) -> Vec<Report> {
        std::mem::take(&mut *self.new.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for news, no longer than this.
    pub(crate) fn wait(&self, at_most: Duration) {
        let new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_timeout(new, at_most));
    }
}

impl rdkafka::ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, value: usize) {
        let report = match result {
            Ok(message) => Ok(message.offset()),
            Err((error, _)) => Err(error.clone()),
        };
        let mut new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        new.push((value as Value, report));
        self.changed.notify_all();
    }
}
