//! A participant with a PostgreSQL: command, effect and answer in one database transaction.

use std::time::Duration;

use serde_json::Value;
use tidemill::BoxError;
use tokio_postgres::{Client, GenericClient, IsolationLevel, Row, Transaction};
use uuid::Uuid;

use super::memory::{Plan, is_remembered, plan};
use crate::postgres::{NameError, TableName, is_transient, quoted};
use crate::saga::message::{Answer, Command, Direction, Reply};
use crate::saga::mutation::{Guard, removed};

/// Serialises the creation of tables: `saga` as a number, part of the format.
const CREATION_LOCK: i64 = 0x7361_6761;
/// Rows that were forgotten between two looks at one of them are looked for again so often.
const LOOKS: usize = 5;

/// Does each command once, whatever is repeated, late or out of order.
///
/// ```no_run
/// # use tidemill_connect::saga::participant::{PgParticipant, ParticipantError};
/// # use tidemill_connect::saga::{Answer, Command};
/// # use tidemill_connect::postgres::TableName;
/// # async fn example(
/// #     client: &mut tokio_postgres::Client, command: &Command,
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// let payments = PgParticipant::new(TableName::new("payment_commands")?)?;
/// payments.ensure_schema(client).await?;
/// let reply = payments
///     .handle(client, command, async |tx, command| {
///         let (who, cents): (String, i64) = command.payload()?;
///         let sql = "UPDATE account SET cents = cents - $2 WHERE name = $1 AND cents >= $2";
///         Ok(match tx.execute(sql, &[&who, &cents]).await? {
///             0 => Answer::refused("not enough money"),
///             _ => Answer::done(),
///         })
///     })
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PgParticipant {
    table: TableName,
    index: TableName,
}

/// A command that was neither done nor refused. Nothing of it is left, unless a commit's outcome is
/// unknown; handling it again is right in any case.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParticipantError {
    /// The database.
    #[error("the database failed at step {step} of saga {saga_id}")]
    Database {
        /// The command's step.
        step: String,
        /// The command's saga.
        saga_id: String,
        /// What it says.
        #[source]
        cause: tokio_postgres::Error,
    },
    /// What the participant does with a command.
    #[error("step {step} of saga {saga_id} failed")]
    Effect {
        /// The command's step.
        step: String,
        /// The command's saga.
        saga_id: String,
        /// What it says.
        #[source]
        cause: BoxError,
    },
    /// What is remembered can't be read: the table is not the participant's.
    #[error("table {table} remembers something else than an answer for command {command_id}")]
    Memory {
        /// The table.
        table: TableName,
        /// The command.
        command_id: Uuid,
    },
}

impl ParticipantError {
    /// Whether time may heal it.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Database { cause, .. } => is_transient(cause),
            Self::Effect { cause, .. } => cause.downcast_ref().is_some_and(is_transient),
            Self::Memory { .. } => false,
        }
    }
}

impl PgParticipant {
    /// A participant that remembers its answers in this table. Several participants may share one.
    ///
    /// # Errors
    /// If the table's name leaves no room for that of its index.
    pub fn new(table: TableName) -> Result<Self, NameError> {
        let index = table.with_suffix("_handled_at")?;
        Ok(Self { table, index })
    }

    /// Returns the statements that make the table, for whoever migrates by other means.
    #[must_use]
    pub fn schema(&self) -> String {
        let (table, index) = (&self.table, quoted(self.index.name()));
        format!(
            "CREATE TABLE IF NOT EXISTS {table} (
                command_id uuid PRIMARY KEY,
                saga text NOT NULL,
                saga_id text NOT NULL,
                step text NOT NULL,
                direction text NOT NULL,
                answer json, -- NULL: it was undone, or must not be done any more
                handled_at timestamptz NOT NULL DEFAULT clock_timestamp()
            );
            CREATE INDEX IF NOT EXISTS {index} ON {table} (handled_at);"
        )
    }

    /// Makes the table, unless it is there.
    ///
    /// # Errors
    /// As the database says.
    pub async fn ensure_schema(&self, client: &mut Client) -> Result<(), tokio_postgres::Error> {
        let tx = client.transaction().await?;
        // two that create the same table at once would see each other's unique violation
        tx.execute("SELECT pg_advisory_xact_lock($1)", &[&CREATION_LOCK]).await?;
        tx.batch_execute(&self.schema()).await?;
        tx.commit().await
    }

    /// Handles a command in a transaction of its own, and returns the reply to be sent.
    ///
    /// `effect` is called if the command is to be done or undone. What it wrote is gone if it
    /// refuses, and all of the transaction if it fails. The command is done for good when this
    /// returns, but the reply must reach its topic for the saga to go on: send it before the
    /// command counts as read, as [`ParticipantService`](super::ParticipantService) does. What is
    /// read again is answered again.
    ///
    /// # Errors
    /// See [`ParticipantError`].
    pub async fn handle(
        &self,
        client: &mut Client,
        command: &Command,
        effect: impl AsyncFnOnce(&Transaction<'_>, &Command) -> Result<Answer, BoxError>,
    ) -> Result<Reply, ParticipantError> {
        let failed = |cause| database(command, cause);
        tidemill::failpoint::pass("SG-participant-before");
        let begin = client.build_transaction().isolation_level(IsolationLevel::ReadCommitted);
        let mut tx = begin.start().await.map_err(failed)?;
        let reply = self.handle_in(&mut tx, command, effect).await?;
        tidemill::failpoint::pass("SG-participant-before-commit");
        tx.commit().await.map_err(failed)?;
        tidemill::failpoint::pass("SG-participant-after-commit");
        Ok(reply)
    }

    /// As [`PgParticipant::handle`], in a transaction (read committed) of somebody else's: for
    /// whoever stages the reply in an outbox, or keeps the command's offset in the same database.
    ///
    /// # Errors
    /// See [`ParticipantError`]; the transaction must be rolled back then.
    pub async fn handle_in(
        &self,
        tx: &mut Transaction<'_>,
        command: &Command,
        effect: impl AsyncFnOnce(&Transaction<'_>, &Command) -> Result<Answer, BoxError>,
    ) -> Result<Reply, ParticipantError> {
        // whoever does or undoes this command holds this row, so the two can't pass each other
        let forward = command.compensates.unwrap_or(command.command_id);
        let known = self.claim(tx, command, forward).await?;
        let (own, undone) = match command.direction {
            Direction::Forward => (known, None),
            Direction::Compensation => (self.recall(tx, command, command.command_id).await?, known),
        };
        let answer = match plan(command.direction, own, undone) {
            Plan::Repeat(answer) => return Ok(command.reply(answer)),
            Plan::Bury => Answer::done(),
            Plan::Do => perform(tx, command, effect).await?,
        };
        self.remember(tx, command, forward, &answer).await?;
        Ok(command.reply(answer))
    }

    /// Takes the row of a command that does something, made if there is none. Returns what it
    /// remembers; a row that was made is a tombstone.
    async fn claim(
        &self,
        tx: &Transaction<'_>,
        command: &Command,
        id: Uuid,
    ) -> Result<Option<Option<Answer>>, ParticipantError> {
        let failed = |cause| database(command, cause);
        let table = &self.table;
        let insert = format!(
            "INSERT INTO {table} (command_id, saga, saga_id, step, direction)
             VALUES ($1, $2, $3, $4, 'forward') ON CONFLICT (command_id) DO NOTHING"
        );
        let select = format!("SELECT answer FROM {table} WHERE command_id = $1 FOR UPDATE");
        for look in 1.. {
            let values: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
                [&id, &command.saga, &command.saga_id, &command.step];
            if tx.execute(&insert, &values).await.map_err(failed)? == 1 {
                return Ok(None);
            }
            if let Some(row) = tx.query_opt(&select, &[&id]).await.map_err(failed)? {
                return self.answer(&row, id).map(Some);
            }
            if look == LOOKS {
                break;
            }
        }
        let why = "the row of the command comes and goes: is it forgotten too early?";
        Err(effect_failed(command, why.into()))
    }

    async fn recall(
        &self,
        tx: &Transaction<'_>,
        command: &Command,
        id: Uuid,
    ) -> Result<Option<Option<Answer>>, ParticipantError> {
        let select = format!("SELECT answer FROM {} WHERE command_id = $1", self.table);
        let row = tx.query_opt(&select, &[&id]).await.map_err(|cause| database(command, cause))?;
        row.map(|row| self.answer(&row, id)).transpose()
    }

    fn answer(&self, row: &Row, command_id: Uuid) -> Result<Option<Answer>, ParticipantError> {
        let table = || self.table.clone();
        let foreign = || ParticipantError::Memory { table: table(), command_id };
        let value: Option<Value> = row.try_get(0).map_err(|_| foreign())?;
        value.map(|value| serde_json::from_value(value).map_err(|_| foreign())).transpose()
    }

    /// Writes down what was answered, and what must not be done any more.
    async fn remember(
        &self,
        tx: &Transaction<'_>,
        command: &Command,
        forward: Uuid,
        answer: &Answer,
    ) -> Result<(), ParticipantError> {
        let failed = |cause| database(command, cause);
        let table = &self.table;
        let json = serde_json::to_value(answer).map_err(|error| {
            effect_failed(command, format!("the answer is no JSON: {error}").into())
        })?;
        match (command.direction, is_remembered(command, answer)) {
            (Direction::Forward, true) => {
                let sql = format!(
                    "UPDATE {table} SET answer = $2, handled_at = clock_timestamp()
                     WHERE command_id = $1"
                );
                tx.execute(&sql, &[&forward, &json]).await.map_err(failed)?;
            }
            (Direction::Forward, false) => {
                let sql = format!("DELETE FROM {table} WHERE command_id = $1");
                tx.execute(&sql, &[&forward]).await.map_err(failed)?;
            }
            (Direction::Compensation, true) => {
                let mark = if removed(Guard::MarkOfCompensation) { "answer" } else { "NULL" };
                let sql = format!(
                    "UPDATE {table} SET answer = {mark}, handled_at = clock_timestamp()
                     WHERE command_id = $1"
                );
                tx.execute(&sql, &[&forward]).await.map_err(failed)?;
                let sql = format!(
                    "INSERT INTO {table} (command_id, saga, saga_id, step, direction, answer)
                     VALUES ($1, $2, $3, $4, 'compensation', $5)"
                );
                let values: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
                    [&command.command_id, &command.saga, &command.saga_id, &command.step, &json];
                tx.execute(&sql, &values).await.map_err(failed)?;
            }
            (Direction::Compensation, false) => {}
        }
        Ok(())
    }

    /// Forgets what was handled longer ago than this, at most `limit` commands at a time; returns
    /// how many. Take more than the retention of the commands' topic: a command that comes after
    /// it was forgotten is taken for a new one.
    ///
    /// # Errors
    /// As the database says.
    pub async fn forget(
        &self,
        client: &impl GenericClient,
        older_than: Duration,
        limit: u32,
    ) -> Result<u64, tokio_postgres::Error> {
        let table = &self.table;
        let sql = format!(
            "DELETE FROM {table} WHERE command_id IN (
                SELECT command_id FROM {table}
                WHERE handled_at < clock_timestamp() - make_interval(secs => $1)
                ORDER BY handled_at LIMIT $2 FOR UPDATE SKIP LOCKED)"
        );
        client.execute(&sql, &[&older_than.as_secs_f64(), &i64::from(limit)]).await
    }
}

/// Has the participant do it, within a savepoint: a refusal leaves nothing.
async fn perform(
    tx: &mut Transaction<'_>,
    command: &Command,
    effect: impl AsyncFnOnce(&Transaction<'_>, &Command) -> Result<Answer, BoxError>,
) -> Result<Answer, ParticipantError> {
    let failed = |cause| database(command, cause);
    let inner = tx.transaction().await.map_err(failed)?;
    let answer = effect(&inner, command).await.map_err(|cause| effect_failed(command, cause))?;
    match &answer {
        Answer::Done(_) => inner.commit().await.map_err(failed)?,
        Answer::Refused(_) => inner.rollback().await.map_err(failed)?,
    }
    Ok(answer)
}

fn database(command: &Command, cause: tokio_postgres::Error) -> ParticipantError {
    let (step, saga_id) = (command.step.clone(), command.saga_id.clone());
    ParticipantError::Database { step, saga_id, cause }
}

fn effect_failed(command: &Command, cause: BoxError) -> ParticipantError {
    let (step, saga_id) = (command.step.clone(), command.saga_id.clone());
    ParticipantError::Effect { step, saga_id, cause }
}
