//! What each client is told: the user's options over our tuning, our rules over both.
//!
//! Numbers without a source in a comment are starting values: chosen by reasoning, not measured.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Config;
use super::kafka::Client;
use super::limits;
use super::reset::AutoOffsetReset;
use super::secret::Secret;
use super::value::ByteSize;

/// Who a worker is, over restarts: names its place in the group and its transactions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WorkerIdentity {
    /// Of the process; kept in the locked state directory, so that no two processes share it.
    pub process: String,
    /// Number of the worker in its process, from 1, as in Kafka Streams' thread names.
    pub worker: usize,
}

impl WorkerIdentity {
    /// Makes an identity.
    #[must_use]
    pub fn new(process: impl Into<String>, worker: usize) -> Self {
        Self { process: process.into(), worker }
    }

    /// The worker's `transactional.id`: `<application.id>-<process>-<worker>`, as Kafka Streams
    /// forms it. The same after a restart, so that the new producer ends the transaction of the
    /// dead one at once instead of after its time-out.
    #[must_use]
    pub fn transactional_id(&self, config: &Config) -> String {
        format!("{}-{}-{}", config.application_id, self.process, self.worker)
    }

    /// The worker's `group.instance.id`, where membership is static.
    #[must_use]
    pub fn group_instance_id(&self, config: &Config) -> Option<String> {
        config.static_membership.then(|| match &config.group_instance_id {
            Some(prefix) => format!("{prefix}-{}", self.worker),
            None => format!("{}-{}-{}", config.application_id, self.process, self.worker),
        })
    }

    /// The name of one of the worker's clients, e.g. `app-3f2a-StreamThread-1-consumer`.
    fn client_id(&self, config: &Config, role: &str) -> String {
        let prefix = config.effective_client_id();
        format!("{prefix}-{}-StreamThread-{}-{role}", self.process, self.worker)
    }
}

/// The properties of one client. `Debug` hides the values of secrets.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ClientProperties(BTreeMap<&'static str, Secret>);

impl ClientProperties {
    /// Every property, for the client's own configuration and nothing else: it holds secrets.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.expose()))
    }

    /// The value of one property.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(Secret::expose)
    }

    fn set(&mut self, name: &'static str, value: impl ToString) {
        self.0.insert(name, Secret::new(value.to_string()));
    }

    fn set_ms(&mut self, name: &'static str, value: Duration) {
        self.set(name, value.as_millis());
    }
}

impl Config {
    /// Properties of a worker's consumer.
    #[must_use]
    pub fn consumer_properties(&self, identity: &WorkerIdentity) -> ClientProperties {
        let mut p = common_tuning();
        // A partition that was just assigned, resumed or sought waits for the fetch that is on its
        // way (one per broker): the default of 500 ms is felt in every rebalance.
        p.set("fetch.wait.max.ms", 50);
        // A full partition queue is left alone for so long; the default of 1 s makes a saw-tooth
        // out of the throughput (librdkafka #2879).
        p.set("fetch.queue.backoff.ms", 10);
        // Per partition, and each record costs some hundred bytes besides its own: the default of
        // 100,000 is tens of megabytes a partition.
        p.set("queued.min.messages", 5_000);
        p.set("check.crcs", true); // The Java client's default; librdkafka's is to trust the disk.
        self.user_options(&mut p, Client::MainConsumer);

        self.consumer_rules(&mut p);
        p.set("client.id", identity.client_id(self, "consumer"));
        if let Some(id) = identity.group_instance_id(self) {
            p.set("group.instance.id", id);
        }
        p.set_ms("session.timeout.ms", self.session_timeout);
        p.set_ms("heartbeat.interval.ms", self.heartbeat_interval);
        p.set_ms("max.poll.interval.ms", self.max_poll_interval);
        // The only assignor of librdkafka that gives partition p of co-partitioned topics to one
        // member.
        p.set("partition.assignment.strategy", "range");
        p.set("auto.offset.reset", reset_word(self.auto_offset_reset));
        if self.exactly_once() {
            // Also makes the client ask for stable offsets: it waits until a predecessor's
            // transaction is decided (KIP-447).
            p.set("isolation.level", "read_committed");
        } else if p.get("isolation.level").is_none() {
            p.set("isolation.level", "read_uncommitted");
        }
        let queue = queue_kbytes(self.input_buffer_max, limits::PARTITIONS_PER_WORKER);
        p.set("queued.max.messages.kbytes", queue);
        p
    }

    /// Properties of a worker's producer: transactional under exactly-once, else idempotent.
    #[must_use]
    pub fn producer_properties(&self, identity: &WorkerIdentity) -> ClientProperties {
        let mut p = common_tuning();
        // Between one request a record and one request a commit: records sent early in the
        // interval leave less to wait for at its end. A commit does not wait for it.
        p.set("linger.ms", 20);
        // The first request of a transaction is refused while the markers of the last one are
        // still written; the default of 100 ms is then a whole commit interval (librdkafka #3221).
        p.set("retry.backoff.ms", 20);
        // More than a commit interval of records at a million a second; the default of 100,000
        // fills in 100 ms. The bytes are the bound.
        p.set("queue.buffering.max.messages", 1_000_000);
        p.set("queue.buffering.max.kbytes", 64 * 1024);
        if self.exactly_once() {
            // At least one request has to fit into a transaction, and librdkafka refuses more.
            p.set_ms("socket.timeout.ms", limits::SOCKET_TIMEOUT.min(self.transaction_timeout));
        }
        self.user_options(&mut p, Client::Producer);

        self.common_rules(&mut p);
        p.set("client.id", identity.client_id(self, "producer"));
        p.set("enable.idempotence", true);
        p.set("acks", "all");
        // Partitions are computed by Tidemill; should one slip through, Java's rule holds.
        p.set("partitioner", "murmur2_random");
        // Changelog positions come from the reports of success.
        p.set("delivery.report.only.error", false);
        if self.exactly_once() {
            p.set("transactional.id", identity.transactional_id(self));
            p.set_ms("transaction.timeout.ms", self.transaction_timeout);
            // Past the transaction's end nothing can be delivered; librdkafka refuses more.
            p.set_ms("message.timeout.ms", self.transaction_timeout);
        } else {
            // 0 would mean for ever here, but at once in `task.timeout.ms`.
            let timeout = self.task_timeout.clamp(MESSAGE_TIMEOUT_MIN, MESSAGE_TIMEOUT_MAX);
            p.set_ms("message.timeout.ms", timeout);
        }
        p
    }

    /// Properties of a process's restore consumer: it is assigned partitions and commits nothing.
    #[must_use]
    pub fn restore_properties(&self, process: &str) -> ClientProperties {
        self.state_properties(Client::RestoreConsumer, format!("{process}-restore-consumer"))
    }

    /// Properties of the consumer that fills the global stores of a process: as those of the
    /// restore consumer.
    #[must_use]
    pub fn global_properties(&self, process: &str) -> ClientProperties {
        self.state_properties(Client::GlobalConsumer, format!("{process}-global-consumer"))
    }

    fn state_properties(&self, client: Client, name: String) -> ClientProperties {
        let mut p = common_tuning();
        // Restoring ends at a known position: the wait at the end of a partition is pure delay.
        p.set("fetch.wait.max.ms", 10);
        p.set("fetch.queue.backoff.ms", 5);
        // Larger reads: one fetch is on its way per broker, so bytes per round trip are the speed.
        p.set("fetch.message.max.bytes", ByteSize::mib(4).0);
        p.set("queued.min.messages", 50_000);
        p.set("check.crcs", true); // As for the main consumer: state lives long.
        self.user_options(&mut p, client);

        self.consumer_rules(&mut p);
        p.set("client.id", format!("{}-{name}", self.effective_client_id()));
        // Under at-least-once too: the changelog may hold aborted records of an exactly-once past.
        p.set("isolation.level", "read_committed");
        // It reads from positions; where there is no such position any more, the restore decides.
        p.set("auto.offset.reset", "error");
        let queue = queue_kbytes(self.restore_buffer_max, limits::PARTITIONS_PER_RESTORE);
        p.set("queued.max.messages.kbytes", queue);
        p
    }

    /// Properties of a process's admin client.
    #[must_use]
    pub fn admin_properties(&self, process: &str) -> ClientProperties {
        let mut p = common_tuning();
        // Requests go to the leaders in the cache, and a refusal does not renew it: with the
        // default of 15 minutes, a broker that restarted is of no use for so long.
        p.set("metadata.max.age.ms", 1_000);
        self.user_options(&mut p, Client::Admin);
        self.common_rules(&mut p);
        p.set("client.id", format!("{}-{process}-admin", self.effective_client_id()));
        p
    }

    fn user_options(&self, p: &mut ClientProperties, client: Client) {
        for (name, value) in self.client_options.of(client) {
            p.0.insert(name, value.clone());
        }
    }

    fn common_rules(&self, p: &mut ClientProperties) {
        let servers: Vec<&str> = self.bootstrap_servers.split(',').map(str::trim).collect();
        p.set("bootstrap.servers", servers.join(","));
        // A topic that is made by asking for it has the broker's default partitions.
        p.set("allow.auto.create.topics", false);
    }

    fn consumer_rules(&self, p: &mut ClientProperties) {
        self.common_rules(p);
        // The restore consumer has it too: librdkafka assigns nothing to a consumer without group.
        p.set("group.id", &self.application_id);
        p.set("enable.auto.commit", false);
        p.set("enable.auto.offset.store", false);
        p.set("enable.partition.eof", true);
    }
}

const MESSAGE_TIMEOUT_MIN: Duration = Duration::from_secs(1);
/// librdkafka counts milliseconds in 32 bits.
const MESSAGE_TIMEOUT_MAX: Duration = Duration::from_millis(i32::MAX as u64);

/// What every client begins with.
fn common_tuning() -> ClientProperties {
    let mut p = ClientProperties::default();
    p.set_ms("socket.timeout.ms", limits::SOCKET_TIMEOUT);
    // Firewalls forget idle connections without a word.
    p.set("socket.keepalive.enable", true);
    // Kafka Streams' values: a broker that is back is found within a second, not within ten.
    p.set("reconnect.backoff.ms", 50);
    p.set("reconnect.backoff.max.ms", 1_000);
    p
}

/// The bound of one partition's queue: librdkafka counts per partition, and only values.
fn queue_kbytes(total: ByteSize, partitions: u64) -> u64 {
    let share = ByteSize(total.0 / partitions);
    share.clamp(limits::PARTITION_QUEUE_MIN, limits::PARTITION_QUEUE_MAX).0 / 1024
}

fn reset_word(reset: AutoOffsetReset) -> &'static str {
    match reset {
        AutoOffsetReset::Earliest => "earliest",
        AutoOffsetReset::Latest => "latest",
        // the worker finds the place itself, and never leaves one out
        AutoOffsetReset::None | AutoOffsetReset::ByDuration(_) => "error",
    }
}
