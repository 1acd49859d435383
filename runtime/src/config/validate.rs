//! The rules between options. Every violation is found in one pass; none holds a value that was
//! given as text.

use std::time::Duration;

use super::client_rules::{client_option, client_relations, files, security};
use super::error::{ConfigError, Violation};
use super::kafka::Client;
use super::limits;
use super::secret::shown_key;
use super::value::{ByteSize, ExceptionPolicy};
use super::{Config, key};

/// Where the rules put what they find.
pub(super) type Found = Vec<Violation>;

impl Config {
    /// Checks everything: what could not be read, each option by itself, options against each
    /// other, and that the files for TLS can be read. Talks to no broker.
    ///
    /// # Errors
    /// [`ConfigError`] with every violation, each naming the option, the problem and the remedy.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut found = Vec::new();
        names(self, &mut found);
        group(self, &mut found);
        transaction(self, &mut found);
        sizes(self, &mut found);
        handlers(self, &mut found);
        for (name, value) in self.client_options.iter() {
            found.extend(client_option(name, value.expose(), self.exactly_once()));
        }
        client_relations(self, &mut found);
        security(self, &mut found);
        files(self, &mut found);
        topic_options(self, &mut found);
        // An option that could not be read holds its default: no second complaint about that.
        let unread = |v: &Violation| {
            let given = |p: &Violation| p.key.split(' ').next() == Some(v.key.as_str());
            self.problems.iter().any(given)
        };
        let rules = found.into_iter().filter(|v| !unread(v));
        ConfigError::unless_empty(self.problems.iter().cloned().chain(rules).collect())
    }

    /// What is allowed and still worth knowing at every start: lost protection, state in a place
    /// that is not kept, times that brokers refuse by default.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.notes.clone();
        let set = |client, name| self.client_options.of(client).get(name).map(|v| v.expose());
        let any = |name, value: &str| {
            let is = |client| set(client, name).is_some_and(|v| v.eq_ignore_ascii_case(value));
            Client::ALL.into_iter().any(is)
        };
        if any("enable.ssl.certificate.verification", "false") {
            warnings.push(
                "enable.ssl.certificate.verification is false: anybody can pose as the broker"
                    .to_owned(),
            );
        }
        if any("ssl.endpoint.identification.algorithm", "none") {
            warnings.push(
                "ssl.endpoint.identification.algorithm is none: whoever holds any certificate of \
                 a trusted authority can pose as the broker"
                    .to_owned(),
            );
        }
        if self.allow_sasl_plain_without_tls {
            warnings.push(format!(
                "{} is true: passwords may cross the network readable",
                key::allow_sasl_plain_without_tls
            ));
        }
        if self.state_dir.starts_with(std::env::temp_dir()) {
            warnings.push(format!(
                "{} is in the temporary directory: after a restart of the machine all state is \
                 restored from the changelogs",
                key::state_dir
            ));
        }
        let usual = limits::BROKER_SESSION_TIMEOUT_MIN..=limits::BROKER_SESSION_TIMEOUT_MAX;
        if !usual.contains(&self.session_timeout) {
            warnings.push(format!(
                "{} is outside of what brokers accept by default (6 s to 30 min)",
                key::session_timeout
            ));
        }
        warnings
    }
}

/// Why a text is no name of an application, topic or file; `None` where it is one. Kafka's rule for
/// topics, and no hidden files or command line flags either.
pub(super) fn name_problem(name: &str) -> Option<&'static str> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() {
        Some("it is empty")
    } else if !name.chars().all(legal) {
        Some("it holds a character that is no letter, digit, '.', '_' or '-'")
    } else if name.starts_with(['.', '-']) {
        Some("it starts with '.' or '-'")
    } else if name.len() > limits::TOPIC_NAME_BYTES_MAX {
        Some("it is longer than 249 characters, Kafka's limit for a name")
    } else {
        None
    }
}

/// What is wrong with a list of brokers. Names the place in the list, never the text: it may be a
/// URL with a password in it.
pub(super) fn bootstrap_problem(servers: &str) -> Option<String> {
    servers.split(',').enumerate().find_map(|(at, server)| {
        let (host, port) = server.trim().rsplit_once(':').unwrap_or((server.trim(), ""));
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let literal = |c: char| c.is_ascii_hexdigit() || matches!(c, ':' | '.');
        let host_ok = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(ipv6) => !ipv6.is_empty() && ipv6.chars().all(literal),
            None => !host.is_empty() && host.chars().all(legal),
        };
        let port_ok = port.parse().is_ok_and(|port: u16| port > 0);
        (!host_ok || !port_ok).then(|| format!("entry {} is not of the form host:port", at + 1))
    })
}

fn names(config: &Config, found: &mut Found) {
    if config.application_id.is_empty() {
        found.push(Violation::new(key::application_id, "it is required", "name the application"));
    } else if let Some(problem) = name_problem(&config.application_id) {
        found.push(Violation::new(key::application_id, problem, "choose another name"));
    } else if config.application_id.len() > limits::APPLICATION_ID_BYTES_MAX {
        found.push(Violation::new(
            key::application_id,
            "it is longer than 150 characters",
            "shorten it: store and topic names are appended to it, and Kafka allows 249",
        ));
    }
    if config.bootstrap_servers.is_empty() {
        let remedy = "name a broker, e.g. localhost:9092";
        found.push(Violation::new(key::bootstrap_servers, "it is required", remedy));
    } else if let Some(problem) = bootstrap_problem(&config.bootstrap_servers) {
        let remedy = "write host:port, separated by commas, without protocol or credentials";
        found.push(Violation::new(key::bootstrap_servers, problem, remedy));
    }
    let optional = [
        (key::client_id, &config.client_id),
        (key::group_instance_id, &config.group_instance_id),
        (key::dead_letter_queue_topic, &config.dead_letter_queue_topic),
    ];
    for (option, name) in optional {
        if let Some(problem) = name.as_deref().and_then(name_problem) {
            found.push(Violation::new(option, problem, "choose another name"));
        }
    }
    if config.group_instance_id.is_some() && !config.static_membership {
        let remedy = "set it to true, or remove group.instance.id";
        let problem = "it is false, and group.instance.id is set";
        found.push(Violation::new(key::static_membership, problem, remedy));
    }
    if config.state_dir.as_os_str().is_empty() {
        found.push(Violation::new(key::state_dir, "it is empty", "name a folder"));
    }
}

/// `value` within `min..=max`.
fn within(option: &str, value: Duration, min: Duration, max: Duration, found: &mut Found) {
    if value < min || value > max {
        let (at, min, max) = (value.as_millis(), min.as_millis(), max.as_millis());
        let remedy = format!("choose from {min} to {max} (milliseconds)");
        found.push(Violation::new(option, format!("{at} ms is out of range"), remedy));
    }
}

fn group(config: &Config, found: &mut Found) {
    let session = config.session_timeout;
    let one = Duration::from_millis(1);
    within(
        key::session_timeout,
        session,
        limits::SESSION_TIMEOUT_MIN,
        limits::SESSION_TIMEOUT_MAX,
        found,
    );
    within(
        key::heartbeat_interval,
        config.heartbeat_interval,
        one,
        limits::SESSION_TIMEOUT_MAX,
        found,
    );
    within(
        key::max_poll_interval,
        config.max_poll_interval,
        one,
        limits::MAX_POLL_INTERVAL_MAX,
        found,
    );
    if config.heartbeat_interval.saturating_mul(limits::HEARTBEATS_PER_SESSION) > session {
        found.push(Violation::new(
            key::heartbeat_interval,
            "three of it do not fit into session.timeout.ms",
            format!("choose at most {} ms", session.as_millis() / 3),
        ));
    }
    if session > config.max_poll_interval {
        found.push(Violation::new(
            key::max_poll_interval,
            "it is shorter than session.timeout.ms",
            format!("choose at least {} ms", session.as_millis()),
        ));
    }
    if config.poll >= session {
        let remedy = "choose less; 100 is usual";
        found.push(Violation::new(key::poll, "it is not shorter than session.timeout.ms", remedy));
    }
}

fn transaction(config: &Config, found: &mut Found) {
    let commit = config.effective_commit_interval();
    if commit.is_zero() {
        found.push(Violation::new(key::commit_interval, "it is 0", "choose at least 1 ms"));
    }
    if commit >= config.max_poll_interval {
        let remedy = "choose less than it";
        let problem = "it is not shorter than max.poll.interval.ms";
        found.push(Violation::new(key::commit_interval, problem, remedy));
    }
    if !config.exactly_once() {
        return;
    }
    let timeout = config.transaction_timeout;
    within(
        key::transaction_timeout,
        timeout,
        limits::TRANSACTION_TIMEOUT_MIN,
        limits::TRANSACTION_TIMEOUT_MAX,
        found,
    );
    if commit >= timeout {
        found.push(Violation::new(
            key::commit_interval,
            "it is not shorter than transaction.timeout.ms: the broker would abort every time",
            format!("choose less than {} ms, or raise the time-out", timeout.as_millis()),
        ));
    }
    if timeout >= config.max_poll_interval {
        found.push(Violation::new(
            key::transaction_timeout,
            "it is not shorter than max.poll.interval.ms: a commit could outlast the membership",
            format!("choose less than {} ms", config.max_poll_interval.as_millis()),
        ));
    }
}

fn sizes(config: &Config, found: &mut Found) {
    if !(1..=limits::WORKERS_MAX).contains(&config.num_stream_threads) {
        let problem = format!("{} is out of range", config.num_stream_threads);
        let remedy = format!("choose from 1 to {}", limits::WORKERS_MAX);
        found.push(Violation::new(key::num_stream_threads, problem, remedy));
    }
    if config.replication_factor == 0 || config.replication_factor < -1 {
        let problem = format!("{} is out of range", config.replication_factor);
        let remedy = "choose 1 or more, or -1 for the broker's default";
        found.push(Violation::new(key::replication_factor, problem, remedy));
    }
    let counts = [
        (key::buffered_records_per_partition, config.buffered_records_per_partition),
        (key::rocksdb_max_background_jobs, config.effective_rocksdb_background_jobs()),
    ];
    for (option, count) in counts {
        if count == 0 {
            found.push(Violation::new(option, "it is 0", "choose at least 1"));
        }
    }
    let least = [
        (key::input_buffer_max, config.input_buffer_max, limits::INPUT_BUFFER_MIN),
        (key::statestore_cache_max, config.statestore_cache_max, limits::STATE_STORE_CACHE_MIN),
        (key::rocksdb_block_cache, config.rocksdb_block_cache, ByteSize(1)),
        (key::rocksdb_write_buffer, config.rocksdb_write_buffer, limits::ROCKSDB_WRITE_BUFFER_MIN),
        (key::restore_batch_max, config.restore_batch_max, ByteSize::kib(1)),
    ];
    for (option, size, min) in least {
        if size < min {
            let remedy = format!("choose at least {min}");
            found.push(Violation::new(option, format!("{size} is too small"), remedy));
        }
    }
    if config.restore_buffer_max < config.restore_batch_max {
        let remedy = format!("choose at least {}", config.restore_batch_max);
        let problem = "it is smaller than restore.batch.max.bytes";
        found.push(Violation::new(key::restore_buffer_max, problem, remedy));
    }
    let positive = [
        (key::poll, config.poll),
        (key::repartition_purge_interval, config.repartition_purge_interval),
        (key::restore_stalled_after, config.restore_stalled_after),
    ];
    for (option, time) in positive {
        if time.is_zero() {
            found.push(Violation::new(option, "it is 0", "choose at least 1 ms"));
        }
    }
}

fn handlers(config: &Config, found: &mut Found) {
    let handlers = [
        (key::deserialization_exception_handler, config.deserialization_exception_handler),
        (key::processing_exception_handler, config.processing_exception_handler),
        (key::production_exception_handler, config.production_exception_handler),
    ];
    for (option, policy) in handlers {
        if policy == ExceptionPolicy::DeadLetterQueue && config.dead_letter_queue_topic.is_none() {
            found.push(Violation::new(
                option,
                "there is no dead letter queue",
                format!("set {} to an existing topic", key::dead_letter_queue_topic),
            ));
        }
    }
}

fn topic_options(config: &Config, found: &mut Found) {
    for (setting, value) in &config.topic_options {
        let name = format!("topic.{}", shown_key(setting));
        if matches!(setting.as_str(), "cleanup.policy" | "message.timestamp.type") {
            let problem = "Tidemill sets it by the kind of the topic: another value loses data";
            found.push(Violation::new(name, problem, "remove it"));
        } else if name_problem(setting).is_some() {
            found.push(Violation::new(name, "it is no topic setting", "correct its name"));
        } else if value.is_empty() || value.chars().any(char::is_control) {
            let problem = "its value is empty or holds a control character";
            found.push(Violation::new(name, problem, "correct the value"));
        }
    }
}
