//! A session of a polling relay with its database: opened with every doubt refused.

use std::time::Duration;

use tokio_postgres::{Client, Config, Error};
use uuid::Uuid;

use super::cleanup::Cleaner;
use super::dead::DeadEvents;
use super::listener::Listener;
use super::position::{NOTHING, OutboxPosition};
use super::queries::{SESSION, Statements};
use super::settings::{MissingPosition, RelaySettings};
use super::stage::Outbox;
use crate::postgres::{Connection, DatabaseIdentity, connect, identify, is_transient};
use crate::source::SourceError;

/// What is open while a relay works.
pub(super) struct Session {
    pub(super) client: Connection,
    pub(super) statements: Statements,
    /// Where the source stands, committed or not.
    pub(super) position: OutboxPosition,
    /// Where it stood when it was opened: committed, or about to be.
    pub(super) opened: OutboxPosition,
    /// A whole difference was read since then.
    pub(super) caught_up: bool,
    pub(super) cleaner: Cleaner,
    pub(super) dead: DeadEvents,
    pub(super) listener: Option<Listener>,
}

/// What the database knows of a relay.
struct Known {
    /// Its sessions, in the order in which they were opened.
    tokens: Vec<Uuid>,
    published: bool,
}

/// Sessions that are remembered beside those that may have committed: a bound for relays that are
/// opened again and again and never commit.
const TOKENS_MAX: usize = 64;

/// Everything that is needed to open one.
pub(super) struct Opening<'a> {
    pub(super) config: &'a Config,
    pub(super) outbox: &'a Outbox,
    pub(super) settings: &'a RelaySettings,
    /// A timeline that an operator accepted.
    pub(super) timeline: Option<i32>,
}

const RESTORED: &str = "events may be lost or come twice: compare topics and table, then reset the \
                        relay's position";

pub(super) fn refused<T>(what: impl Into<String>, remedy: &str) -> Result<T, SourceError> {
    Err(SourceError::Refused { what: what.into(), remedy: remedy.to_owned() })
}

pub(super) fn failed(error: Error) -> SourceError {
    if is_transient(&error) {
        SourceError::Unavailable(error.into())
    } else {
        SourceError::Failed(error.into())
    }
}

/// Gives up waiting for the database after a while: a connection may be dead without a word.
pub(super) async fn in_time<T>(
    what: &str,
    limit: Duration,
    work: impl Future<Output = Result<T, SourceError>>,
) -> Result<T, SourceError> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        let text = format!("PostgreSQL did not {what} within {limit:?}");
        Err(SourceError::Unavailable(text.into()))
    })
}

impl Opening<'_> {
    pub(super) async fn open(
        &self,
        committed: Option<&OutboxPosition>,
    ) -> Result<Session, SourceError> {
        let tables = &self.outbox.tables;
        let mut client = connect(self.config).await.map_err(failed)?;
        client.batch_execute(SESSION).await.map_err(failed)?;
        let (database, standby) = identify(&*client).await.map_err(failed)?;
        if standby {
            return refused(
                format!("the server of database {} is a standby", database.database),
                "connect to the primary: the snapshots of a standby are its own",
            );
        }
        let outbox = tables.read_meta(&client).await?;
        if let Some(position) = committed {
            self.check_identity(position, &database, outbox)?;
            check_progress(&client, position).await?;
        }
        self.check_table(&client).await?;
        let token = Uuid::now_v7();
        let known = self.claim(&mut client, committed, token).await?;
        let position = match committed {
            Some(position) => OutboxPosition { database, token: Some(token), ..position.clone() },
            None => OutboxPosition {
                base: self.beginning(&client, known.as_ref()).await?,
                database,
                outbox,
                shard: (self.settings.shard.index, self.settings.shard.of),
                token: Some(token),
                lsn: 0,
                target: None,
                last_id: 0,
                ticket: 0,
            },
        };
        let statements =
            Statements::prepare(&client, tables, self.settings.shard).await.map_err(failed)?;
        let dead = DeadEvents::load(&client, self.outbox, self.settings, &position).await?;
        let cleaner = Cleaner::new(self.outbox, self.settings, token);
        let listener = if self.outbox.notify {
            let started = Listener::start(self.config, &self.outbox.channel()).await;
            Some(started.map_err(failed)?)
        } else {
            None
        };
        let opened = position.clone();
        let caught_up = false;
        Ok(Session { client, statements, position, opened, caught_up, cleaner, dead, listener })
    }

    fn check_identity(
        &self,
        position: &OutboxPosition,
        found: &DatabaseIdentity,
        outbox: Uuid,
    ) -> Result<(), SourceError> {
        let was = &position.database;
        if (&was.system_identifier, &was.database) != (&found.system_identifier, &found.database) {
            return refused(
                format!(
                    "the position is from database {} of cluster {}, this is {} of {}",
                    was.database, was.system_identifier, found.database, found.system_identifier
                ),
                "connect to the database that it was taken from, or reset the relay's position",
            );
        }
        if was.timeline != found.timeline && self.timeline != Some(found.timeline) {
            return refused(
                format!(
                    "the position is from timeline {}, the server is on {}: it was promoted or \
                     recovered to a point in time",
                    was.timeline, found.timeline
                ),
                "make sure that no committed transaction was lost on the way, then accept the \
                 timeline with PollingOutbox::accept_timeline, or reset the relay's position",
            );
        }
        if position.outbox != outbox {
            return refused(
                format!(
                    "the position is from outbox {}, the table {} is outbox {outbox}",
                    position.outbox, self.outbox.tables.outbox
                ),
                "the table was made anew, or is another one: name the right one, or reset the \
                 relay's position",
            );
        }
        let shard = (self.settings.shard.index, self.settings.shard.of);
        if position.shard != shard {
            return refused(
                format!(
                    "the position is of shard {} of {}, this relay is {} of {}",
                    position.shard.0, position.shard.1, shard.0, shard.1
                ),
                "let all relays publish what is there with the old number; then stop them, delete \
                 their rows of the relay table and start new ones under new names",
            );
        }
        Ok(())
    }

    /// The order of an aggregate is the order of ids, so they must come from the sequence, one by
    /// one (OB14).
    async fn check_table(&self, client: &Client) -> Result<(), SourceError> {
        let outbox = &self.outbox.tables.outbox;
        let name = outbox.to_string();
        let row = client
            .query_opt(
                "SELECT a.attidentity = 'a', s.seqcache, s.seqincrement, s.seqcycle
                 FROM pg_attribute a
                 JOIN pg_sequence s ON s.seqrelid = pg_get_serial_sequence($1, 'id')::regclass
                 WHERE a.attrelid = $1::text::regclass AND a.attname = 'id'",
                &[&name],
            )
            .await
            .map_err(failed)?;
        let (identity, cache, increment, cycle) = match row {
            Some(row) => (row.get(0), row.get(1), row.get(2), row.get(3)),
            None => (false, 1_i64, 1_i64, false),
        };
        if !identity || increment <= 0 || cycle {
            return refused(
                format!("the column id of {outbox} is not GENERATED ALWAYS AS IDENTITY, upwards"),
                "make the table as Outbox::ddl says",
            );
        }
        if cache != 1 {
            return refused(
                format!(
                    "the sequence of {outbox}.id has CACHE {cache}: sessions would draw ids ahead \
                     of time, and the order of an aggregate would be lost"
                ),
                "ALTER TABLE .. ALTER COLUMN id SET CACHE 1, and look at what was staged meanwhile",
            );
        }
        let sql = format!(
            "SELECT (SELECT max(id) FROM {outbox}),
                    pg_sequence_last_value(pg_get_serial_sequence($1, 'id')::regclass),
                    EXISTS (SELECT FROM {outbox}
                            WHERE xid >= pg_snapshot_xmax(pg_current_snapshot()))"
        );
        // the maximum is read first: meanwhile the sequence only goes up
        let row = client.query_one(&sql, &[&name]).await.map_err(failed)?;
        let (highest, drawn): (Option<i64>, Option<i64>) = (row.get(0), row.get(1));
        if highest > drawn {
            return refused(
                format!(
                    "{outbox} has the id {}, and its sequence is at {}: ids were set by hand",
                    highest.unwrap_or_default(),
                    drawn.unwrap_or_default()
                ),
                "delete these rows and stage their events again",
            );
        }
        if row.get(2) {
            return refused(
                format!("{outbox} has transaction ids of the future: it was copied from elsewhere"),
                "UPDATE it with SET xid = DEFAULT while no relay runs",
            );
        }
        Ok(())
    }

    /// Writes down that this session is the relay's, and compares what is written there with the
    /// position: a restored database does not know the position's session.
    ///
    /// All sessions since the position's are kept. One that was fenced in Kafka after it read its
    /// position may come here late, behind the one that fenced it and that commits the next.
    async fn claim(
        &self,
        client: &mut Client,
        committed: Option<&OutboxPosition>,
        token: Uuid,
    ) -> Result<Option<Known>, SourceError> {
        let (table, relay) = (&self.outbox.tables.relay, &self.settings.relay);
        let (index, of) = (self.settings.shard.index.cast_signed(), self.settings.shard.of);
        let of = of.cast_signed();
        let tx = client.transaction().await.map_err(failed)?;
        let lock = format!(
            "SET LOCAL synchronous_commit = on; LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE"
        );
        tx.batch_execute(&lock).await.map_err(failed)?;
        let other = tx
            .query_opt(
                &format!(
                    "SELECT relay FROM {table} WHERE relay <> $1 AND (shards <> $3 OR shard = $2)
                     LIMIT 1"
                ),
                &[relay, &index, &of],
            )
            .await
            .map_err(failed)?;
        if let Some(row) = other {
            return refused(
                format!(
                    "relay {} publishes the same rows of {}",
                    row.get::<_, &str>(0),
                    self.outbox.tables.outbox
                ),
                "start this one under that name; or if that one is gone for good, delete its row \
                 of the relay table",
            );
        }
        let known = tx
            .query_opt(
                &format!("SELECT tokens_before || token, published FROM {table} WHERE relay = $1"),
                &[relay],
            )
            .await
            .map_err(failed)?
            .map(|row| Known { tokens: row.get(0), published: row.get(1) });
        let tokens = known.as_ref().map_or(&[][..], |known| &known.tokens);
        let Some(keep) = since(tokens, committed.and_then(|position| position.token)) else {
            return refused(
                "the database does not know the session that committed the position: it was \
                 restored from a backup",
                RESTORED,
            );
        };
        tx.execute(
            &format!(
                "INSERT INTO {table} (relay, token, tokens_before, shard, shards, published)
                 VALUES ($1, $2, $3, $4, $5, $6)
                 ON CONFLICT (relay) DO UPDATE
                 SET token = $2, tokens_before = $3, shard = $4, shards = $5, updated_at = now(),
                     published = excluded.published OR {table}.published"
            ),
            &[relay, &token, &keep, &index, &of, &committed.is_some()],
        )
        .await
        .map_err(failed)?;
        tx.commit().await.map_err(failed)?;
        Ok(known)
    }

    /// Where a relay without a position begins (OB10).
    async fn beginning(
        &self,
        client: &Client,
        known: Option<&Known>,
    ) -> Result<String, SourceError> {
        let published = known.is_some_and(|known| known.published);
        match self.settings.missing_position {
            _ if !published => Ok(NOTHING.to_owned()),
            MissingPosition::PublishAll => Ok(NOTHING.to_owned()),
            MissingPosition::SkipAll => {
                let row = client.query_one("SELECT pg_current_snapshot()::text", &[]).await;
                Ok(row.map_err(failed)?.get(0))
            }
            MissingPosition::Fail => refused(
                format!(
                    "relay {} published from {} before, and has no position any more",
                    self.settings.relay, self.outbox.tables.outbox
                ),
                "restore its positions topic; or start it with MissingPosition::PublishAll (events \
                 that are still in the table come twice) or MissingPosition::SkipAll (events that \
                 were not published are lost)",
            ),
        }
    }
}

/// Returns the sessions from the one on that committed the position, which is `None` if the
/// database does not know it; all of them if there is no such session.
fn since(tokens: &[Uuid], committed: Option<Uuid>) -> Option<Vec<Uuid>> {
    let from = match committed {
        Some(was) => tokens.iter().position(|token| *token == was)?,
        None => 0,
    };
    let (first, rest) = tokens.get(from..)?.split_at_checked(1).unwrap_or_default();
    let rest = &rest[rest.len().saturating_sub(TOKENS_MAX)..];
    Some([first, rest].concat())
}

/// A server that has less than the position tells of went back (OB13).
async fn check_progress(client: &Client, position: &OutboxPosition) -> Result<(), SourceError> {
    let newest = position.target.as_ref().unwrap_or(&position.base);
    let row = client
        .query_one(
            "SELECT pg_snapshot_xmax(pg_current_snapshot()) >=
                        pg_snapshot_xmax($1::text::pg_snapshot),
                    (pg_current_wal_insert_lsn() - '0/0')::bigint",
            &[newest],
        )
        .await
        .map_err(failed)?;
    let (reached, written): (bool, i64) = (row.get(0), row.get(1));
    if !reached || written.cast_unsigned() < position.lsn {
        return refused(
            format!(
                "the position is ahead of the server (transactions {newest}, log {:X}/{:X}): the \
                 database was restored from a backup",
                position.lsn >> 32,
                position.lsn & 0xffff_ffff
            ),
            RESTORED,
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{TOKENS_MAX, since};

    #[test]
    fn sessions_are_kept_from_the_one_on_that_committed() {
        let all: Vec<Uuid> = (0..200).map(Uuid::from_u128).collect();
        assert_eq!(since(&all[..5], Some(all[2])).as_deref(), Some(&all[2..5]));
        assert_eq!(since(&all[..5], None).as_deref(), Some(&all[..5]));
        assert_eq!(since(&all[..5], Some(all[5])), None);
        assert_eq!(since(&[], Some(all[0])), None);
        assert_eq!(since(&[], None), Some(Vec::new()));
        let kept = since(&all, Some(all[1])).expect("it is known");
        assert_eq!((kept[0], kept.len()), (all[1], TOKENS_MAX + 1));
        assert_eq!(kept[1..], all[200 - TOKENS_MAX..]);
    }
}
