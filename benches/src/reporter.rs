//! JSON lines on standard output, in the form of the Kafka Streams peer (benches/java/README.md).

use std::io::Write;
use std::sync::Mutex;
use std::time::Instant;

use serde_json::{Map, Value};

/// Writes events. The harness reads them.
#[derive(Debug)]
pub(crate) struct Reporter {
    started: Instant,
    /// One line at a time.
    writing: Mutex<()>,
}

impl Reporter {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), writing: Mutex::new(()) }
    }

    /// Milliseconds since the reporter was made, which is when the worker started.
    pub(crate) fn uptime_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Writes one line.
    pub(crate) fn event(&self, event: &str, fields: &[(&str, Value)]) {
        let epoch = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        let mut line = Map::new();
        line.insert("event".to_owned(), event.into());
        line.insert("t_ms".to_owned(), self.uptime_ms().into());
        line.insert(
            "epoch_ms".to_owned(),
            u64::try_from(epoch.as_millis()).unwrap_or(u64::MAX).into(),
        );
        for (name, value) in fields {
            line.insert((*name).to_owned(), value.clone());
        }
        let _one_at_a_time = self.writing.lock();
        let mut out = std::io::stdout();
        // If the harness is gone, nobody is left to be told.
        let _ = writeln!(out, "{}", Value::Object(line)).and_then(|()| out.flush());
    }
}
