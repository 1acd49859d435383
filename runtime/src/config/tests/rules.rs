//! Each rule of `validate`, and that all of them are reported together.

use super::super::kafka::{OWNED, REFUSED};
use super::super::limits;
use super::*;

fn valid() -> Config {
    Config::new("balances", "localhost:9092")
}

/// The options that are complained about.
fn keys(config: &Config) -> Vec<String> {
    match config.validate() {
        Ok(()) => Vec::new(),
        Err(error) => error.violations().iter().map(|v| v.key.clone()).collect(),
    }
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

type Change = fn(Config) -> Config;

/// One wrong option each: the option that has to be named, and how it goes wrong.
const CASES: &[(&str, Change)] = &[
    (key::application_id, |c| c.with_application_id("")),
    (key::application_id, |c| c.with_application_id("..")),
    (key::application_id, |c| c.with_application_id("a/../../etc")),
    (key::application_id, |c| c.with_application_id("-rf")),
    (key::application_id, |c| c.with_application_id(".hidden")),
    (key::application_id, |c| c.with_application_id("sch\u{f6}n")),
    (key::application_id, |c| c.with_application_id("a".repeat(151))),
    (key::bootstrap_servers, |c| c.with_bootstrap_servers("")),
    (key::bootstrap_servers, |c| c.with_bootstrap_servers("localhost")),
    (key::bootstrap_servers, |c| c.with_bootstrap_servers("localhost:0")),
    (key::bootstrap_servers, |c| c.with_bootstrap_servers("localhost:65536")),
    (key::bootstrap_servers, |c| c.with_bootstrap_servers("a:1,,b:2")),
    (key::bootstrap_servers, |c| c.with_bootstrap_servers("SSL://a:1")),
    (key::bootstrap_servers, |c| c.with_bootstrap_servers("user@a:1")),
    (key::client_id, |c| c.with_client_id("two words")),
    (key::group_instance_id, |c| c.with_group_instance_id("a b")),
    (key::static_membership, |c| c.with_group_instance_id("host-1").with_static_membership(false)),
    (key::state_dir, |c| c.with_state_dir("")),
    (key::num_stream_threads, |c| c.with_num_stream_threads(0)),
    (key::num_stream_threads, |c| c.with_num_stream_threads(limits::WORKERS_MAX + 1)),
    (key::replication_factor, |c| c.with_replication_factor(0)),
    (key::replication_factor, |c| c.with_replication_factor(-2)),
    (key::commit_interval, |c| c.with_commit_interval(ms(0))),
    (key::commit_interval, |c| c.with_commit_interval(ms(10_000))),
    (key::transaction_timeout, |c| c.with_transaction_timeout(ms(999))),
    (key::transaction_timeout, |c| {
        c.with_transaction_timeout(ms(900_001)).with_max_poll_interval(ms(1_000_000))
    }),
    (key::transaction_timeout, |c| c.with_transaction_timeout(ms(300_000))),
    (key::heartbeat_interval, |c| c.with_heartbeat_interval(ms(15_001))),
    (key::heartbeat_interval, |c| c.with_heartbeat_interval(ms(0))),
    (key::session_timeout, |c| c.with_session_timeout(ms(900)).with_heartbeat_interval(ms(300))),
    (key::max_poll_interval, |c| c.with_max_poll_interval(ms(44_999))),
    (key::poll, |c| c.with_poll(ms(0))),
    (key::poll, |c| c.with_poll(ms(45_000))),
    (key::buffered_records_per_partition, |c| c.with_buffered_records_per_partition(0)),
    (key::rocksdb_max_background_jobs, |c| c.with_rocksdb_max_background_jobs(0)),
    (key::input_buffer_max, |c| c.with_input_buffer_max(ByteSize(0))),
    (key::statestore_cache_max, |c| c.with_statestore_cache_max(ByteSize::kib(4))),
    (key::rocksdb_block_cache, |c| c.with_rocksdb_block_cache(ByteSize(0))),
    (key::rocksdb_write_buffer, |c| c.with_rocksdb_write_buffer(ByteSize(0))),
    (key::restore_batch_max, |c| c.with_restore_batch_max(ByteSize(0))),
    (key::restore_buffer_max, |c| c.with_restore_buffer_max(ByteSize::mib(1))),
    (key::repartition_purge_interval, |c| c.with_repartition_purge_interval(ms(0))),
    (key::restore_stalled_after, |c| c.with_restore_stalled_after(ms(0))),
    (key::dead_letter_queue_topic, |c| c.with_dead_letter_queue_topic("a b")),
    (key::deserialization_exception_handler, |c| {
        c.with_deserialization_exception_handler(ExceptionPolicy::DeadLetterQueue)
    }),
    (key::processing_exception_handler, |c| {
        c.with_processing_exception_handler(ExceptionPolicy::DeadLetterQueue)
    }),
    (key::production_exception_handler, |c| {
        c.with_production_exception_handler(ExceptionPolicy::DeadLetterQueue)
    }),
    ("topic.cleanup.policy", |c| c.with_topic_option("cleanup.policy", "delete")),
    ("topic.segment.bytes", |c| c.with_topic_option("segment.bytes", "1\n2")),
    ("ssl.cipher.suites", |c| c.with_client_option("kafka.ssl.cipher.suites", "x")),
    ("sasl.username", |c| {
        c.with_client_option("kafka.security.protocol", "ssl")
            .with_client_option("kafka.sasl.username", "u")
    }),
    ("sasl.mechanism", |c| {
        c.with_client_option("kafka.security.protocol", "SASL_PLAINTEXT")
            .with_client_option("kafka.sasl.mechanism", "PLAIN")
    }),
    ("socket.timeout.ms", |c| c.with_client_option("kafka.socket.timeout.ms", "10101")),
    ("linger.ms", |c| c.with_client_option("producer.queue.buffering.max.ms", "10000")),
    ("reconnect.backoff.max.ms", |c| c.with_client_option("admin.reconnect.backoff.ms", "1001")),
    ("sasl.mechanism", |c| c.with_client_option("kafka.security.protocol", "sasl_ssl")),
    ("admin.ssl.ca.location", |c| {
        c.with_client_option("kafka.security.protocol", "ssl")
            .with_client_option("admin.ssl.ca.location", "/no/such/file")
    }),
    ("restore.consumer.isolation.level", |c| {
        c.with_processing_guarantee(ProcessingGuarantee::AtLeastOnce)
            .with_client_option("restore.consumer.isolation.level", "read_uncommitted")
    }),
    ("fetch.max.bytes", |c| c.with_client_option("consumer.fetch.max.bytes", "999999")),
    ("receive.message.max.bytes", |c| {
        c.with_client_option("consumer.fetch.max.bytes", "2000000")
            .with_client_option("consumer.receive.message.max.bytes", "2000511")
    }),
    ("producer.fetch.min.bytes", |c| c.with_client_option("producer.fetch.min.bytes", "1")),
    ("admin.linger.ms", |c| c.with_client_option("admin.linger.ms", "1")),
    ("kafka.log_level", |c| c.with_client_option("kafka.log_level", "8")),
    ("kafka.debug", |c| c.with_client_option("kafka.debug", "broker,security")),
    ("kafka.debug", |c| c.with_client_option("kafka.debug", "all")),
    ("kafka.sasl.kerberos.principal", |c| {
        c.with_client_option("kafka.security.protocol", "sasl_ssl")
            .with_client_option("kafka.sasl.mechanism", "GSSAPI")
            .with_client_option("kafka.sasl.kerberos.principal", "me; touch /tmp/x")
    }),
];

#[test]
fn each_rule_names_its_option() {
    for (at, (option, change)) in CASES.iter().enumerate() {
        assert_eq!(keys(&change(valid())), [*option], "case {at}");
    }
}

#[test]
fn what_is_just_inside_the_limits_is_valid() {
    let config = valid()
        .with_application_id("a".repeat(150))
        .with_bootstrap_servers("a:1, b.example.org:65535,[fe80::1]:9092,10.0.0.1:9092")
        .with_transaction_timeout(ms(1_000))
        .with_commit_interval(ms(999))
        .with_heartbeat_interval(ms(15_000))
        .with_max_poll_interval(ms(45_000))
        .with_client_option("kafka.socket.timeout.ms", "1100")
        .with_client_option("kafka.security.protocol", "SASL_SSL")
        .with_client_option("kafka.sasl.mechanism", "PLAIN")
        .with_client_option("kafka.sasl.username", "u")
        .with_client_option("kafka.sasl.password", "p")
        .with_client_option("kafka.debug", "broker, eos");
    assert_eq!(config.validate(), Ok(()));
    let plain = valid()
        .with_allow_sasl_plain_without_tls(true)
        .with_client_option("kafka.security.protocol", "sasl_plaintext")
        .with_client_option("kafka.sasl.mechanism", "PLAIN");
    assert_eq!(plain.validate(), Ok(()));
    assert!(plain.warnings().iter().any(|w| w.contains(key::allow_sasl_plain_without_tls)));
}

#[test]
fn transaction_rules_do_not_bind_at_least_once() {
    let config = valid().with_processing_guarantee(ProcessingGuarantee::AtLeastOnce);
    assert_eq!(config.effective_commit_interval(), ms(30_000));
    assert_eq!(config.validate(), Ok(()));
    let reading = config.with_client_option("main.consumer.isolation.level", "read_committed");
    assert_eq!(reading.validate(), Ok(()));
    let once = reading.with_processing_guarantee(ProcessingGuarantee::ExactlyOnceV2);
    assert_eq!(keys(&once), ["main.consumer.isolation.level"]);
}

#[test]
fn options_that_tidemill_owns_are_refused_under_every_prefix_with_the_reason() {
    for (name, why, instead) in OWNED {
        for (prefix, _) in Scope::PREFIXES {
            let full = format!("{prefix}{name}");
            let error = valid().with_client_option(&full, "1").validate().unwrap_err().to_string();
            assert!(
                error.contains(&format!("{full}: Tidemill sets it: {why}; {instead}")),
                "{error}"
            );
        }
        let own = OPTIONS.iter().any(|option| instead.contains(option.name));
        assert!(own || *instead == "remove it", "{name}: {instead} names no option");
    }
}

#[test]
fn options_that_run_code_are_refused_under_every_prefix() {
    let more = [
        "ssl.engine.location",
        "ssl.engine.id",
        "ssl_engine_callback_data",
        "dr_msg_cb",
        "sasl.oauthbearer.token.endpoint.url",
        "sasl.oauthbearer.assertion.file",
        "sasl.oauthbearer.assertion.jwt.template.file",
        "offset.store.path",
        "rebalance_cb",
        "sasl.oauthbearer.client.credentials.client.secret",
        "log_cb",
        "ssl.certificate.verify_cb",
    ];
    let listed = REFUSED.iter().map(|(name, _)| *name).filter(|name| !name.contains('*'));
    for name in listed.chain(more) {
        for (prefix, _) in Scope::PREFIXES {
            let full = format!("{prefix}{name}");
            let error = valid().with_client_option(&full, "x").validate().unwrap_err().to_string();
            assert!(error.contains(&format!("{full}: it is not passed on")), "{error}");
        }
    }
}

#[test]
fn every_violation_of_every_source_is_reported_at_once() {
    let config = Config::new("bad name", "nowhere")
        .with_num_stream_threads(0)
        .with_client_option("kafka.group.id", "x")
        .apply_toml_str(
            "comit.interval.ms = 5\nsession.timeout.ms = 'soon'\npoll.ms = 1979-05-27\n\
             client_id = 'a'\nclient.id = 'b'\n[consumer]\nfetch.min.bytes = -1\n",
        )
        .apply_toml_str("this is = not TOML = at all")
        .apply_env([
            ("TIDEMILL_REPLICATION_FACTOR", "0"),
            ("TIDEMILL_STATIC_MEMBERSHIP", "yes"),
            ("TIDEMILL_PRODUCER_ACKS", "1"),
            ("TIDEMILL_NO_SUCH_THING", "1"),
        ]);
    let error = config.validate().unwrap_err();
    let mut found = keys(&config);
    found.sort_unstable();
    assert_eq!(
        found,
        [
            "TOML",
            "application.id",
            "bootstrap.servers",
            "client.id (TOML)",
            "comit.interval.ms (TOML)",
            "consumer.fetch.min.bytes",
            "kafka.group.id",
            "no.such.thing (environment variable TIDEMILL_NO_SUCH_THING)",
            "num.stream.threads",
            "poll.ms (TOML)",
            "producer.acks",
            "replication.factor",
            "session.timeout.ms (TOML)",
            "static.membership (environment variable TIDEMILL_STATIC_MEMBERSHIP)",
        ]
    );
    let text = error.to_string();
    assert!(text.starts_with("invalid configuration (14 violations)\n  "), "{text}");
    assert_eq!(text.lines().count(), 15);
    for violation in error.violations() {
        assert!(!violation.problem.is_empty() && !violation.remedy.is_empty());
        assert!(text.contains(&violation.to_string()));
    }
}

#[test]
fn a_misspelt_name_gets_the_nearest_one() {
    let cases = [
        ("comit.interval.ms", "commit.interval.ms"),
        ("num.stream.treads", "num.stream.threads"),
        ("state.dirs", "state.dir"),
        ("kafka.sasl.pasword", "kafka.sasl.password"),
        ("consumer.fetch.max.byte", "consumer.fetch.max.bytes"),
        ("sasl.password", "kafka.sasl.password"),
        ("security.protocol", "kafka.security.protocol"),
    ];
    for (wrong, right) in cases {
        let text = format!("{wrong} = 'x'");
        let error = valid().apply_toml_str(&text).validate().unwrap_err().to_string();
        assert!(error.contains(&format!("did you mean {right}?")), "{error}");
    }
    let error = valid().apply_toml_str("zzzzzz.qqqqq = 1").validate().unwrap_err().to_string();
    assert!(error.contains("see docs/CONFIGURATION.md"), "{error}");
}

#[test]
fn lost_protection_is_a_warning_at_every_start() {
    let config = valid().with_state_dir("/var/lib/balances");
    assert_eq!(config.warnings(), Vec::<String>::new());
    let insecure = config
        .with_client_option("kafka.security.protocol", "ssl")
        .with_client_option("admin.enable.ssl.certificate.verification", "false")
        .with_client_option("consumer.ssl.endpoint.identification.algorithm", "none")
        .with_session_timeout(ms(5_000))
        .with_heartbeat_interval(ms(1_000))
        .with_state_dir(std::env::temp_dir());
    assert_eq!(insecure.validate(), Ok(()));
    let warnings = insecure.warnings();
    for part in ["certificate.verification", "endpoint.identification", "session", "temporary"] {
        assert!(warnings.iter().any(|w| w.contains(part)), "{part}: {warnings:?}");
    }
}
