//! The audit: everything is folded again, and compared with what was folded before.

use std::collections::BTreeMap;

use tokio_postgres::{Client, IsolationLevel, Transaction};

use super::load::{COLUMNS, Folding};
use super::snapshot::trusted;
use super::{EventStoreError, PAGE, PgEventStore};
use crate::event_sourcing::{Decider, Fingerprint, Version};

/// Findings that are kept in words; the rest is counted only.
const FINDINGS_MAX: usize = 100;

/// What an audit found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreAudit {
    /// Streams with events.
    pub streams: u64,
    /// Their events.
    pub events: u64,
    /// Snapshots that were compared with the fold of the events up to them.
    pub snapshots: u64,
    /// Snapshots that are not used: of another schema, or corrupt.
    pub snapshots_ignored: u64,
    /// How many things are wrong.
    pub wrong: u64,
    /// What is wrong, in words; the first hundred.
    pub findings: Vec<String>,
    /// Over all streams, their versions and states; equal for equal contents.
    pub fingerprint: Option<Fingerprint>,
}

impl StoreAudit {
    /// Returns true if nothing is wrong.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.wrong == 0
    }

    fn find(&mut self, what: String) {
        self.wrong += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(what);
        }
    }
}

/// One stream on its way through an audit.
struct Audited<S> {
    stream: String,
    folding: Folding<S>,
    snapshot: Option<(Version, S)>,
    /// Its versions are wrong, or an event can't be read: there is no fold.
    broken: bool,
}

impl<D: Decider> PgEventStore<D> {
    /// Folds every stream from zero, in one snapshot of the database, and compares the folds with
    /// all snapshots that loading would use. Finds gaps, second writers, events that can't be read,
    /// and snapshots that differ. Holds one page and one stream in memory.
    ///
    /// # Errors
    /// If PostgreSQL refuses. What is wrong with the events is a finding, not an error.
    pub async fn audit(&self, client: &mut Client) -> Result<StoreAudit, EventStoreError> {
        let failed = |cause| self.failed("auditing", cause);
        let begun = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead);
        let transaction = begun.read_only(true).start().await.map_err(failed)?;
        let mut audit = StoreAudit::default();
        let mut sum = Fingerprint::ZERO;
        let mut current: Option<Audited<D::State>> = None;
        let mut after = (String::new(), 0_i64);
        loop {
            let rows = self.next_rows(&transaction, &after).await?;
            for row in &rows {
                let stream: String = row.get(5);
                after = (stream.clone(), row.get(0));
                if current.as_ref().is_none_or(|audited| audited.stream != stream) {
                    if let Some(done) = current.take() {
                        sum = sum.plus(self.finish(&mut audit, done)?);
                    }
                    current = Some(self.begin(&transaction, &mut audit, stream).await?);
                }
                if let Some(audited) = current.as_mut() {
                    self.take(&mut audit, audited, row);
                }
            }
            if i64::try_from(rows.len()).is_ok_and(|read| read < PAGE) {
                break;
            }
        }
        if let Some(done) = current.take() {
            sum = sum.plus(self.finish(&mut audit, done)?);
        }
        audit.fingerprint = Some(sum);
        Ok(audit)
    }

    async fn next_rows(
        &self,
        transaction: &Transaction<'_>,
        (stream, revision): &(String, i64),
    ) -> Result<Vec<tokio_postgres::Row>, EventStoreError> {
        let sql = format!(
            "SELECT {COLUMNS}, aggregateid FROM {}
              WHERE aggregatetype = $1 AND (aggregateid, revision) > ($2, $3)
              ORDER BY aggregateid, revision LIMIT {PAGE}",
            self.events
        );
        let rows = transaction.query(&sql, &[&self.aggregate_type, stream, revision]).await;
        rows.map_err(|cause| self.failed("auditing", cause))
    }

    async fn begin(
        &self,
        transaction: &Transaction<'_>,
        audit: &mut StoreAudit,
        stream: String,
    ) -> Result<Audited<D::State>, EventStoreError> {
        audit.streams += 1;
        let stored = self.stored_snapshot(transaction, &stream).await?;
        let snapshot = stored.and_then(|stored| {
            let state = trusted::<D>(&stored).ok();
            audit.snapshots_ignored += u64::from(state.is_none());
            state.map(|state| (stored.version, state))
        });
        Ok(Audited { stream, folding: Folding::new::<D>(), snapshot, broken: false })
    }

    fn take(
        &self,
        audit: &mut StoreAudit,
        audited: &mut Audited<D::State>,
        row: &tokio_postgres::Row,
    ) {
        audit.events += 1;
        if audited.broken {
            return;
        }
        let Audited { stream, folding, snapshot, broken } = audited;
        let folded = self.read_row(stream, row).and_then(|read| {
            let recorded = read.recorded;
            folding.check.observe(stream, recorded.version, recorded.event_id)?;
            Ok(folding.stream.clone().evolve::<D>(&recorded.event))
        });
        match folded {
            Ok(folded) => folding.stream = folded,
            Err(error) => {
                *broken = true;
                return audit.find(in_full(&error));
            }
        }
        if let Some((_, state)) =
            snapshot.take_if(|(version, _)| *version == folding.stream.version)
        {
            audit.snapshots += 1;
            if state != folding.stream.state {
                let version = folding.stream.version;
                audit.find(format!(
                    "stream {stream}: the snapshot of version {version} is not the fold of its \
                     events"
                ));
            }
        }
    }

    fn finish(
        &self,
        audit: &mut StoreAudit,
        done: Audited<D::State>,
    ) -> Result<Fingerprint, EventStoreError> {
        if done.broken {
            return Ok(Fingerprint::ZERO);
        }
        if let Some((version, _)) = done.snapshot {
            audit.find(format!("stream {}: a snapshot of version {version} alone", done.stream));
        }
        let whole = BTreeMap::from([(&done.stream, &done.folding.stream)]);
        Fingerprint::of(&whole)
            .map_err(|cause| EventStoreError::Json { stream: done.stream.clone(), cause })
    }
}

/// An error with its causes.
fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
