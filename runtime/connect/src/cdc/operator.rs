//! What an operator decides where the source refuses to go on: positions made on purpose.

use std::sync::Arc;

use super::checks::{self, Server};
use super::error::refused;
use super::lsn::Lsn;
use super::position::{LogPosition, POSITION_VERSION, SnapshotProgress};
use super::publication::Publication;
use super::session::Session;
use super::settings::LogSettings;
use crate::source::SourceError;

/// Makes positions for [`PositionAdmin::reset`](crate::source::PositionAdmin::reset), of what is
/// there now.
///
/// ```no_run
/// # use tidemill_connect::cdc::CdcSource;
/// # async fn mend(source: CdcSource) -> Result<(), Box<dyn std::error::Error>> {
/// use tidemill_connect::source::{PositionAdmin, ResetTo};
/// # let kafka = tidemill::client::ClientConfig::new();
///
/// let admin = PositionAdmin::new("shop-cdc", kafka, "shop-cdc-positions")?;
/// let position = source.operator().resnapshot(None, &[]).await?;
/// admin.reset(&ResetTo::Position(serde_json::to_value(position)?))?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct LogOperator {
    settings: LogSettings,
}

impl LogOperator {
    pub(crate) fn new(settings: LogSettings) -> Self {
        Self { settings }
    }

    /// Returns the position at which the slot stands: changes between the last position and there
    /// are published twice, or never.
    ///
    /// # Errors
    /// If there is no such slot, or it can't be read any more.
    pub async fn from_slot(&self) -> Result<LogPosition, SourceError> {
        let (mut session, server, mut position) = self.look().await?;
        let slot = checks::slot(&mut session, &position.slot).await?;
        position.lsn = slot.as_ref().and_then(|slot| slot.confirmed_flush_lsn);
        if position.lsn.is_none() {
            let what = format!("replication slot {} does not exist", position.slot);
            return Err(refused(what, "read the tables again (LogOperator::resnapshot)"));
        }
        checks::slot_has(slot, &position, &server)?;
        Ok(position)
    }

    /// Returns a position from which the tables are read again, each as `schema.table`, all of the
    /// publication if none is named; their rows are published as `op` `r`.
    ///
    /// With `current`, the log goes on from there, so that no change is lost: the way to add a
    /// table's old rows. Without, the slot is dropped by the source and made anew: the way out of a
    /// lost slot. Rows that were deleted while changes were lost are not told of then.
    ///
    /// # Errors
    /// If a table is not published, or `current` can't be used.
    pub async fn resnapshot(
        &self,
        current: Option<&LogPosition>,
        tables: &[&str],
    ) -> Result<LogPosition, SourceError> {
        let (mut session, server, mut position) = self.look().await?;
        let publication = Publication::read(&mut session, &self.settings.publication).await?;
        let mut oids = Vec::new();
        for name in tables {
            let Some(table) = publication.table(name) else {
                let what = format!("table {name} is not in publication {}", publication.name);
                return Err(refused(what, "add it to the publication first"));
            };
            oids.push(table.oid);
        }
        if tables.is_empty() {
            oids.extend(publication.tables.keys());
        }
        if let Some(current) = current {
            checks::identity(current, &self.settings, &server)?;
            let slot = checks::slot(&mut session, &position.slot).await?;
            checks::slot_has(slot, current, &server)?;
            position = current.clone();
        }
        let under_way = position.snapshot.take();
        let after = under_way.as_ref().and_then(|progress| progress.after.clone());
        let mut pending = under_way.map(|progress| progress.tables).unwrap_or_default();
        // the one in hand goes on behind its last key; the others are yet to come
        for table in oids {
            if pending.first() == Some(&table) || !pending.contains(&table) {
                pending.push(table);
            }
        }
        position.snapshot = Some(SnapshotProgress { tables: pending, fresh: false, after });
        Ok(position)
    }

    async fn look(&self) -> Result<(Session, Server, LogPosition), SourceError> {
        let mut session = Session::connect(&self.settings, Lsn::default()).await?;
        let server = checks::server(&mut session).await?;
        let publication = Publication::read(&mut session, &self.settings.publication).await?;
        let position = LogPosition {
            v: POSITION_VERSION,
            identity: server.identity.clone(),
            slot: self.settings.slot.clone(),
            publication: publication.mark(),
            lsn: None,
            part: None,
            snapshot: None,
            schemas: Arc::default(),
        };
        Ok((session, server, position))
    }
}
