//! The balances job on Tidemill: the topology of the examples, with Tidemill's defaults.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidemill::record::{Offset, TopicPartition};
use tidemill::{BoxError, Config, StateRestoreListener, Tidemill};
use tidemill_examples::balances;

use crate::options::WorkerOptions;
use crate::reporter::Reporter;

/// Runs it until SIGTERM.
pub(crate) fn run(options: &WorkerOptions) -> Result<(), BoxError> {
    let reporter = Arc::new(Reporter::new());
    let config = Config::new(&options.application_id, &options.bootstrap_servers)
        .with_state_dir(&options.state_dir)
        .with_commit_interval(Duration::from_millis(options.commit_interval_ms));
    let topology = balances::topology(&options.input, &options.output, !options.repartition)?;
    reporter.event("start", &[("tidemill", env!("CARGO_PKG_VERSION").into())]);
    let states = Arc::clone(&reporter);
    let tidemill = Tidemill::new(topology, config)?
        .with_global_state_restore_listener(RestoreWatch::new(&reporter))
        .with_state_listener(move |state, from| {
            let name = |state: tidemill::State| state.to_string().to_uppercase();
            states.event("state", &[("state", name(state).into()), ("from", name(from).into())]);
        });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(tidemill.run());
    if let Err(error) = &ended {
        reporter.event("error", &[("error", error.to_string().into())]);
    }
    reporter.event("closed", &[("clean", ended.is_ok().into())]);
    Ok(ended?)
}

/// Counts restored records and the time in which at least one store was being restored.
struct RestoreWatch {
    reporter: Arc<Reporter>,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    restored: u64,
    finished_ms: u64,
    active_since: u64,
    active: u32,
}

impl RestoreWatch {
    fn new(reporter: &Arc<Reporter>) -> Self {
        Self { reporter: Arc::clone(reporter), counts: Mutex::default() }
    }

    fn finished(&self, event: &str, changelog: &TopicPartition, records: u64) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.reporter.uptime_ms();
        counts.active = counts.active.saturating_sub(1);
        if counts.active == 0 {
            counts.finished_ms += now - counts.active_since;
            counts.active_since = now;
        }
        let restore_ms = counts.finished_ms + (now - counts.active_since);
        self.reporter.event(
            event,
            &[
                ("partition", changelog.to_string().into()),
                ("records", records.into()),
                ("restored", counts.restored.into()),
                ("restore_ms", restore_ms.into()),
            ],
        );
    }
}

impl StateRestoreListener for RestoreWatch {
    fn on_restore_start(&self, changelog: &TopicPartition, _: &str, start: Offset, end: Offset) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.active == 0 {
            counts.active_since = self.reporter.uptime_ms();
        }
        counts.active += 1;
        let partition = changelog.to_string();
        self.reporter.event(
            "restore_start",
            &[("partition", partition.into()), ("from", start.0.into()), ("to", end.0.into())],
        );
    }

    fn on_batch_restored(&self, _: &TopicPartition, _: &str, _: Offset, records: u64) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).restored += records;
    }

    fn on_restore_end(&self, changelog: &TopicPartition, _: &str, records: u64) {
        self.finished("restore_end", changelog, records);
    }

    fn on_restore_suspended(&self, changelog: &TopicPartition, _: &str, records: u64) {
        self.finished("restore_suspended", changelog, records);
    }
}
