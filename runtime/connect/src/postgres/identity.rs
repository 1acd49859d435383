//! Which database this is: positions are worth nothing in another one.

use serde::{Deserialize, Serialize};
use tokio_postgres::{Error, GenericClient};

/// What tells one database from all others, and one history of it from another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseIdentity {
    /// Made by `initdb`, unique for each cluster; copies and standbys share it.
    pub system_identifier: String,
    /// Which history: a promoted standby and a recovery to a point in time begin a new one.
    pub timeline: i32,
    /// The database's name.
    pub database: String,
}

/// Asks the server who it is, and whether it is a standby. Any role may.
///
/// # Errors
/// As PostgreSQL says.
pub async fn identify(client: &impl GenericClient) -> Result<(DatabaseIdentity, bool), Error> {
    // After a promotion the checkpoint lags behind in its timeline; the WAL being written does not.
    let row = client
        .query_one(
            "SELECT (SELECT system_identifier::text FROM pg_control_system()),
                    CASE WHEN pg_is_in_recovery()
                         THEN (SELECT timeline_id FROM pg_control_checkpoint())
                         ELSE ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))
                              ::bit(32)::int
                    END,
                    current_database()::text,
                    pg_is_in_recovery()",
            &[],
        )
        .await?;
    let identity = DatabaseIdentity {
        system_identifier: row.get(0),
        timeline: row.get(1),
        database: row.get(2),
    };
    Ok((identity, row.get(3)))
}
