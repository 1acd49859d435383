//! Settings of the test driver.

use crate::errors::Handlers;
use crate::record::Timestamp;
use crate::task::TaskIdle;

/// What the driver needs to know besides the topology.
#[derive(Debug, Clone)]
pub struct DriverConfig {
    /// Prefix of the internal topics' names. Default: `test`.
    pub application_id: String,
    /// Where the wall clock starts, in milliseconds since the Unix epoch. Default: 0.
    pub initial_wall_clock_time: Timestamp,
    /// Who decides on bad records, but not on those of global stores. Default: all three fail.
    pub handlers: Handlers,
    /// How long, in wall-clock time, records wait for a source topic that has none. Default: 0 ms,
    /// that is, not at all.
    pub task_idle: TaskIdle,
    /// Bytes that each store may hold between commits as a read cache. Default: 1 MiB.
    pub store_cache_bytes_max: usize,
}

impl Default for DriverConfig {
    fn default() -> Self {
        Self {
            application_id: "test".to_owned(),
            initial_wall_clock_time: Timestamp(0),
            handlers: Handlers::default(),
            task_idle: TaskIdle::CaughtUpAnd(std::time::Duration::ZERO),
            store_cache_bytes_max: 1 << 20,
        }
    }
}

impl DriverConfig {
    /// The defaults with an application id.
    pub fn new(application_id: impl Into<String>) -> Self {
        Self { application_id: application_id.into(), ..Self::default() }
    }

    /// Sets where the wall clock starts, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn with_initial_wall_clock_time(mut self, time: Timestamp) -> Self {
        self.initial_wall_clock_time = time;
        self
    }

    /// Sets who decides on bad records.
    #[must_use]
    pub fn with_handlers(mut self, handlers: Handlers) -> Self {
        self.handlers = handlers;
        self
    }

    /// Sets how long records wait for a source topic that has none.
    #[must_use]
    pub fn with_task_idle(mut self, task_idle: TaskIdle) -> Self {
        self.task_idle = task_idle;
        self
    }
}
