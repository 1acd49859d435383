//! A sink before it runs: its name, topics, target and options.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill::client::{Admin, ClientConfig, ClientError, Consumer, Waker};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::config::{BackOff, OnPoison, SinkOptions, StartAt};
use super::error::SinkError;
use super::gather::Gathered;
use super::handle::{Shared, SinkHandle};
use super::run::{Loop, Opening};
use super::target::TransactionalTarget;
use super::topics::Cluster;

/// Bytes that the Kafka client fetches in advance, unless the configuration says otherwise.
const FETCHED_KBYTES: &str = "16384";
/// Between two looks of the Kafka client at the partitions of its topics.
const METADATA_REFRESH_MS: &str = "10000";

/// Who keeps the offsets that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keeper {
    /// The target, in the data's transaction.
    Target,
    /// The consumer group, after the fact: at least once.
    Group,
}

/// A sink that is set up and not yet running.
///
/// Its name is the consumer group and the name under which offsets are stored: another name begins
/// anew. Several processes with the same name share the partitions.
#[derive(Debug)]
#[must_use = "a sink does nothing before it is spawned"]
pub struct Sink<T> {
    name: String,
    kafka: ClientConfig,
    topics: Vec<String>,
    target: T,
    options: SinkOptions,
    keeper: Keeper,
}

impl<T: TransactionalTarget> Sink<T> {
    /// Sets up a sink from these topics into a target of one's own.
    ///
    /// `kafka` needs `bootstrap.servers`; what the sink rests on is set by itself: read_committed,
    /// no automatic commit or reset, the classic group protocol with the range assignor.
    pub fn new(
        kafka: &ClientConfig,
        name: &str,
        topics: impl IntoIterator<Item = impl Into<String>>,
        target: T,
    ) -> Self {
        Self {
            name: name.to_owned(),
            kafka: kafka.clone(),
            topics: topics.into_iter().map(Into::into).collect(),
            target,
            options: SinkOptions::default(),
            keeper: Keeper::Target,
        }
    }

    pub(super) fn kept_by_group(mut self) -> Self {
        self.keeper = Keeper::Group;
        self
    }

    /// Replaces all options.
    pub fn options(mut self, options: SinkOptions) -> Self {
        self.options = options;
        self
    }

    /// Says what happens to a record that the target refuses.
    pub fn on_poison(mut self, on_poison: OnPoison) -> Self {
        self.options.on_poison = on_poison;
        self
    }

    /// Says where a topic that was never read begins.
    pub fn start_at(mut self, start_at: StartAt) -> Self {
        self.options.start_at = start_at;
        self
    }

    /// Starts it: a thread for Kafka, and tasks of the present tokio runtime for the target.
    ///
    /// # Errors
    /// If the options are not valid, or it is called outside a tokio runtime.
    pub fn spawn(self) -> Result<SinkHandle, SinkError> {
        let name = self.name.clone();
        let invalid = |what: &str| SinkError::Invalid { sink: name.clone(), what: what.to_owned() };
        if name.is_empty() {
            return Err(invalid("it needs a name"));
        }
        if self.topics.is_empty() {
            return Err(invalid("it needs a topic"));
        }
        if self.topics.iter().any(|topic| topic.starts_with('^')) {
            return Err(invalid("its topics are names, not regular expressions"));
        }
        if self.options.batch_records == 0 || self.options.batch_bytes == 0 {
            return Err(invalid("a batch holds at least one record and one byte"));
        }
        let runtime = Handle::try_current()
            .map_err(|_| invalid("it is spawned inside a tokio runtime, which then runs it"))?;
        let waker = Arc::new(Waker::new());
        let shared = Arc::new(Shared::new(Arc::clone(&waker)));
        let (tell, ended) = oneshot::channel();
        let handle = SinkHandle { shared: Arc::clone(&shared), ended, name: name.clone() };
        let sink = self.looping(runtime, shared, waker);
        let sink = sink.map_err(|source| SinkError::Kafka { sink: name.clone(), source })?;
        std::thread::Builder::new()
            .name(format!("sink-{name}"))
            .spawn(move || {
                // nobody may be left to be told
                let _ = tell.send(sink.run());
            })
            .map_err(|error| invalid(&format!("could not start its thread: {error}")))?;
        Ok(handle)
    }

    /// Starts it and waits until it ends, which it does by an error only.
    ///
    /// # Errors
    /// Why it ended.
    pub async fn run(self) -> Result<(), SinkError> {
        self.spawn()?.ended().await
    }

    fn looping(
        self,
        runtime: Handle,
        shared: Arc<Shared>,
        waker: Arc<Waker>,
    ) -> Result<Loop<T>, ClientError> {
        let mut config = self.kafka.clone();
        let defaults = [
            ("queued.max.messages.kbytes", FETCHED_KBYTES),
            ("topic.metadata.refresh.interval.ms", METADATA_REFRESH_MS),
        ];
        for (option, value) in defaults {
            if config.get(option).is_none() {
                config.set(option, value);
            }
        }
        config
            .set("group.id", &*self.name)
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "error")
            .set("group.protocol", "classic")
            .set("partition.assignment.strategy", "range");
        let consumer = Consumer::new(&config, Arc::clone(&waker))?;
        let cluster = Cluster {
            admin: Admin::new(&self.kafka)?,
            topics: self.topics,
            start_at: self.options.start_at,
            timeout: self.options.patience.min(Duration::from_secs(5)),
        };
        let now = Instant::now();
        Ok(Loop {
            name: self.name,
            keeper: self.keeper,
            runtime,
            shared,
            waker,
            consumer,
            cluster,
            target: Some(self.target),
            done: None,
            epoch: 0,
            assignment: Vec::new(),
            opening: Opening::No,
            gathered: Gathered::default(),
            todo: std::collections::VecDeque::new(),
            hint: std::collections::BTreeMap::new(),
            facts: Vec::new(),
            back_off: BackOff::new(&self.options),
            not_before: now,
            housekeeping: now + self.options.housekeeping,
            troubled_since: None,
            options: self.options,
        })
    }
}
