//! Opening: who the server is, whether the position is its own, and the slot where there is none.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::{LogSource, Reading, Ready, Shapes, Translate};
use crate::cdc::checks::{self, Server};
use crate::cdc::error::{RESNAPSHOT, refused};
use crate::cdc::lsn::Lsn;
use crate::cdc::position::{LogPosition, POSITION_VERSION, SnapshotProgress};
use crate::cdc::publication::Publication;
use crate::cdc::session::{Session, literal};
use crate::cdc::settings::{LogSettings, Snapshot};
use crate::source::SourceError;

impl<T: Translate> LogSource<T> {
    pub(super) async fn open_at(
        &mut self,
        committed: Option<&LogPosition>,
    ) -> Result<Option<LogPosition>, SourceError> {
        match committed {
            None => self.begin().await.map(Some),
            Some(position) => self.go_on(position).await.map(|()| None),
        }
    }

    /// Checks that the log goes on where the position says, and has it streamed.
    async fn go_on(&mut self, position: &LogPosition) -> Result<(), SourceError> {
        if let (Some(highest), Some(lsn)) = (self.highest, position.lsn)
            && lsn < highest
        {
            let what = format!("the position fell back from {highest} to {lsn}");
            let remedy = "the positions topic lost what it had: find out why. To publish again \
                          what is published, stop the program and start it anew";
            return Err(refused(what, remedy));
        }
        let mut session = Session::connect(&self.settings, position.lsn()).await?;
        let server = checks::server(&mut session).await?;
        checks::identity(position, &self.settings, &server)?;
        let mut position = position.clone();
        if position.lsn.is_some() {
            let slot = checks::slot(&mut session, &position.slot).await?;
            let slot = checks::slot_has(slot, &position, &server)?;
            checks::timeline(&position, &server, &slot, &mut session).await?;
            position.identity.timeline = server.identity.timeline;
            if let (true, Some(pid)) = (self.settings.take_over, slot.active_pid) {
                tracing::warn!(slot = position.slot, pid, "ending the session that holds the slot");
                session.rows(&format!("SELECT pg_terminate_backend({pid}, 5000)")).await?;
            }
        }
        let publication = Publication::read(&mut session, &self.settings.publication).await?;
        checks::publication(&publication, &position, self.settings.on_publication_change)?;
        position.publication = publication.mark();
        self.translate.check(&publication)?;
        let started = position.lsn.is_some();
        if started {
            session.start().await?;
        }
        self.metrics.server(server.lsn);
        self.reading = Some(Reading {
            database: server.identity.database.as_str().into(),
            handed: position.clone(),
            handed_at: Instant::now(),
            shapes: Shapes::new(&publication, Arc::clone(&position.schemas)),
            session: started.then_some(session),
            publication,
            position,
            held: VecDeque::new(),
            transaction: None,
            ready: Ready::default(),
            dense: false,
            view: None,
        });
        Ok(())
    }

    /// There is no position: this is a beginning, or positions were lost.
    async fn begin(&mut self) -> Result<LogPosition, SourceError> {
        let settings = &self.settings;
        let mut session = Session::connect(settings, Lsn::default()).await?;
        let Server { identity, .. } = checks::server(&mut session).await?;
        if checks::slot(&mut session, &settings.slot).await?.is_some() {
            let what = format!("slot {} exists, but no position of it does", settings.slot);
            let remedy = "if it was made for this source and never read, go on from it \
                          (LogOperator::from_slot). If positions were lost, find out why: going on \
                          from the slot publishes some changes twice or not at all; dropping \
                          it and reading the tables again (Snapshot::Initial) brings readers up to \
                          date";
            return Err(refused(what, remedy));
        }
        let publication = Publication::read(&mut session, &settings.publication).await?;
        self.translate.check(&publication)?;
        let position = LogPosition {
            v: POSITION_VERSION,
            identity,
            slot: settings.slot.clone(),
            publication: publication.mark(),
            lsn: None,
            part: None,
            snapshot: all_tables(settings, &publication),
            schemas: Arc::default(),
        };
        // what is opened is what will be committed
        self.go_on(&position).await?;
        Ok(position)
    }

    /// Makes the slot, and begins to read from it. The position that says that there will be one is
    /// committed: a slot that is there already is what a predecessor left that died just here, and
    /// nothing was read from it.
    pub(super) async fn make_slot(&mut self) -> Result<LogPosition, SourceError> {
        let reading = self.reading.as_mut().ok_or_else(super::not_open)?;
        let mut position = reading.position.clone();
        let mut session = Session::connect(&self.settings, Lsn::default()).await?;
        let server = checks::server(&mut session).await?;
        checks::identity(&position, &self.settings, &server)?;
        if checks::slot(&mut session, &position.slot).await?.is_some() {
            tracing::info!(slot = position.slot, "dropping a slot that was never read");
            let sql = format!("SELECT pg_drop_replication_slot({})", literal(&position.slot));
            session.rows(&sql).await?;
        }
        // the publication first: the log can't be read by one that is younger than the slot
        let publication = Publication::read(&mut session, &self.settings.publication).await?;
        checks::publication(&publication, &position, self.settings.on_publication_change)?;
        let lsn = create_slot(&mut session, &self.settings).await?;
        tidemill::failpoint::pass("CD12A");
        position.lsn = Some(lsn);
        position.identity.timeline = server.identity.timeline;
        self.go_on(&position).await?;
        Ok(position)
    }
}

fn all_tables(settings: &LogSettings, publication: &Publication) -> Option<SnapshotProgress> {
    match settings.snapshot {
        Snapshot::Never => None,
        Snapshot::Initial { .. } => {
            let tables: Vec<u32> = publication.tables.keys().copied().collect();
            let progress = SnapshotProgress { tables, fresh: true, after: None };
            (!progress.tables.is_empty()).then_some(progress)
        }
    }
}

/// Returns the point from which the new slot has everything.
async fn create_slot(session: &mut Session, settings: &LogSettings) -> Result<Lsn, SourceError> {
    let failover = if settings.failover { ", FAILOVER true" } else { "" };
    let sql = format!(
        "CREATE_REPLICATION_SLOT {} LOGICAL pgoutput (SNAPSHOT 'nothing'{failover})",
        settings.slot
    );
    let rows = session.rows(&sql).await?;
    let point = rows.first().and_then(|row| row.get(1)).and_then(|lsn| lsn.parse().ok());
    let slot = &settings.slot;
    point.ok_or_else(|| refused(format!("slot {slot} was made at no known point"), RESNAPSHOT))
}
