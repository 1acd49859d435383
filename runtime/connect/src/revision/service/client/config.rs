//! How a client asks.

use std::time::Duration;

/// How a client asks.
#[derive(Debug, Clone)]
pub struct RevisionClientConfig {
    pub(super) url: String,
    pub(super) name: Option<String>,
    pub(super) count_max: u32,
    pub(super) request_timeout: Duration,
    pub(super) timeout: Duration,
}

impl RevisionClientConfig {
    /// A client of the service at `http://host:port`.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            name: None,
            count_max: 10_000,
            request_timeout: Duration::from_secs(8),
            timeout: Duration::from_secs(30),
        }
    }

    /// Takes numbers of this counter only: a service that has another one is refused.
    #[must_use]
    pub fn with_name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Asks for at most that many numbers at once. Not more than the service allows. Default:
    /// 10,000.
    #[must_use]
    pub fn with_count_max(mut self, count: u32) -> Self {
        self.count_max = count.max(1);
        self
    }

    /// Gives a request up after that time, and asks again. Longer than the service's own timeout,
    /// or its explanations are missed. Default: 8 s.
    #[must_use]
    pub fn with_request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Answers a caller with an error after that time, tries included. Default: 30 s.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}
