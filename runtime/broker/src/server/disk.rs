//! The journal of a broker that keeps its data, or none.

use std::path::Path;

use super::ServerError;
use crate::engine::{Engine, EngineConfig, Millis};
use crate::journal::{File, JournalError};

/// Where what happened is written before anybody is told.
#[derive(Debug)]
pub(super) struct Disk(Option<File>);

impl Disk {
    /// Opens the journal in a directory and returns the engine that wrote it; without a directory,
    /// an engine that forgets.
    pub(super) fn open(
        directory: Option<&Path>,
        config: EngineConfig,
        now: Millis,
    ) -> Result<(Self, Engine), ServerError> {
        let Some(directory) = directory else { return Ok((Self(None), Engine::new(config))) };
        let (file, entries) = File::open(directory).map_err(ServerError::Journal)?;
        let count = entries.len();
        let engine = Engine::recover(config, entries, now).map_err(ServerError::Recovery)?;
        let (directory, bytes) = (directory.display(), file.size());
        tracing::info!(%directory, entries = count, bytes, "the journal was read");
        Ok((Self(Some(file)), engine))
    }

    /// Writes what the engine has done since the last time. When most of the file is about what is
    /// no more, it is written anew; everybody waits for that.
    pub(super) fn write(&mut self, engine: &mut Engine) -> Result<(), JournalError> {
        let entries = engine.take_journal();
        let Some(file) = &mut self.0 else { return Ok(()) };
        file.append(&entries)?;
        if !entries.is_empty() && file.is_due(|| engine.live_size()) {
            // the old file is still there if this fails, and goes on being written
            match file.rewrite(&engine.snapshot()) {
                Ok(()) => tracing::info!(bytes = file.size(), "the journal was written anew"),
                Err(error) => tracing::warn!(%error, "the journal could not be written anew"),
            }
        }
        Ok(())
    }
}
