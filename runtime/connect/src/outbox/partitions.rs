//! Partitions of an outbox by time of creation: made ahead, dropped when all of them is published.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use super::schema::{Tables, exists};
use super::session::failed;
use crate::postgres::{TableName, quoted};
use crate::source::SourceError;

/// Periods that are made ahead.
const AHEAD: u64 = 3;
/// A partition is locked only if that is possible at once: transactions still write into old ones.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '1s'";

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The suffix tells begin and end, in seconds since the epoch.
fn partition(
    tables: &Tables,
    start: u64,
    end: u64,
) -> Result<TableName, crate::postgres::NameError> {
    tables.outbox.with_suffix(&format!("_p{start}_{end}"))
}

fn bounds(table: &str, outbox: &str) -> Option<(u64, u64)> {
    let (start, end) = table.strip_prefix(outbox)?.strip_prefix("_p")?.split_once('_')?;
    Some((start.parse().ok()?, end.parse().ok()?))
}

/// Makes the partitions of the period before, which transactions that began then still write into,
/// of now, and of the next ones.
pub(super) async fn make_ahead(
    client: &mut Client,
    tables: &Tables,
    period: Duration,
) -> Result<(), Error> {
    let length = period.as_secs().max(1);
    let now = seconds(SystemTime::now()) / length;
    for number in now.saturating_sub(1)..=now + AHEAD {
        let (start, end) = (number * length, (number + 1) * length);
        // a name that is too long was refused before: the meta table's is longer or is not there
        let Ok(name) = partition(tables, start, end) else { continue };
        if exists(client, &name).await? {
            continue;
        }
        let tx = client.transaction().await?;
        tx.execute_typed(
            "SELECT pg_advisory_xact_lock(hashtextextended($1, 8))",
            &[(&tables.outbox.to_string(), Type::TEXT)],
        )
        .await?;
        if !exists(&tx, &name).await? {
            // attaching does not lock the parent against inserts, creating in place would
            tx.batch_execute(&format!(
                "CREATE TABLE {name} (LIKE {outbox} INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
                 ALTER TABLE {outbox} ATTACH PARTITION {name}
                 FOR VALUES FROM (to_timestamp({start})) TO (to_timestamp({end}))",
                outbox = tables.outbox,
            ))
            .await?;
        }
        tx.commit().await?;
    }
    Ok(())
}

/// Makes partitions ahead and drops those that are old and published.
pub(super) async fn maintain(
    client: &mut Client,
    tables: &Tables,
    period: Duration,
    retain: Duration,
) -> Result<(), SourceError> {
    make_ahead(client, tables, period).await.map_err(failed)?;
    let rows = client
        .query_typed(
            "SELECT c.relname::text, n.nspname::text FROM pg_inherits i
             JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE i.inhparent = $1::regclass",
            &[(&tables.outbox.to_string(), Type::TEXT)],
        )
        .await
        .map_err(failed)?;
    let now = seconds(SystemTime::now());
    for row in &rows {
        let (name, schema): (&str, &str) = (row.get(0), row.get(1));
        // partitions that others made are theirs
        let Some((_, end)) = bounds(name, tables.outbox.name()) else { continue };
        // the period before is kept: make_ahead would make it again
        if end + retain.as_secs().max(2 * period.as_secs()) >= now {
            continue;
        }
        let table = format!("{}.{}", quoted(schema), quoted(name));
        drop_published(client, tables, &table).await?;
    }
    Ok(())
}

/// Drops a partition if each of its rows was published, looking while nobody can add to it: its
/// time is when transactions *began*, so that old ones still add rows to old partitions (OB16).
///
/// Published is what is visible in the base of the relay that the row belongs to; if there are
/// several relays, each has written down its own.
async fn drop_published(
    client: &mut Client,
    tables: &Tables,
    partition: &str,
) -> Result<(), SourceError> {
    let tx = client.transaction().await.map_err(failed)?;
    tx.batch_execute(LOCK_TIMEOUT).await.map_err(failed)?;
    let lock = format!("LOCK TABLE {partition} IN ACCESS EXCLUSIVE MODE");
    if let Err(error) = tx.batch_execute(&lock).await {
        if error.code() == Some(&tokio_postgres::error::SqlState::LOCK_NOT_AVAILABLE) {
            tracing::debug!(partition, "somebody still uses it: it is dropped another time");
            return Ok(());
        }
        return Err(failed(error));
    }
    let sql = format!(
        "SELECT count(*) FROM {partition} AS row WHERE NOT EXISTS (
             SELECT FROM {relay} AS relay
             WHERE relay.base IS NOT NULL
               AND (hashtext(row.aggregateid) & 2147483647) % relay.shards = relay.shard
               AND pg_visible_in_snapshot(row.xid, relay.base::pg_snapshot))",
        relay = tables.relay
    );
    let row = tx.query_one(&sql, &[]).await.map_err(failed)?;
    let left: i64 = row.get(0);
    if left > 0 {
        tracing::info!(partition, left, "an old partition has rows that are not published");
        return Ok(());
    }
    tx.batch_execute(&format!("DROP TABLE {partition}")).await.map_err(failed)?;
    tx.commit().await.map_err(failed)?;
    tracing::info!(partition, "dropped a partition of the outbox");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::bounds;

    #[test]
    fn only_partitions_of_this_naming_have_bounds() {
        assert_eq!(bounds("outbox_p3600_7200", "outbox"), Some((3600, 7200)));
        assert_eq!(bounds("outbox_default", "outbox"), None);
        assert_eq!(bounds("other_p1_2", "outbox"), None);
    }
}
