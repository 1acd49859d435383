//! A replication session: questions first, then the log, all on one connection to one server.

use std::time::Duration;

use bytes::Bytes;
use pgwire_replication::{ReplicationClient, ReplicationConfig, ReplicationEvent};
use serde::de::DeserializeOwned;
use tokio_postgres::config::{Host, SslMode};

use super::error::{failed, wire_error};
use super::lsn::Lsn;
use super::settings::LogSettings;
use crate::postgres::quoted;
use crate::source::SourceError;

/// How values are printed, here and in ordinary sessions that read the same tables.
pub(crate) const PRINTING: &str = "-c datestyle=ISO -c intervalstyle=postgres -c timezone=UTC \
     -c extra_float_digits=1 -c bytea_output=hex -c standard_conforming_strings=on";

/// Events between the network and the source. A row may be as large as it likes, so not many.
const BUFFERED_EVENTS: usize = 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// One session.
pub(crate) struct Session {
    client: ReplicationClient,
    slot: String,
}

/// Something that the log says.
#[derive(Debug)]
pub(crate) enum LogEvent {
    /// A transaction begins.
    Begin { commit_lsn: Lsn, commit_time: i64, xid: u32 },
    /// A table, a change, or something to be skipped: a message of pgoutput.
    Message(Bytes),
    /// The transaction ends.
    Commit { end_lsn: Lsn },
    /// Everything before this point was told.
    Idle(Lsn),
}

impl Session {
    /// Connects to the first server that answers. Nothing is streamed yet; when it is, it begins
    /// after `from`, and `from` is what PostgreSQL is told to be safe.
    pub(crate) async fn connect(settings: &LogSettings, from: Lsn) -> Result<Self, SourceError> {
        let configs = configs(settings, from)?;
        let mut last = failed("no server is configured");
        for config in configs {
            let connected = async {
                let mut client = ReplicationClient::connect_gated(config).await?;
                client.simple_query("SELECT 1").await?;
                Ok(client)
            };
            let patience = settings.postgres.get_connect_timeout().copied();
            match tokio::time::timeout(patience.unwrap_or(CONNECT_TIMEOUT), connected).await {
                Ok(Ok(client)) => return Ok(Self { client, slot: settings.slot.clone() }),
                Ok(Err(error)) => last = wire_error(error, &settings.slot),
                Err(_) => last = SourceError::Unavailable("no answer to the connection".into()),
            }
        }
        Err(last)
    }

    /// Asks for rows of text.
    pub(crate) async fn rows(&mut self, sql: &str) -> Result<Vec<Vec<String>>, SourceError> {
        let rows = self.client.simple_query(sql).await;
        let rows = rows.map_err(|error| wire_error(error, &self.slot))?;
        let text = |value: Option<Bytes>| {
            value.map_or_else(String::new, |value| String::from_utf8_lossy(&value).into_owned())
        };
        Ok(rows.into_iter().map(|row| row.into_iter().map(text).collect()).collect())
    }

    /// Asks for rows that each are one JSON value.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &mut self,
        sql: &str,
    ) -> Result<Vec<T>, SourceError> {
        let mut found = Vec::new();
        for row in self.rows(sql).await? {
            let text = row.first().map(String::as_str).unwrap_or_default();
            found.push(serde_json::from_str(text).map_err(failed)?);
        }
        Ok(found)
    }

    /// Returns the server's system identifier, timeline, and how far its log was flushed.
    pub(crate) async fn identify(&mut self) -> Result<(String, i32, Lsn), SourceError> {
        let found = self.client.identify_system().await;
        let found = found.map_err(|error| wire_error(error, &self.slot))?;
        let timeline = i32::try_from(found.timeline).map_err(failed)?;
        Ok((found.system_id, timeline, Lsn(found.xlogpos.as_u64())))
    }

    /// Returns the history file of a timeline.
    pub(crate) async fn history(&mut self, timeline: i32) -> Result<String, SourceError> {
        let timeline = u32::try_from(timeline).map_err(failed)?;
        let found = self.client.timeline_history(timeline).await;
        let found = found.map_err(|error| wire_error(error, &self.slot))?;
        Ok(String::from_utf8_lossy(&found.content).into_owned())
    }

    /// Has the log streamed; the slot is ours once this returns.
    pub(crate) async fn start(&mut self) -> Result<(), SourceError> {
        let wire = |error| wire_error(error, &self.slot);
        self.client.start().await.map_err(wire)?;
        self.client.wait_started().await.map_err(wire)
    }

    /// Returns what comes next, waiting for it at most so long; zero takes what is there.
    pub(crate) async fn next(&mut self, wait: Duration) -> Result<Option<LogEvent>, SourceError> {
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            let event = tokio::select! {
                biased;
                event = self.client.recv() => event,
                () = tokio::time::sleep_until(deadline) => return Ok(None),
            };
            match event.map_err(|error| wire_error(error, &self.slot))? {
                Some(event) => {
                    if let Some(event) = translated(event) {
                        return Ok(Some(event));
                    }
                }
                None => return Err(SourceError::Unavailable("the log ended".into())),
            }
        }
    }

    /// Tells PostgreSQL that what lies before this point will never be asked for again.
    pub(crate) fn acknowledge(&self, lsn: Lsn) {
        self.client.update_applied_lsn(pgwire_replication::Lsn::from_u64(lsn.0));
    }

    /// Returns how far the server's log reached when it was last heard of.
    pub(crate) fn server_lsn(&self) -> Lsn {
        Lsn(self.client.metrics().last_wal_end().as_u64())
    }
}

fn translated(event: ReplicationEvent) -> Option<LogEvent> {
    Some(match event {
        ReplicationEvent::KeepAlive { wal_end, .. } => LogEvent::Idle(Lsn(wal_end.as_u64())),
        ReplicationEvent::Begin { final_lsn, xid, commit_time_micros } => LogEvent::Begin {
            commit_lsn: Lsn(final_lsn.as_u64()),
            commit_time: commit_time_micros,
            xid,
        },
        ReplicationEvent::XLogData { data, .. } => LogEvent::Message(data),
        ReplicationEvent::Commit { end_lsn, .. } => {
            LogEvent::Commit { end_lsn: Lsn(end_lsn.as_u64()) }
        }
        // messages are not for us; the log stops only where a place to stop at was given
        ReplicationEvent::Message { .. } | ReplicationEvent::StoppedAt { .. } => return None,
    })
}

/// One for each server that the configuration names.
fn configs(settings: &LogSettings, from: Lsn) -> Result<Vec<ReplicationConfig>, SourceError> {
    let postgres = &settings.postgres;
    if matches!(postgres.get_ssl_mode(), SslMode::Require) {
        return Err(failed("sslmode=require: the replication session has no TLS"));
    }
    let password = postgres.get_password().unwrap_or_default();
    let password = std::str::from_utf8(password).map_err(|_| failed("the password is no UTF-8"))?;
    let user = postgres.get_user().ok_or_else(|| failed("no user is configured"))?;
    let database = postgres.get_dbname().unwrap_or(user);
    let options = match postgres.get_options() {
        Some(options) => format!("{options} {PRINTING}"),
        None => PRINTING.to_owned(),
    };
    let hosts = postgres.get_hosts().iter().enumerate().map(|(at, host)| {
        let ports = postgres.get_ports();
        let port = ports.get(at).or(ports.first()).copied().unwrap_or(5432);
        let host = match host {
            Host::Tcp(host) => host.clone(),
            Host::Unix(path) => path.to_string_lossy().into_owned(),
        };
        let lsn = pgwire_replication::Lsn::from_u64(from.0);
        // quoted, because the server folds the case of what is not
        let publication = quoted(&settings.publication);
        ReplicationConfig::new(host, user, password, database, &*settings.slot, publication)
            .with_port(port)
            .with_start_lsn(lsn)
            .with_ack_lsn(lsn)
            .with_options(options.clone())
            .with_application_name(format!("tidemill {}", settings.slot))
            .with_status_interval(settings.status_interval)
            .with_buffer_size(BUFFERED_EVENTS)
            .with_max_message_size(settings.row_bytes_max)
    });
    Ok(hosts.collect())
}

/// A text as it stands in a statement, whatever it holds.
pub(crate) fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::literal;

    #[test]
    fn nothing_ends_a_literal_early() {
        assert_eq!(literal("a'; DROP TABLE x --"), "E'a''; DROP TABLE x --'");
        assert_eq!(literal("\\'"), "E'\\\\'''");
    }
}
