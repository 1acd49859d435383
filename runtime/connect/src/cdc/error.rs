//! What goes wrong with a log, in words that say what to do.

use pgwire_replication::PgWireError;
use tidemill::BoxError;

use super::pgoutput::MessageError;
use super::relation::RowError;
use crate::postgres::is_transient;
use crate::source::SourceError;

/// A source can't be configured like this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No name of a replication slot.
    #[error("{0:?} is no name of a replication slot: lower case letters, digits and _, 1 to 63")]
    Slot(String),
    /// No name of a publication.
    #[error("{0:?} is no name of a publication: 1 to 63 bytes")]
    Publication(String),
    /// No template of topic names.
    #[error("{template:?} is no template of topic names: {why}")]
    Topic {
        /// The template.
        template: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// A change can't be published as the source is configured.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// A message of the log can't be read.
    #[error("a message of the log can't be read")]
    Message(#[from] MessageError),
    /// A row can't be read.
    #[error("a row can't be read")]
    Row(#[from] RowError),
    /// A change came for a table that was not described before.
    #[error("a change of a table that the log did not describe: object id {0}")]
    UnknownRelation(u32),
    /// The log is not in the order that its protocol promises.
    #[error("the log is out of order: {0}")]
    Order(&'static str),
    /// A column was not sent.
    #[error(
        "table {table}, column {column}: a large value did not change, so PostgreSQL did not send \
         it; set REPLICA IDENTITY FULL on the table, or have a placeholder published instead"
    )]
    UnchangedToast {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// The rows of a table can't be told apart.
    #[error("table {table}: {why}")]
    Identity {
        /// The table.
        table: String,
        /// What is missing.
        why: String,
    },
    /// A table was emptied.
    #[error(
        "table {0} was truncated; choose whether a record tells of it or it is skipped, or leave \
         truncate out of the publication"
    )]
    Truncated(String),
    /// A table changed its shape.
    #[error(
        "table {table} changed its shape after version {version}; have consumers ready for it, \
         then accept the change"
    )]
    Schema {
        /// The table.
        table: String,
        /// The last version that was published.
        version: u32,
    },
    /// A transaction is too large.
    #[error(
        "transaction {xid} at {commit_lsn} has more than {records} records or {bytes} bytes; allow \
         larger ones, with a Kafka transaction timeout to match, or have it published in parts"
    )]
    TooLarge {
        /// Its id.
        xid: u32,
        /// Where its commit record lies.
        commit_lsn: String,
        /// The limit.
        records: u64,
        /// The other limit.
        bytes: u64,
    },
    /// Its topic would have no legal name.
    #[error("table {table} has no topic: {topic:?} is no legal name of one")]
    Topic {
        /// The table.
        table: String,
        /// What the template made of it.
        topic: String,
    },
    /// A record could not be written as JSON.
    #[error("table {table}: a record can't be written as JSON")]
    Json {
        /// The table.
        table: String,
        /// Why.
        #[source]
        cause: serde_json::Error,
    },
    /// A record of the outbox can't be published.
    #[error("a row of the outbox can't be published")]
    Outbox(#[source] BoxError),
}

impl From<ChangeError> for SourceError {
    fn from(error: ChangeError) -> Self {
        Self::Failed(error.into())
    }
}

/// Makes the refusal that an operator reads.
pub(crate) fn refused(what: impl Into<String>, remedy: impl Into<String>) -> SourceError {
    SourceError::Refused { what: what.into(), remedy: remedy.into() }
}

pub(crate) fn failed(error: impl Into<BoxError>) -> SourceError {
    SourceError::Failed(error.into())
}

/// What an operator can do when the log has a hole.
pub(crate) const RESNAPSHOT: &str = "changes since the position may be lost: read the tables \
     again (LogOperator::resnapshot), or accept the loss and go on from the slot \
     (LogOperator::from_slot)";

/// What to make of an error of an ordinary session.
pub(crate) fn sql_error(error: tokio_postgres::Error) -> SourceError {
    if is_transient(&error) { SourceError::Unavailable(error.into()) } else { failed(error) }
}

/// What to make of an error of a replication session.
pub(crate) fn wire_error(error: PgWireError, slot: &str) -> SourceError {
    let code = match &error {
        // `Internal` is told by a session that ended before it could say why
        PgWireError::Io(_) | PgWireError::Task(_) | PgWireError::Internal(_) => {
            return SourceError::Unavailable(error.into());
        }
        PgWireError::Server(text) => sqlstate(text),
        _ => return failed(error),
    };
    let text = error.to_string();
    match code {
        // slot or publication; which one, the message says
        Some("42704") => refused(text, RESNAPSHOT),
        Some("55000" | "58P01") => {
            refused(format!("replication slot {slot} is lost: {text}"), RESNAPSHOT)
        }
        Some("55006" | "55P03") => SourceError::Unavailable(error.into()),
        Some(code) if ["08", "40", "53", "57"].iter().any(|class| code.starts_with(class)) => {
            SourceError::Unavailable(error.into())
        }
        _ => failed(error),
    }
}

/// The code that the transport puts at the end of an error's text.
fn sqlstate(text: &str) -> Option<&str> {
    let code = text.rsplit_once("(SQLSTATE ")?.1.strip_suffix(')')?;
    (code.len() == 5).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::{PgWireError, SourceError, sqlstate, wire_error};

    #[test]
    fn the_code_at_the_end_decides() {
        assert_eq!(sqlstate("no (SQLSTATE 08006) slot (SQLSTATE 42704)"), Some("42704"));
        assert_eq!(sqlstate("nothing"), None);
        let of = |text: &str| wire_error(PgWireError::Server(text.to_owned()), "s");
        assert!(matches!(of("active (SQLSTATE 55006)"), SourceError::Unavailable(_)));
        assert!(matches!(of("starting up (SQLSTATE 57P03)"), SourceError::Unavailable(_)));
        assert!(matches!(of("no slot (SQLSTATE 42704)"), SourceError::Refused { .. }));
        assert!(matches!(of("no right (SQLSTATE 42501)"), SourceError::Failed(_)));
    }
}
