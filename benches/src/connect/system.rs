//! The systems that are compared: what each needs in the database, and its events.

use clap::ValueEnum;
use tidemill::BoxError;
use tidemill_connect::cdc::PublicationSetup;

use crate::database::Database;
use crate::options::WorkerOptions;
use crate::{plain, relay};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum System {
    /// Select for update skip locked, produce, flush, delete, commit.
    Plain,
    /// The outbox, read by differences of snapshots.
    Polling,
    /// The outbox, read from PostgreSQL's log.
    Tailing,
    /// Change data capture of a business table.
    Cdc,
}

/// Digits of the number that a payload begins with.
const DIGITS: usize = 10;

impl System {
    pub(crate) const ALL: [Self; 4] = [Self::Plain, Self::Polling, Self::Tailing, Self::Cdc];

    /// Runs it until the process is killed.
    pub(crate) fn work(self, options: &WorkerOptions) -> Result<(), BoxError> {
        match self {
            Self::Plain => plain::work(options),
            Self::Polling => relay::polling(options),
            Self::Tailing => relay::tailing(options),
            Self::Cdc => relay::cdc(options),
        }
    }

    /// Makes the tables, and the topics that are known before the first event.
    pub(crate) fn prepare(
        self,
        database: &mut Database,
        options: &WorkerOptions,
    ) -> Result<(), BoxError> {
        match self {
            // the plain loop gets the same table, with its index, to be moved from in its own way
            Self::Plain | Self::Polling => {
                let outbox = relay::outbox(options)?;
                database.run(async |client| Ok(outbox.ensure_schema(client).await?))
            }
            Self::Tailing => {
                Self::Polling.prepare(database, options)?;
                let publication = PublicationSetup::new(relay::PUBLICATION, &["outbox"])?;
                let publication = publication.inserts_only();
                database.run(async |client| Ok(publication.create(&**client).await?))
            }
            Self::Cdc => {
                database.batch(
                    "CREATE TABLE orders (
                       id bigint PRIMARY KEY, customer text NOT NULL, payload text NOT NULL)",
                )?;
                let publication = PublicationSetup::new(relay::PUBLICATION, &["orders"])?;
                database.run(async |client| Ok(publication.create(&**client).await?))
            }
        }
    }

    /// Whether a backlog exists only for a reader that was there before it, as a slot is.
    pub(crate) fn must_begin_first(self) -> bool {
        match self {
            Self::Plain | Self::Polling => false,
            Self::Tailing | Self::Cdc => true,
        }
    }

    /// The statement that writes the events `i` of a `generate_series`.
    pub(crate) fn insert(self, aggregates: u32, payload_bytes: u32) -> String {
        let payload = format!("rpad(lpad(i::text, {DIGITS}, '0'), {payload_bytes}, 'x')");
        match self {
            Self::Plain | Self::Polling | Self::Tailing => format!(
                "INSERT INTO outbox (event_id, aggregatetype, aggregateid, type, payload)
                 SELECT gen_random_uuid(), 'order', 'customer-' || i % {aggregates}, 'OrderPlaced',
                        convert_to({payload}, 'UTF8')
                   FROM generate_series"
            ),
            Self::Cdc => format!(
                "INSERT INTO orders SELECT i, 'customer-' || i % {aggregates}, {payload}
                   FROM generate_series"
            ),
        }
    }

    /// Whether it asks the database again and again, instead of being told.
    pub(crate) fn polls(self) -> bool {
        match self {
            Self::Plain | Self::Polling => true,
            Self::Tailing | Self::Cdc => false,
        }
    }

    /// Whether a relay removes what it has published.
    pub(crate) fn removes_rows(self) -> bool {
        match self {
            Self::Plain | Self::Polling | Self::Tailing => true,
            Self::Cdc => false,
        }
    }

    /// The number of the event that a record tells of.
    pub(crate) fn number(self, value: &[u8]) -> Option<usize> {
        let payload = match self {
            Self::Plain | Self::Polling | Self::Tailing => value,
            Self::Cdc => {
                // parsed as JSON in the tests of the crate; here the harness must be cheap
                let column = b"\"payload\":\"";
                let at = value.windows(column.len()).position(|window| window == column)?;
                value.get(at + column.len()..)?
            }
        };
        std::str::from_utf8(payload.get(..DIGITS)?).ok()?.parse().ok()
    }

    /// What the table's column says.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Plain => "plain loop",
            Self::Polling => "polling outbox",
            Self::Tailing => "tailing outbox",
            Self::Cdc => "CDC",
        }
    }
}

impl std::fmt::Display for System {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain",
            Self::Polling => "polling",
            Self::Tailing => "tailing",
            Self::Cdc => "cdc",
        })
    }
}
