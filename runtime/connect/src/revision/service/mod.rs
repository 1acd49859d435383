//! A service that gives out revisions for a whole system, over HTTP, backed by PostgreSQL.
//!
//! ```text
//!   POST /v1/revisions {"count": 3}
//!   {"name":"prices","first":"1795339200000000001","last":"1795339200000000003"}
//!
//!   GET /health
//!   {"status":"up","name":"prices","last":"1795339200000000003"}
//! ```
//!
//! # Guarantee
//!
//! No revision is given out twice, by any number of instances, whoever is killed on the way, the
//! database too: the row of the counter is moved and committed **before** a number leaves the
//! service. What was lost on the way is a gap.
//!
//! A revision is larger than all that were answered before it was asked for, by whichever instance
//! (*global order*, the default): each request goes through the row, and requests that come
//! together share one statement. With [`RevisionServiceConfig::with_block`] an instance takes
//! numbers in advance and answers without the database; then the order holds within an instance
//! only, so a thing must always be asked for at the same instance, or its writes be guarded.
//!
//! A new counter begins at the present time in milliseconds times a million, above whatever a lost
//! counter or a [`RevisionGenerator`](tidemill::revision::RevisionGenerator) gave out before. A
//! database that is not the one the counter was made in, or has another history (restored, promoted
//! from a standby), is refused until [`RevisionService::adopt`] was called: it may have lost what
//! was given out last.
//!
//! # What it costs
//!
//! A request and, in global order, a commit. [`RevisionClient`] and service both put together what
//! is asked for at the same time. Each instance has at most [`RevisionServiceConfig::with_pool`]
//! connections to PostgreSQL, whatever the number of its clients.
//!
//! # What it does not promise
//!
//! A copy of the database's files that is started with its old history goes back unnoticed by the
//! service; a client that saw larger numbers refuses it ([`RevisionClientError::WentBack`]).
//! PostgreSQL without `fsync` may lose a commit when its machine dies. The service has neither
//! passwords nor TLS: it listens on the loopback address unless told otherwise, and everybody who
//! reaches it can use up numbers (9 * 10^18 of them).

mod allocator;
mod client;
mod config;
mod connections;
mod error;
mod http;
mod ledger;
#[cfg(test)]
mod tests;
mod wire;

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

pub use client::{RevisionClient, RevisionClientConfig, RevisionClientError};
pub use config::RevisionServiceConfig;
pub use error::RevisionServiceError;

use allocator::Allocator;
use connections::Bounded;
use ledger::Ledger;

/// A running instance. It ends with this value, or by [`RevisionService::stop`].
#[derive(Debug)]
pub struct RevisionService {
    address: SocketAddr,
    stopping: watch::Sender<bool>,
    server: JoinHandle<()>,
    allocator: JoinHandle<()>,
}

impl RevisionService {
    /// Makes the counter if there is none, and begins to answer. Needs a tokio runtime that goes on
    /// running.
    ///
    /// # Errors
    /// [`RevisionServiceError::Refused`] if the database is in doubt; otherwise as PostgreSQL or
    /// the system says.
    pub async fn start(config: &RevisionServiceConfig) -> Result<Self, RevisionServiceError> {
        let ledger = Ledger::open(config).await?;
        let listen = |cause| RevisionServiceError::Listen { address: config.listen, cause };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let (asking, asked) = mpsc::channel(config.requests_max);
        let (stopping, stopped) = watch::channel(false);
        let allocator = Allocator::new(ledger.clone(), config);
        let allocator = tokio::spawn(allocator.run(asked));
        let router = http::router(config, asking, ledger);
        let server = tokio::spawn(async move {
            let listener = Bounded::new(listener, http::CONNECTIONS_MAX);
            let served = axum::serve(listener, router).with_graceful_shutdown(until(stopped));
            if let Err(error) = served.await {
                tracing::error!(%error, "the revision service ended");
            }
        });
        tracing::info!(%address, name = config.name, "the revision service answers");
        Ok(Self { address, stopping, server, allocator })
    }

    /// Returns the address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers what was asked already, takes nothing new, and ends. Connections that stay open
    /// without a request are closed.
    pub async fn stop(mut self) {
        self.stopping.send_replace(true);
        // a client that keeps its connection busy does not keep the service
        if tokio::time::timeout(http::STOP_WITHIN, &mut self.server).await.is_err() {
            self.server.abort();
        }
        self.allocator.abort();
    }

    /// An operator's word that the counter in this database is the one to go on with, after a
    /// backup was restored, a standby promoted or a dump loaded. It goes on above `above`, above
    /// the present time in milliseconds times a million, and above where it stands. Returns its
    /// new value.
    ///
    /// Stop the instances that have the old database before.
    ///
    /// # Errors
    /// As PostgreSQL says, and if there is no such counter.
    pub async fn adopt(
        config: &RevisionServiceConfig,
        above: i64,
    ) -> Result<i64, RevisionServiceError> {
        Ledger::adopt(config, above).await
    }
}

impl Drop for RevisionService {
    fn drop(&mut self) {
        self.server.abort();
        self.allocator.abort();
    }
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // an error: the service was dropped
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
