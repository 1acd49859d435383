//! What an operator does with the position of a relay: look at it, and set it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tidemill::client::{Admin, ClientConfig};
use uuid::Uuid;

use super::position::{Reader, StoredPosition};
use super::publisher::{Failure, Publisher, admin};
use super::topics::Topics;
use super::{Options, RelayError, Stop};

/// The position of one relay, to be looked at and set by hand.
#[derive(Debug)]
pub struct PositionAdmin {
    options: Arc<Options>,
    stop: Stop,
    admin: Admin,
}

/// Where a relay is to go on after a reset.
#[derive(Debug, Clone, PartialEq)]
pub enum ResetTo {
    /// From nothing: the source decides, as for a relay that never ran.
    Nothing,
    /// From this position of the source, e.g. one that was shown before.
    Position(Value),
}

impl PositionAdmin {
    /// Names the relay as [`SourceRunner::new`](super::SourceRunner::new) does.
    ///
    /// # Errors
    /// If an option is wrong.
    pub fn new(
        relay: &str,
        kafka: ClientConfig,
        positions_topic: &str,
    ) -> Result<Self, RelayError> {
        let options = Options::new(relay, kafka, positions_topic);
        options.check()?;
        let admin = admin(&options)?;
        Ok(Self { options: Arc::new(options), stop: Stop::new(), admin })
    }

    /// Reads the committed position; a relay that runs is not disturbed. Waits for a transaction
    /// that is open.
    ///
    /// # Errors
    /// If Kafka does not answer, or what is stored can't be used.
    pub fn show(&self) -> Result<Option<StoredPosition>, RelayError> {
        let found = Topics { admin: &self.admin, options: &self.options, stop: &self.stop }
            .find(&self.options.positions_topic)
            .map_err(|error| self.never_stopped(error))?;
        if found.is_none() {
            return Ok(None);
        }
        let reader = Reader {
            relay: &self.options.relay,
            topic: &self.options.positions_topic,
            kafka: &self.options.kafka,
            admin: &self.admin,
            stop: &self.stop,
            patience: Duration::from_secs(60),
        };
        reader.read().map_err(|error| self.never_stopped(error))
    }

    /// Sets the position. A relay that runs with this name is fenced and stops, so that it can't
    /// write its own over it. Counters and the list of known topics begin anew.
    ///
    /// # Errors
    /// If Kafka does not answer or refuses.
    pub fn reset(&self, to: &ResetTo) -> Result<(), RelayError> {
        self.reset_inner(to).map_err(|failure| match failure {
            Failure::Abort(error)
            | Failure::Rebuild(error)
            | Failure::Late(error)
            | Failure::Doubtful(error)
            | Failure::Halt(error) => error,
            Failure::Stopped | Failure::Rejected(..) => self.never_stopped(None),
        })
    }

    fn reset_inner(&self, to: &ResetTo) -> Result<(), Failure> {
        let mut publisher = Publisher::new(&self.options, &self.stop)?;
        Topics { admin: &self.admin, options: &self.options, stop: &self.stop }.prepare()?;
        publisher.begin()?;
        // whatever came before counts no more
        publisher.send_position(&[])?;
        if let ResetTo::Position(position) = to {
            let first = StoredPosition::after(None, Uuid::now_v7(), 0, position.clone());
            let bytes = serde_json::to_vec(&first).map_err(|error| {
                Failure::Halt(RelayError::Configuration(format!("not a position: {error}")))
            })?;
            publisher.send_position(&bytes)?;
        }
        publisher.commit()
    }

    fn never_stopped(&self, error: Option<RelayError>) -> RelayError {
        error.unwrap_or_else(|| RelayError::Resources {
            relay: self.options.relay.clone(),
            cause: "it was interrupted".into(),
        })
    }
}
