//! What is looked at before the log is read: a doubt about its identity is a refusal.

use serde::Deserialize;

use super::error::{RESNAPSHOT, failed, refused};
use super::lsn::Lsn;
use super::position::{LogPosition, POSITION_VERSION};
use super::publication::Publication;
use super::session::{Session, literal};
use super::settings::{LogSettings, OnChange};
use crate::postgres::DatabaseIdentity;
use crate::source::SourceError;

/// The first version with what is needed of `pg_publication_tables`.
const SERVER_VERSION_MIN: u32 = 150_000;

/// Who the server is and how it is set.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) identity: DatabaseIdentity,
    /// How far its log was flushed.
    pub(crate) lsn: Lsn,
}

/// A replication slot, as in `pg_replication_slots`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Slot {
    pub(crate) plugin: Option<String>,
    pub(crate) database: Option<String>,
    pub(crate) active_pid: Option<i32>,
    pub(crate) restart_lsn: Option<Lsn>,
    pub(crate) confirmed_flush_lsn: Option<Lsn>,
    pub(crate) wal_status: Option<String>,
    /// Since version 17.
    #[serde(default)]
    pub(crate) failover: bool,
    /// Since version 17.
    #[serde(default)]
    pub(crate) invalidation_reason: Option<String>,
}

#[derive(Deserialize)]
struct Settings {
    version: u32,
    wal_level: String,
    keep: String,
    standby: bool,
    database: String,
}

const SETTINGS: &str = "SELECT json_build_object(
       'version', current_setting('server_version_num')::int,
       'wal_level', current_setting('wal_level'),
       'keep', current_setting('max_slot_wal_keep_size'),
       'standby', pg_is_in_recovery(), 'database', current_database())";

/// Asks the server who it is, and refuses one that can't serve.
pub(crate) async fn server(session: &mut Session) -> Result<Server, SourceError> {
    let (system_identifier, timeline, lsn) = session.identify().await?;
    let found = session.ask::<Settings>(SETTINGS).await?.into_iter().next();
    let found = found.ok_or_else(|| failed("the server told no settings"))?;
    if found.version < SERVER_VERSION_MIN {
        return Err(failed(format!("PostgreSQL 15 or newer is needed, not {}", found.version)));
    }
    if found.standby {
        let remedy = "connect to the primary, or promote this server";
        return Err(refused("the server is a standby, whose log is its primary's", remedy));
    }
    if found.wal_level != "logical" {
        let what = format!("wal_level is {}", found.wal_level);
        return Err(refused(what, "set wal_level = logical and restart the server"));
    }
    if found.keep != "-1" {
        tracing::warn!(
            max_slot_wal_keep_size = found.keep,
            "PostgreSQL gives up the slot if this much log piles up while the source is away"
        );
    }
    let identity = DatabaseIdentity { system_identifier, timeline, database: found.database };
    Ok(Server { identity, lsn })
}

/// Looks the slot up.
pub(crate) async fn slot(session: &mut Session, name: &str) -> Result<Option<Slot>, SourceError> {
    let sql = format!(
        "SELECT to_json(s) FROM pg_catalog.pg_replication_slots s WHERE slot_name = {}",
        literal(name)
    );
    Ok(session.ask(&sql).await?.into_iter().next())
}

/// Checks that the position was taken from this database, and returns it as of the server's
/// timeline.
pub(crate) fn identity(
    position: &LogPosition,
    settings: &LogSettings,
    server: &Server,
) -> Result<(), SourceError> {
    if position.v > POSITION_VERSION {
        let what = format!("the position has version {}", position.v);
        return Err(refused(what, "run the newer version of the program that wrote it"));
    }
    let (ours, theirs) = (&position.identity, &server.identity);
    let remedy = "connect to the right database; if this one is to replace it, read its tables \
                  from the beginning: reset the position and drop the slot";
    if ours.system_identifier != theirs.system_identifier || ours.database != theirs.database {
        let what = format!(
            "the position was taken from database {} of system {}, but this is {} of system {}",
            ours.database, ours.system_identifier, theirs.database, theirs.system_identifier
        );
        return Err(refused(what, remedy));
    }
    if position.slot != settings.slot || position.publication.name != settings.publication {
        let what = format!(
            "the position was taken from slot {} and publication {}, not {} and {}",
            position.slot, position.publication.name, settings.slot, settings.publication
        );
        return Err(refused(what, "configure these, or give the relay another name"));
    }
    Ok(())
}

/// Accepts a new timeline only where the slot was kept in step and the position lies before the
/// fork.
pub(crate) async fn timeline(
    position: &LogPosition,
    server: &Server,
    slot: &Slot,
    session: &mut Session,
) -> Result<(), SourceError> {
    let (ours, theirs) = (position.identity.timeline, server.identity.timeline);
    if ours == theirs {
        return Ok(());
    }
    let what = format!("the position is of timeline {ours}, the server of timeline {theirs}");
    if !slot.failover {
        let remedy = format!(
            "a promoted standby or a recovered backup may lack transactions that were published, \
             and its slot was not kept in step (failover = true, PostgreSQL 17): {RESNAPSHOT}"
        );
        return Err(refused(what, remedy));
    }
    let history = session.history(theirs).await?;
    match fork(&history, ours) {
        Some(at) if position.lsn() <= at => {
            tracing::info!(ours, theirs, fork = %at, "the slot went along to a new timeline");
            Ok(())
        }
        Some(at) => {
            let what = format!("{what}, which left it at {at}, before position {}", position.lsn());
            Err(refused(what, format!("published transactions are missing here: {RESNAPSHOT}")))
        }
        None => Err(refused(format!("{what}, which does not descend from it"), RESNAPSHOT)),
    }
}

/// Reads from a history file where the server's timeline left another one.
fn fork(history: &str, timeline: i32) -> Option<Lsn> {
    history.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        (fields.next()?.parse() == Ok(timeline)).then_some(())?;
        fields.next()?.parse().ok()
    })
}

/// Checks that the slot still has everything after the position.
pub(crate) fn slot_has(
    slot: Option<Slot>,
    position: &LogPosition,
    server: &Server,
) -> Result<Slot, SourceError> {
    let name = &position.slot;
    let Some(slot) = slot else {
        let what = format!("replication slot {name} does not exist, but a position does");
        return Err(refused(what, RESNAPSHOT));
    };
    if slot.plugin.as_deref() != Some("pgoutput") {
        let what = format!("slot {name} is of plugin {:?}, not pgoutput", slot.plugin);
        return Err(refused(what, "choose another name for the slot"));
    }
    if slot.database.as_deref() != Some(server.identity.database.as_str()) {
        let what = format!("slot {name} belongs to database {:?}", slot.database);
        return Err(refused(what, "choose another name for the slot"));
    }
    let lost = slot.wal_status.as_deref() == Some("lost") || slot.restart_lsn.is_none();
    if lost || slot.invalidation_reason.is_some() {
        let reason = slot.invalidation_reason.as_deref().unwrap_or("its log was removed");
        return Err(refused(format!("replication slot {name} is lost: {reason}"), RESNAPSHOT));
    }
    if slot.wal_status.as_deref() == Some("unreserved") {
        tracing::warn!(slot = name, "the slot's log may be removed any moment");
    }
    let (confirmed, at) = (slot.confirmed_flush_lsn.unwrap_or_default(), position.lsn());
    if confirmed > at {
        let what = format!(
            "slot {name} was confirmed up to {confirmed}, but the position is {at}: somebody \
             advanced the slot or made it anew"
        );
        return Err(refused(what, RESNAPSHOT));
    }
    if at > server.lsn {
        let what = format!(
            "position {at} lies beyond the server's log, which ends at {}: the database was \
             restored from a backup, or its disk lost what it had confirmed",
            server.lsn
        );
        let remedy = format!("transactions were published that this database lost: {RESNAPSHOT}");
        return Err(refused(what, remedy));
    }
    Ok(slot)
}

/// Checks that the publication is the one the position was taken from.
pub(crate) fn publication(
    publication: &Publication,
    position: &LogPosition,
    on_change: OnChange,
) -> Result<(), SourceError> {
    let (ours, theirs) = (&position.publication, publication.mark());
    if ours.oid != theirs.oid {
        let what = format!("publication {} was dropped and made anew", ours.name);
        return Err(refused(what, RESNAPSHOT));
    }
    if ours.fingerprint == theirs.fingerprint {
        return Ok(());
    }
    match on_change {
        OnChange::Accept => {
            tracing::warn!(publication = ours.name, "the publication was altered");
            Ok(())
        }
        OnChange::Halt => Err(refused(
            format!("publication {} was altered", ours.name),
            "have the change accepted, and read new tables again if their old rows matter",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::{Lsn, fork};

    #[test]
    fn cd14_the_fork_is_read_from_the_history_of_timelines() {
        let history = "1\t0/3000148\tno recovery target specified\n\n2\t1/A0\tbefore 2026\n";
        assert_eq!(fork(history, 1), Some(Lsn(0x300_0148)));
        assert_eq!(fork(history, 2), Some(Lsn(0x1_0000_00A0)));
        assert_eq!(fork(history, 3), None);
        assert_eq!(fork("1 nonsense", 1), None);
    }
}
