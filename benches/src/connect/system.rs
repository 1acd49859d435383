//! The systems that are compared: what each needs in the database, and its events.

use clap::ValueEnum;
use tidemill::BoxError;

use crate::database::Database;
use crate::options::WorkerOptions;
use crate::plain;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum System {
    /// Select for update skip locked, produce, flush, delete, commit.
    Plain,
}

/// Digits of the number that a payload begins with.
const DIGITS: usize = 10;

impl System {
    pub(crate) const ALL: [Self; 1] = [Self::Plain];

    /// Runs it until the process is killed.
    pub(crate) fn work(self, options: &WorkerOptions) -> Result<(), BoxError> {
        match self {
            Self::Plain => plain::work(options),
        }
    }

    /// Makes the tables, and whatever must be there before the first event.
    pub(crate) fn prepare(
        self,
        database: &mut Database,
        _options: &WorkerOptions,
    ) -> Result<(), BoxError> {
        match self {
            Self::Plain => database.batch(
                "CREATE TABLE outbox (
                   id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                   event_id uuid NOT NULL, aggregatetype text NOT NULL, aggregateid text NOT NULL,
                   type text NOT NULL, payload bytea, headers jsonb,
                   created_at timestamptz NOT NULL DEFAULT now())",
            ),
        }
    }

    /// The statement that writes the events `i` of a `generate_series`.
    pub(crate) fn insert(self, aggregates: u32, payload_bytes: u32) -> String {
        let payload = format!("rpad(lpad(i::text, {DIGITS}, '0'), {payload_bytes}, 'x')");
        match self {
            Self::Plain => format!(
                "INSERT INTO outbox (event_id, aggregatetype, aggregateid, type, payload)
                 SELECT gen_random_uuid(), 'order', 'customer-' || i % {aggregates}, 'OrderPlaced',
                        convert_to({payload}, 'UTF8')
                   FROM generate_series"
            ),
        }
    }

    /// Whether it asks the database again and again, instead of being told.
    pub(crate) fn polls(self) -> bool {
        match self {
            Self::Plain => true,
        }
    }

    /// Whether a relay removes what it has published.
    pub(crate) fn removes_rows(self) -> bool {
        match self {
            Self::Plain => true,
        }
    }

    /// The number of the event that a record tells of.
    pub(crate) fn number(self, value: &[u8]) -> Option<usize> {
        let payload = match self {
            Self::Plain => value,
        };
        std::str::from_utf8(payload.get(..DIGITS)?).ok()?.parse().ok()
    }

    /// What the table's column says.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Plain => "plain loop",
        }
    }
}

impl std::fmt::Display for System {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain",
        })
    }
}
