//! What is done with the records inside the transaction.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use tokio_postgres::{Client, Transaction};

use super::WriteError;
use crate::sink::record::SinkRecord;
use crate::sink::target::Applied;

/// Writes records into the database, in the transaction that moves their offsets.
pub trait PostgresWriter: Send + Sync + 'static {
    /// Looks at the tables, or prepares statements, on a connection that was just made. Never
    /// needed.
    ///
    /// # Errors
    /// Anything but a lost connection stops the sink.
    fn prepare(&mut self, client: &Client) -> impl Future<Output = Result<(), WriteError>> + Send {
        let _ = client;
        async { Ok(()) }
    }

    /// Writes the records. Several partitions may be among them, each in its order.
    ///
    /// # Errors
    /// By its code, an error of the database's has the batch tried again, marks the records as not
    /// applicable, or stops the sink. Any other error marks the records.
    fn write(
        &self,
        tx: &Transaction<'_>,
        records: &[&SinkRecord],
    ) -> impl Future<Output = Result<Applied, WriteError>> + Send;
}

/// What a handler returns.
pub type HandlerFuture<'a> = Pin<Box<dyn Future<Output = Result<(), WriteError>> + Send + 'a>>;

/// A function as a writer, see [`PostgresSink::with`](super::PostgresSink::with).
pub struct Handler<H>(pub(super) H);

impl<H> PostgresWriter for Handler<H>
where
    H: for<'a> Fn(&'a Transaction<'a>, &'a [&'a SinkRecord]) -> HandlerFuture<'a>,
    H: Send + Sync + 'static,
{
    async fn write(
        &self,
        tx: &Transaction<'_>,
        records: &[&SinkRecord],
    ) -> Result<Applied, WriteError> {
        (self.0)(tx, records).await?;
        Ok(Applied::default())
    }
}

impl<H> fmt::Debug for Handler<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handler")
    }
}
