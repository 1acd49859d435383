//! Rows that are there already: read in the order of their keys, in chunks, from a view that
//! PostgreSQL fits to a point of the log.
//!
//! A view is what a temporary slot exports: all transactions that lie before its point are in it,
//! none behind. The log is published up to that point, then rows of the view, then what follows. A
//! chunk and the key of its last row are committed in one Kafka transaction, so each row is
//! published once, and behind all changes that it contains. If the process or the view ends, a new
//! view at a later point goes on behind the last key: no row is read twice, and none is older than
//! a change that was published before it. Changes that lead up to a view, of rows that it has yet
//! to tell of, are left out.

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::error::SqlState;

use super::transaction::record_bytes;
use super::{Change, ChangeSource, LogSource, Reading, Translate, not_open, now};
use crate::cdc::checks;
use crate::cdc::error::{ChangeError, failed, sql_error};
use crate::cdc::lsn::Lsn;
use crate::cdc::pgoutput::{ColumnBody, RelationBody};
use crate::cdc::position::{LogPosition, SnapshotProgress};
use crate::cdc::publication::{Publication, PublishedTable};
use crate::cdc::relation::{Relation, Row, RowError};
use crate::cdc::session::{PRINTING, Session, literal};
use crate::cdc::settings::Snapshot;
use crate::cdc::value::Value;
use crate::postgres::{Connection, connect, quoted};
use crate::source::{BatchLimits, SourceBatch, SourceError};

/// Rows of the first chunk of a table; the others are sized by what a row takes.
const FIRST_CHUNK: usize = 100;

/// The database as it is at a point of the log.
pub(super) struct View {
    /// All transactions whose commit record lies before are in it.
    pub(super) lsn: Lsn,
    /// The log is published up to there.
    pub(super) reached: bool,
    pub(super) client: Connection,
    until: Instant,
    /// Bytes of a row, roughly.
    row_bytes: Option<usize>,
}

impl Reading {
    /// Returns true if it is the view's turn.
    pub(super) fn at_view(&self) -> bool {
        self.view.as_ref().is_some_and(|view| view.reached)
    }

    pub(super) fn reach_view(&mut self) {
        if let Some(view) = &mut self.view {
            view.reached = true;
            self.position.lsn = self.position.lsn.max(Some(view.lsn));
        }
    }
}

impl<T: Translate> LogSource<T> {
    fn chunk_and_view(&self) -> (usize, Duration) {
        let initial = Snapshot::initial();
        for snapshot in [self.settings.snapshot, initial] {
            if let Snapshot::Initial { chunk, view } = snapshot {
                return (usize::try_from(chunk.max(1)).unwrap_or(usize::MAX), view);
            }
        }
        (FIRST_CHUNK, Duration::from_secs(60))
    }

    /// Has PostgreSQL make a view. It waits for the transactions that are open.
    pub(super) async fn begin_view(&mut self) -> Result<(), SourceError> {
        let (_, hold) = self.chunk_and_view();
        let reading = self.reading.as_mut().ok_or_else(not_open)?;
        let mut maker = Session::connect(&self.settings, Lsn::default()).await?;
        let server = checks::server(&mut maker).await?;
        checks::identity(&reading.position, &self.settings, &server)?;
        reading.publication = Publication::read(&mut maker, &self.settings.publication).await?;
        self.translate.check(&reading.publication)?;
        let sql = format!(
            "CREATE_REPLICATION_SLOT tidemill_view_{:016x} TEMPORARY LOGICAL pgoutput \
             (SNAPSHOT 'export')",
            fastrand::u64(..)
        );
        let rows = maker.rows(&sql).await?;
        let row = rows.first().map(Vec::as_slice).unwrap_or_default();
        let [_, point, snapshot, ..] = row else {
            return Err(failed("the server exported no view"));
        };
        let lsn = point.parse().map_err(failed)?;
        let mut config = self.settings.postgres.clone();
        let options = config.get_options().unwrap_or_default().to_owned();
        config.options(format!("{options} {PRINTING}"));
        let client = connect(&config).await.map_err(sql_error)?;
        let sql = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}",
            literal(snapshot)
        );
        client.batch_execute(&sql).await.map_err(sql_error)?;
        let until = Instant::now() + hold;
        tracing::debug!(%lsn, "a view of the tables was made");
        reading.view = Some(View { lsn, reached: false, client, until, row_bytes: None });
        Ok(())
    }

    /// Reads the next rows, and hands them out with the position behind them.
    pub(super) async fn read_chunk(
        &mut self,
        limits: &BatchLimits,
    ) -> Result<SourceBatch<LogPosition>, SourceError> {
        let (chunk, _) = self.chunk_and_view();
        let reading = self.reading.as_mut().ok_or_else(not_open)?;
        let Reading { view: Some(view), position, .. } = reading else { return Err(not_open()) };
        let Some(progress) = position.snapshot.as_mut() else { return Err(not_open()) };
        let found = progress.tables.first().map(|oid| (oid, reading.publication.tables.get(oid)));
        let Some((_, Some(published))) = found else {
            if let Some((oid, None)) = found {
                tracing::warn!(oid, "a table is no longer published, so it is not read");
            }
            table_done(position);
            if position.snapshot.is_none() {
                reading.view = None;
            }
            return Ok(reading.hand_out(Vec::new()));
        };
        if published.key.is_empty() {
            let table = published.full_name();
            let why = "it has no key in whose order it could be read".to_owned();
            return Err(ChangeError::Identity { table, why }.into());
        }
        let fitting = view.row_bytes.map_or(FIRST_CHUNK, |bytes| limits.bytes / bytes.max(1));
        let count = fitting.clamp(1, chunk.min(limits.records.max(1)));
        let sql = chunk_sql(published, progress.after.as_deref(), count)?;
        let body = relation_body(published);
        let key = published.key.clone();
        let relation = reading.shapes.learn(body, &self.settings, &mut self.translate).await?;
        let found = view.client.simple_query(&sql).await.map_err(read_error)?;
        let mut at = ChangeSource {
            database: Arc::clone(&reading.database),
            previous: view.lsn,
            lsn: view.lsn,
            xid: 0,
            ordinal: 0,
            time: now(),
        };
        let (mut records, mut after) = (Vec::new(), None);
        for message in found {
            let SimpleQueryMessage::Row(found) = message else { continue };
            at.ordinal += 1;
            let get = |column: &str| found.try_get(column).map_err(failed);
            let row = read_row(&relation, get)?;
            self.translate.change(&at, Change::Read(row), &mut records)?;
            let key = key.iter().map(|name| Ok(get(name)?.unwrap_or_default().to_owned()));
            after = Some(key.collect::<Result<Vec<String>, SourceError>>()?);
        }
        let rows = usize::try_from(at.ordinal).unwrap_or(usize::MAX);
        self.metrics.rows(at.ordinal);
        view.row_bytes = records.iter().map(record_bytes).sum::<usize>().checked_div(rows);
        if rows < count {
            table_done(position);
        } else if let Some(progress) = &mut position.snapshot {
            progress.after = after;
        }
        position.schemas = Arc::clone(&reading.shapes.versions);
        let over = position.snapshot.is_none() || view.until <= Instant::now();
        if over {
            reading.view = None;
        }
        tidemill::failpoint::pass("CD12B");
        Ok(reading.hand_out(records))
    }
}

fn table_done(position: &mut LogPosition) {
    let Some(progress) = position.snapshot.take() else { return };
    let tables: Vec<u32> = progress.tables.into_iter().skip(1).collect();
    if !tables.is_empty() {
        position.snapshot = Some(SnapshotProgress { tables, after: None, ..progress });
    }
}

/// A table or column that is gone is looked up anew at the next try.
fn read_error(error: tokio_postgres::Error) -> SourceError {
    let gone = [SqlState::UNDEFINED_TABLE, SqlState::UNDEFINED_COLUMN];
    if error.code().is_some_and(|code| gone.contains(code)) {
        return SourceError::Unavailable(error.into());
    }
    sql_error(error)
}

/// Writes the values of a key so that they are compared as the columns are.
pub(super) fn typed_key(table: &PublishedTable, key: &[String]) -> String {
    let typed = table.key.iter().zip(key).map(|(name, text)| {
        let column = table.columns.iter().find(|column| column.name == *name);
        let of = column.map_or("text", |column| column.type_name.as_str());
        let collation = column.and_then(|column| column.collation.as_deref());
        let collate = collation.map(|name| format!(" COLLATE {name}")).unwrap_or_default();
        format!("{}::{of}{collate}", literal(text))
    });
    typed.collect::<Vec<_>>().join(", ")
}

fn chunk_sql(
    table: &PublishedTable,
    after: Option<&[String]>,
    count: usize,
) -> Result<String, SourceError> {
    let list = |names: &mut dyn Iterator<Item = String>| names.collect::<Vec<_>>().join(", ");
    let columns = list(&mut table.columns.iter().map(|column| quoted(&column.name)));
    let key = list(&mut table.key.iter().map(|name| quoted(name)));
    let only = if table.partitioned { "" } else { "ONLY " };
    let name = format!("{}.{}", quoted(&table.schema), quoted(&table.name));
    let mut sql = format!("SELECT {columns} FROM {only}{name} WHERE true");
    if let Some(filter) = &table.filter {
        // PostgreSQL's own text of the publication's WHERE
        write!(sql, " AND ({filter})").map_err(failed)?;
    }
    if let Some(after) = after {
        write!(sql, " AND ({key}) > ({})", typed_key(table, after)).map_err(failed)?;
    }
    write!(sql, " ORDER BY {key} LIMIT {count}").map_err(failed)?;
    Ok(sql)
}

/// Describes the table as the log would.
fn relation_body(table: &PublishedTable) -> RelationBody {
    let column = |column: &crate::cdc::publication::PublishedColumn| ColumnBody {
        identity: table.key.contains(&column.name),
        name: column.name.clone(),
        type_oid: column.type_oid,
        type_modifier: column.type_modifier,
    };
    RelationBody {
        oid: table.oid,
        schema: table.schema.clone(),
        name: table.name.clone(),
        replica_identity: table.identity.bytes().next().unwrap_or(b'n'),
        columns: table.columns.iter().map(column).collect(),
    }
}

fn read_row<'a>(
    relation: &Arc<Relation>,
    get: impl Fn(&str) -> Result<Option<&'a str>, SourceError>,
) -> Result<Row, SourceError> {
    let mut values = Vec::with_capacity(relation.columns.len());
    for column in &relation.columns {
        let text = get(&column.name)?;
        let value = text.map_or(Ok(Value::Null), |text| Value::parse(text, column.of));
        let wrong = |cause| RowError::Value {
            table: relation.full_name(),
            column: column.name.clone(),
            cause,
        };
        values.push(value.map_err(|cause| ChangeError::from(wrong(cause)))?);
    }
    Ok(Row { relation: Arc::clone(relation), values, key_only: false })
}
