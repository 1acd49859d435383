//! Connections, and which of their errors time heals.

use std::ops::{Deref, DerefMut};

use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Error, NoTls};

/// A connection with the task that drives it; both end with this value.
#[derive(Debug)]
pub struct Connection {
    client: Client,
    driver: JoinHandle<()>,
}

/// Connects. Needs a tokio runtime that goes on running.
///
/// # Errors
/// As PostgreSQL says; it never holds the password.
pub async fn connect(config: &Config) -> Result<Connection, Error> {
    let (client, connection) = config.connect(NoTls).await?;
    let driver = tokio::spawn(async move {
        if let Err(error) = connection.await {
            // every call on the client says so too
            tracing::debug!(%error, "a connection to PostgreSQL ended");
        }
    });
    Ok(Connection { client, driver })
}

impl Deref for Connection {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Returns true if the same may succeed later: the connection was lost or refused, the server is
/// starting, stopping or out of something, or the transaction lost against another one.
///
/// After a commit that failed so the outcome is unknown: look before doing it again.
#[must_use]
pub fn is_transient(error: &Error) -> bool {
    let Some(code) = error.code() else {
        // no answer of the server: closed, refused, cut
        let source = std::error::Error::source(error);
        return error.is_closed() || source.is_some_and(|source| source.is::<std::io::Error>());
    };
    let class = &code.code()[..2];
    matches!(class, "08" | "53" | "57")
        || [
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::LOCK_NOT_AVAILABLE,
            SqlState::OBJECT_IN_USE,
        ]
        .contains(code)
}
