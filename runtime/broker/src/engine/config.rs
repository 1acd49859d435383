//! What an engine is told once, when it is made.

/// Settings of the one broker. The defaults are those of Apache Kafka, but for what would make a
/// developer wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineConfig {
    /// Id of the only node. Default 1.
    pub node_id: i32,
    /// Host that clients are told to connect to. Default `127.0.0.1`.
    pub host: String,
    /// Port that clients are told to connect to. Default 9092.
    pub port: u16,
    /// Id of the cluster, the same for as long as the data lives.
    pub cluster_id: String,
    /// Whether asking for an unknown topic makes it (`auto.create.topics.enable`). Default false.
    pub auto_create_topics: bool,
    /// Partitions of a topic whose maker did not say how many (`num.partitions`). Default 1.
    pub default_partitions: i32,
    /// How long the first members of a group wait for more, in milliseconds
    /// (`group.initial.rebalance.delay.ms`). Default 0, not Kafka's 3 s: nobody starts hundreds
    /// here.
    pub group_initial_rebalance_delay_ms: i64,
    /// Shortest session that a member may ask for (`group.min.session.timeout.ms`). Default 6 s.
    pub group_min_session_timeout_ms: i64,
    /// Longest session that a member may ask for (`group.max.session.timeout.ms`). Default 30 min.
    pub group_max_session_timeout_ms: i64,
    /// How long an empty group keeps its offsets (`offsets.retention.minutes`). Default 7 days.
    pub offsets_retention_ms: i64,
    /// Largest metadata that an offset may carry, in bytes (`offset.metadata.max.bytes`). Default
    /// 4096.
    pub offset_metadata_max_bytes: usize,
    /// Longest transaction that a producer may ask for (`transaction.max.timeout.ms`). Default 15
    /// min.
    pub transaction_max_timeout_ms: i64,
    /// How often timed-out transactions are looked for, in milliseconds
    /// (`transaction.abort.timed.out.transaction.cleanup.interval.ms`). Default 0: at the instant.
    pub transaction_abort_interval_ms: i64,
    /// How long an unused transactional id is known (`transactional.id.expiration.ms`). Default 7
    /// days.
    pub transactional_id_expiration_ms: i64,
    /// How long a partition remembers an idle producer (`producer.id.expiration.ms`). Default 1
    /// day.
    pub producer_id_expiration_ms: i64,
    /// How often old segments and idle producers are dropped, in milliseconds
    /// (`log.retention.check.interval.ms`). Default 5 min.
    pub retention_interval_ms: i64,
    /// How often it is looked whether a log is to be compacted, in milliseconds
    /// (`log.cleaner.backoff.ms`). Default 15 s.
    pub compaction_interval_ms: i64,
}

impl EngineConfig {
    /// Sets what Apache Kafka's broker calls `name`, from text.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the name or the value.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        fn parse<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, String> {
            value.parse().map_err(|_| format!("'{value}' is not a value of {name}"))
        }
        const MINUTE: i64 = 60_000;
        let number = || parse::<i64>(name, value);
        match name {
            "auto.create.topics.enable" => self.auto_create_topics = parse(name, value)?,
            "num.partitions" => self.default_partitions = parse(name, value)?,
            "group.initial.rebalance.delay.ms" => {
                self.group_initial_rebalance_delay_ms = number()?;
            }
            "group.min.session.timeout.ms" => self.group_min_session_timeout_ms = number()?,
            "group.max.session.timeout.ms" => self.group_max_session_timeout_ms = number()?,
            "offsets.retention.minutes" => {
                self.offsets_retention_ms = number()?.saturating_mul(MINUTE);
            }
            "offset.metadata.max.bytes" => self.offset_metadata_max_bytes = parse(name, value)?,
            "transaction.max.timeout.ms" => self.transaction_max_timeout_ms = number()?,
            "transaction.abort.timed.out.transaction.cleanup.interval.ms" => {
                self.transaction_abort_interval_ms = number()?;
            }
            "transactional.id.expiration.ms" => {
                self.transactional_id_expiration_ms = number()?;
            }
            "producer.id.expiration.ms" => self.producer_id_expiration_ms = number()?,
            "log.retention.check.interval.ms" => self.retention_interval_ms = number()?,
            "log.cleaner.backoff.ms" => self.compaction_interval_ms = number()?,
            _ => return Err(format!("this broker has no setting '{name}'")),
        }
        Ok(())
    }
}

impl Default for EngineConfig {
    fn default() -> Self {
        const MINUTE: i64 = 60_000;
        const DAY: i64 = 24 * 60 * MINUTE;
        Self {
            node_id: 1,
            host: "127.0.0.1".to_owned(),
            port: 9092,
            cluster_id: "tidemill-broker".to_owned(),
            auto_create_topics: false,
            default_partitions: 1,
            group_initial_rebalance_delay_ms: 0,
            group_min_session_timeout_ms: 6_000,
            group_max_session_timeout_ms: 30 * MINUTE,
            offsets_retention_ms: 7 * DAY,
            offset_metadata_max_bytes: 4096,
            transaction_max_timeout_ms: 15 * MINUTE,
            transaction_abort_interval_ms: 0,
            transactional_id_expiration_ms: 7 * DAY,
            producer_id_expiration_ms: DAY,
            retention_interval_ms: 5 * MINUTE,
            compaction_interval_ms: 15_000,
        }
    }
}
