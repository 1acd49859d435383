//! The statements of a polling relay, prepared once a session.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, Statement};

use super::row::COLUMNS;
use super::schema::Tables;
use super::settings::Shard;

/// Settings of the session.
///
/// * Plans must not depend on statistics that are old: the outbox is empty one minute and has a
///   million rows the next. Each statement has one index that is always right.
/// * What the relay writes are hints, or it flushes them itself.
pub(super) const SESSION: &str = "
    SET enable_seqscan = off; SET jit = off; SET max_parallel_workers_per_gather = 0;
    SET synchronous_commit = off; SET default_transaction_isolation = 'read committed';
    SET lock_timeout = '5s'; SET client_min_messages = warning";

pub(super) struct Statements {
    /// $1 base, $2 rows, $3 bytes.
    pub(super) first: Statement,
    /// $1 base.
    pub(super) lowest: Statement,
    /// $1 base, $2 target, $3 last id, $4 rows, $5 bytes.
    pub(super) page: Statement,
}

/// Bytes of a row, without unpacking it.
const BYTES: &str = "coalesce(octet_length(payload), 0) + octet_length(aggregateid) + 64";

impl Statements {
    pub(super) async fn prepare(
        client: &Client,
        tables: &Tables,
        shard: Shard,
    ) -> Result<Self, Error> {
        let first = client
            .prepare_typed(&first(tables, shard), &[Type::TEXT, Type::INT8, Type::INT8])
            .await?;
        let lowest = client.prepare_typed(&lowest(tables, shard), &[Type::TEXT]).await?;
        let types = [Type::TEXT, Type::TEXT, Type::INT8, Type::INT8, Type::INT8];
        let page = client.prepare_typed(&page(tables, shard), &types).await?;
        Ok(Self { first, lowest, page })
    }
}

/// What is visible now and was not in the base, with the snapshot that "now" is.
///
/// Not visible in a snapshot and visible now are exactly the transactions that began after it, from
/// its xmax on, and those that were in progress then, its xip list. Both are ranges of the index on
/// `xid`, so that the cost is that of the new rows, however long an old transaction stays open.
///
/// The row without an id is the snapshot, with the number of new rows as far as they were counted:
/// it is there also if there is nothing else. One statement has one snapshot. Of more rows than a
/// batch none is returned: they are read by pages, in their order, without sorting all of them.
fn first(tables: &Tables, shard: Shard) -> String {
    let (outbox, shard) = (&tables.outbox, shard.condition());
    let nulls = "NULL::uuid, NULL::text, NULL::text, NULL::text, NULL::bigint, NULL::bytea, \
                 NULL::jsonb, NULL::timestamptz";
    format!(
        "WITH difference AS MATERIALIZED (
             SELECT {COLUMNS} FROM (
                 SELECT {COLUMNS} FROM {outbox}
                 WHERE xid >= (SELECT pg_snapshot_xmax($1::pg_snapshot)) AND {shard}
                 UNION ALL
                 SELECT {COLUMNS} FROM {outbox}
                 WHERE xid = ANY (ARRAY(SELECT pg_snapshot_xip($1::pg_snapshot))) AND {shard}
             ) AS rows LIMIT $2 + 1
         )
         SELECT NULL::bigint AS id, {nulls}, (SELECT count(*) FROM difference) AS total,
                pg_current_snapshot()::text AS snapshot,
                (pg_current_wal_insert_lsn() - '0/0')::bigint AS inserted,
                (pg_current_wal_flush_lsn() - '0/0')::bigint AS flushed
         UNION ALL
         SELECT {COLUMNS}, total, NULL, NULL, NULL FROM (
             SELECT {COLUMNS}, sum({BYTES}) OVER (ORDER BY id) AS total, {BYTES} AS bytes
             FROM difference
             WHERE (SELECT count(*) FROM difference) <= $2
         ) AS summed
         WHERE total - bytes < $3"
    )
}

/// The lowest id of a difference. It reads the rows of the difference, but neither sorts them nor
/// keeps them; `id + 0` as it is no use to walk the primary key past all rows before them.
fn lowest(tables: &Tables, shard: Shard) -> String {
    let (outbox, shard) = (&tables.outbox, shard.condition());
    format!(
        "SELECT min(id + 0) FROM (
             SELECT id FROM {outbox}
             WHERE xid >= (SELECT pg_snapshot_xmax($1::pg_snapshot)) AND {shard}
             UNION ALL
             SELECT id FROM {outbox}
             WHERE xid = ANY (ARRAY(SELECT pg_snapshot_xip($1::pg_snapshot))) AND {shard}
         ) AS difference"
    )
}

/// The next page between two snapshots, by the primary key.
fn page(tables: &Tables, shard: Shard) -> String {
    let (outbox, shard) = (&tables.outbox, shard.condition());
    format!(
        "SELECT {COLUMNS}, total FROM (
             SELECT {COLUMNS}, sum({BYTES}) OVER (ORDER BY id) AS total, {BYTES} AS bytes
             FROM (
                 SELECT {COLUMNS} FROM {outbox}
                 WHERE id > $3 AND {shard}
                   AND pg_visible_in_snapshot(xid, (SELECT $2::pg_snapshot))
                   AND NOT pg_visible_in_snapshot(xid, (SELECT $1::pg_snapshot))
                 ORDER BY id LIMIT $4
             ) AS page
         ) AS summed
         WHERE total - bytes < $5
         ORDER BY id"
    )
}

#[cfg(test)]
mod tests {
    use super::{Shard, Tables, first, lowest, page};
    use crate::postgres::TableName;

    #[test]
    fn names_stay_identifiers_whatever_they_hold() {
        let name = TableName::new("x\"; DROP TABLE y--").expect("a name");
        let tables = Tables::new(name).expect("short enough");
        let shard = Shard { index: 1, of: 4 };
        let all = [first(&tables, Shard::ALL), lowest(&tables, shard), page(&tables, shard)];
        for sql in all {
            let rest = sql.replace("\"x\"\"; DROP TABLE y--\"", "");
            assert!(!rest.contains("DROP"), "{sql}");
        }
    }
}
