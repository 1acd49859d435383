//! Commands on a stream in PostgreSQL.

use tokio_postgres::{Client, Transaction};

use super::{ATTEMPTS, EventStoreError, PgEventStore};
use crate::event_sourcing::event::event_id;
use crate::event_sourcing::{
    Command, Decider, ExpectedVersion, Outcome, Recorded, Reply, Stream, Version,
};

type OutcomeOf<D> = Outcome<<D as Decider>::Event, <D as Decider>::Rejection>;
type ReplyOf<D> = Reply<<D as Decider>::Event, <D as Decider>::Rejection>;

impl<D: Decider> PgEventStore<D> {
    /// Carries out a command in a transaction of its own. If somebody else was faster and the
    /// command does not name a version, it is decided again on the fresh state, up to ten times;
    /// then, and where a version is named, the answer is [`Outcome::Conflict`].
    ///
    /// # Errors
    /// See [`EventStoreError`]. After a retriable one it is unknown whether the command was
    /// carried out: send it again, under the same id.
    pub async fn execute(
        &self,
        client: &mut Client,
        stream: &str,
        command: &Command<D::Command>,
    ) -> Result<ReplyOf<D>, EventStoreError> {
        let named =
            matches!(command.expected, ExpectedVersion::Exact(_) | ExpectedVersion::NoStream);
        let mut attempt = 1;
        loop {
            let transaction = client.transaction().await;
            let transaction = transaction.map_err(|cause| self.failed("beginning", cause))?;
            let reply = self.execute_in(&transaction, stream, command).await?;
            tidemill::failpoint::pass("ES_BEFORE_COMMIT");
            let committed = transaction.commit().await;
            committed.map_err(|cause| self.failed("committing", cause))?;
            tidemill::failpoint::pass("ES_COMMITTED");
            let lost = matches!(reply.outcome, Outcome::Conflict { .. });
            if !lost || named || attempt == ATTEMPTS {
                return Ok(reply);
            }
            attempt += 1;
        }
    }

    /// Carries out a command in the caller's transaction, together with whatever else it does.
    /// Tries once: the answer may be [`Outcome::Conflict`] because somebody else was faster.
    ///
    /// # Errors
    /// See [`EventStoreError`].
    pub async fn execute_in(
        &self,
        transaction: &Transaction<'_>,
        stream: &str,
        command: &Command<D::Command>,
    ) -> Result<ReplyOf<D>, EventStoreError> {
        let command_id = command.id;
        let folded = self.load(transaction, stream).await?;
        // After loading: what this does not find, the decision has not seen. The other way round
        // the command could meet the effects of its own twin.
        if let Some(outcome) = self.earlier(transaction, stream, command).await? {
            return Ok(Reply { command_id, repeated: true, outcome });
        }
        let reply = |outcome| Ok(Reply { command_id, repeated: false, outcome });
        let version = folded.version;
        if !command.expected.accepts(version) {
            return reply(Outcome::Conflict { expected: command.expected, actual: version });
        }
        let events = match D::decide(&command.command, &folded.state) {
            Ok(events) => events,
            Err(rejection) => return reply(Outcome::Rejected { rejection, version }),
        };
        let read = ExpectedVersion::Exact(version);
        match self.append(transaction, stream, read, command_id, &events).await {
            Ok(events) => {
                let folded = events
                    .iter()
                    .fold(folded, |folded, recorded| folded.evolve::<D>(&recorded.event));
                self.snapshot_if_due(transaction, stream, version, &folded).await?;
                reply(Outcome::Accepted { version: folded.version, events })
            }
            Err(EventStoreError::Conflict { actual, .. }) => {
                reply(Outcome::Conflict { expected: command.expected, actual })
            }
            Err(error) => Err(error),
        }
    }

    /// What the command led to when it was here before. The ids of its events follow from its own.
    async fn earlier(
        &self,
        transaction: &Transaction<'_>,
        stream: &str,
        command: &Command<D::Command>,
    ) -> Result<Option<OutcomeOf<D>>, EventStoreError> {
        let sql = format!(
            "SELECT revision FROM {}
              WHERE event_id = $1 AND aggregatetype = $2 AND aggregateid = $3",
            self.events
        );
        let first = event_id(command.id, stream, 0);
        let row = transaction.query_opt(&sql, &[&first, &self.aggregate_type, &stream]).await;
        let row = row.map_err(|cause| self.failed("looking for an earlier answer", cause))?;
        let Some(row) = row else { return Ok(None) };
        let mut version = Version(row.get::<_, i64>(0) - 1);
        let mut events: Vec<Recorded<D::Event>> = Vec::new();
        loop {
            let page = self.events(transaction, stream, version).await?;
            let read = page.len();
            for (recorded, index) in page.into_iter().zip(events.len()..) {
                if recorded.event_id != event_id(command.id, stream, index) {
                    return Ok(Some(Outcome::Accepted { events, version }));
                }
                version = recorded.version;
                events.push(recorded);
            }
            if read == 0 {
                return Ok(Some(Outcome::Accepted { events, version }));
            }
        }
    }

    async fn snapshot_if_due(
        &self,
        transaction: &Transaction<'_>,
        stream: &str,
        before: Version,
        folded: &Stream<D::State>,
    ) -> Result<(), EventStoreError> {
        let Some(every) = self.snapshot_every else { return Ok(()) };
        let every = i64::from(every.get());
        if before.0 / every == folded.version.0 / every {
            return Ok(());
        }
        self.write_snapshot(transaction, stream, folded).await
    }
}
