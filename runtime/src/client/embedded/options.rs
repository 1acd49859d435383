//! The options of a client, by librdkafka's names and with its defaults.

use std::time::Duration;

use crate::client::error::ClientError;
use crate::client::kafka::conf::Conf;
use crate::client::types::ClientConfig;

/// Options that librdkafka has accepted.
pub(super) struct Options {
    conf: Conf,
    /// Those that were set, since some defaults depend on others.
    given: ClientConfig,
}

impl Options {
    /// Checks the options as a real client does. An error names the option, never its value.
    pub(super) fn new(config: &ClientConfig) -> Result<Self, ClientError> {
        Ok(Self { conf: Conf::new(config)?, given: config.clone() })
    }

    pub(super) fn is_given(&self, name: &str) -> bool {
        self.given.get(name).is_some()
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        let given = || self.given.get(name).map(str::to_owned);
        self.conf.get(name).or_else(given).filter(|text| !text.is_empty())
    }

    /// Reads a whole number; below zero means "none" and is the default.
    pub(super) fn number(&self, name: &str, default: u64) -> u64 {
        let number = self.text(name).and_then(|text| text.parse::<i64>().ok());
        number.and_then(|number| u64::try_from(number).ok()).unwrap_or(default)
    }

    pub(super) fn count(&self, name: &str, default: u64) -> usize {
        usize::try_from(self.number(name, default)).unwrap_or(usize::MAX)
    }

    /// Reads a time that is given in milliseconds, perhaps with a fraction.
    pub(super) fn millis(&self, name: &str, default: u64) -> Duration {
        let millis = self.text(name).and_then(|text| text.parse::<f64>().ok());
        let time = millis.and_then(|millis| Duration::try_from_secs_f64(millis / 1_000.0).ok());
        time.unwrap_or(Duration::from_millis(default))
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.text(name).is_some_and(|text| text == "true")
    }

    pub(super) fn client_id(&self) -> String {
        self.text("client.id").unwrap_or_else(|| "rdkafka".to_owned())
    }

    /// Times of connections and requests. `transaction` is `transaction.timeout.ms` of a
    /// transactional producer, which shortens the default of `socket.timeout.ms`.
    pub(super) fn timing(&self, transaction: Option<Duration>) -> Timing {
        let socket_timeout = match transaction {
            Some(limit) if !self.is_given("socket.timeout.ms") => {
                let shorter = limit.saturating_sub(Duration::from_millis(100));
                shorter.max(Duration::from_millis(900))
            }
            _ => self.millis("socket.timeout.ms", 60_000),
        };
        Timing {
            socket_timeout,
            reconnect: self.millis("reconnect.backoff.ms", 100),
            reconnect_max: self.millis("reconnect.backoff.max.ms", 10_000),
            retry: self.millis("retry.backoff.ms", 100),
            retry_max: self.millis("retry.backoff.max.ms", 1_000),
        }
    }
}

/// Times of connections and requests.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    pub(super) socket_timeout: Duration,
    reconnect: Duration,
    reconnect_max: Duration,
    retry: Duration,
    retry_max: Duration,
}

impl Timing {
    /// Returns how long to wait before the next connection, after so many that failed.
    pub(super) fn reconnect_backoff(&self, failures: u32) -> Duration {
        doubled(self.reconnect, failures).min(self.reconnect_max)
    }

    /// Returns how long to wait before a request is repeated, after so many repetitions.
    pub(super) fn retry_backoff(&self, retries: u32) -> Duration {
        doubled(self.retry, retries).min(self.retry_max)
    }
}

fn doubled(time: Duration, times: u32) -> Duration {
    time.saturating_mul(1_u32.checked_shl(times.min(20)).unwrap_or(u32::MAX))
}
