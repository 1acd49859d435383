//! What the clients are told, checked against the librdkafka that is linked.

use rdkafka::ClientConfig;
use rdkafka::consumer::BaseConsumer;
use rdkafka::producer::BaseProducer;

use super::super::librdkafka::{Clients, Form, KNOWN};
use super::*;

fn client_config(properties: &ClientProperties) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (name, value) in properties.iter() {
        config.set(name, value);
    }
    config
}

/// Whether librdkafka takes the value; ranges are checked when it is set.
fn accepts(name: &str, value: &str) -> bool {
    ClientConfig::new().set(name, value).create_native_config().is_ok()
}

#[test]
fn librdkafka_has_every_option_that_is_passed_on_with_the_same_range() {
    for known in KNOWN {
        let name = known.name;
        match known.form {
            Form::Number(min, max) => {
                assert!(accepts(name, &min.to_string()), "{name} {min}");
                assert!(accepts(name, &max.to_string()), "{name} {max}");
                assert!(!accepts(name, &(min - 1).to_string()), "{name} below {min}");
                if max < i64::from(i32::MAX) {
                    assert!(!accepts(name, &(max + 1).to_string()), "{name} above {max}");
                }
            }
            Form::Decimal(min, max) => {
                assert!(accepts(name, &format!("{min}.5")), "{name}");
                assert!(accepts(name, &max.to_string()) && !accepts(name, "900001"), "{name}");
            }
            Form::Switch => assert!(accepts(name, "true") && accepts(name, "false"), "{name}"),
            Form::Word(words) | Form::Words(words) => {
                for word in words {
                    assert!(accepts(name, word), "{name} {word}");
                    assert_eq!(known.refuses(&word.to_uppercase()), None, "{name}");
                    // Mechanisms are compared by librdkafka when it connects.
                    let upper = word.to_uppercase();
                    assert!(accepts(name, &upper), "{name} takes {word} but not {upper}");
                }
                assert!(known.refuses("nonsense").is_some());
            }
            Form::Text => assert!(accepts(name, "/x"), "{name}"),
        }
        assert!(KNOWN.iter().any(|other| other.name == known.canonical()), "{name}");
    }
    assert!(KNOWN.is_sorted_by_key(|known| known.name), "keep the table in order");
}

#[test]
fn librdkafka_makes_every_client_from_its_properties() {
    let identity = WorkerIdentity::new("3f2a", 1);
    let base = || Config::new("app", "127.0.0.1:1").with_client_option("kafka.log_level", "0");
    let configs = [
        base(),
        base().with_processing_guarantee(ProcessingGuarantee::AtLeastOnce),
        base()
            .with_processing_guarantee(ProcessingGuarantee::AtLeastOnce)
            .with_task_timeout(Duration::ZERO),
        base()
            .with_transaction_timeout(Duration::from_secs(1))
            .with_commit_interval(Duration::from_millis(999))
            .with_session_timeout(Duration::from_secs(6))
            .with_heartbeat_interval(Duration::from_secs(2))
            .with_max_poll_interval(Duration::from_secs(6))
            .with_static_membership(false)
            .with_auto_offset_reset(AutoOffsetReset::None)
            .with_input_buffer_max(ByteSize::mib(1))
            .with_restore_buffer_max(ByteSize::mib(4)),
        base()
            .with_transaction_timeout(Duration::from_secs(900))
            .with_max_poll_interval(Duration::from_secs(86_400))
            .with_input_buffer_max(ByteSize(u64::MAX))
            .with_restore_buffer_max(ByteSize(u64::MAX))
            .with_client_option("producer.queue.buffering.max.ms", "0")
            .with_client_option("kafka.compression.type", "lz4"),
    ];
    for config in configs {
        config.validate().unwrap();
        let consumer = client_config(&config.consumer_properties(&identity));
        let producer = client_config(&config.producer_properties(&identity));
        consumer.create::<BaseConsumer>().expect("consumer");
        client_config(&config.restore_properties("3f2a"))
            .create::<BaseConsumer>()
            .expect("restore");
        producer.create::<BaseProducer>().expect("producer");
        client_config(&config.admin_properties("3f2a")).create::<BaseProducer>().expect("admin");
    }
}

#[test]
fn exactly_once_clients_have_the_settings_that_the_guarantee_rests_on() {
    let config = Config::new("app", "b:1");
    let identity = WorkerIdentity::new("3f2a", 2);
    let consumer = config.consumer_properties(&identity);
    let wanted = [
        ("group.id", "app"),
        ("group.instance.id", "app-3f2a-2"),
        ("client.id", "app-3f2a-StreamThread-2-consumer"),
        ("isolation.level", "read_committed"),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("enable.partition.eof", "true"),
        ("partition.assignment.strategy", "range"),
        ("auto.offset.reset", "earliest"),
        ("queued.max.messages.kbytes", "4096"),
    ];
    for (name, value) in wanted {
        assert_eq!(consumer.get(name), Some(value), "{name}");
    }
    let producer = config.producer_properties(&identity);
    let wanted = [
        ("transactional.id", "app-3f2a-2"),
        ("transaction.timeout.ms", "10000"),
        ("message.timeout.ms", "10000"),
        ("socket.timeout.ms", "10000"),
        ("enable.idempotence", "true"),
        ("acks", "all"),
        ("allow.auto.create.topics", "false"),
    ];
    for (name, value) in wanted {
        assert_eq!(producer.get(name), Some(value), "{name}");
    }
    let restore = config.restore_properties("3f2a");
    assert_eq!(restore.get("isolation.level"), Some("read_committed"));
    assert_eq!(restore.get("group.instance.id"), None);
    assert_eq!(restore.get("partition.assignment.strategy"), None);
}

#[test]
fn at_least_once_clients_have_no_transactions_and_still_no_duplicates_from_retries() {
    let config =
        Config::new("app", "b:1").with_processing_guarantee(ProcessingGuarantee::AtLeastOnce);
    let identity = WorkerIdentity::new("3f2a", 1);
    let producer = config.producer_properties(&identity);
    assert_eq!(producer.get("transactional.id"), None);
    assert_eq!(producer.get("enable.idempotence"), Some("true"));
    assert_eq!(producer.get("message.timeout.ms"), Some("300000"));
    let consumer = config.consumer_properties(&identity);
    assert_eq!(consumer.get("isolation.level"), Some("read_uncommitted"));
    let choice = config.with_client_option("consumer.isolation.level", "read_committed");
    let consumer = choice.consumer_properties(&identity);
    assert_eq!(consumer.get("isolation.level"), Some("read_committed"));
}

#[test]
fn the_more_specific_prefix_wins_and_an_alias_is_its_option() {
    let config = Config::new("app", "b:1")
        .with_client_option("kafka.fetch.min.bytes", "1")
        .with_client_option("consumer.fetch.min.bytes", "2")
        .with_client_option("restore.consumer.fetch.min.bytes", "3")
        .with_client_option("kafka.socket.timeout.ms", "9000")
        .with_client_option("admin.socket.timeout.ms", "8000")
        .with_client_option("producer.queue.buffering.max.ms", "7")
        .with_client_option("kafka.security.protocol", "ssl");
    let identity = WorkerIdentity::new("3f2a", 1);
    let clients = [
        config.consumer_properties(&identity),
        config.restore_properties("3f2a"),
        config.producer_properties(&identity),
        config.admin_properties("3f2a"),
    ];
    let values = |name| clients.each_ref().map(|client| client.get(name));
    assert_eq!(values("fetch.min.bytes"), [Some("2"), Some("3"), None, None]);
    let sockets = [Some("9000"), Some("9000"), Some("9000"), Some("8000")];
    assert_eq!(values("socket.timeout.ms"), sockets);
    assert_eq!(values("linger.ms"), [None, None, Some("7"), None]);
    assert_eq!(values("queue.buffering.max.ms"), [None; 4]);
    assert_eq!(values("security.protocol"), [Some("ssl"); 4]);
}

#[test]
fn every_client_gets_only_options_that_its_kind_has() {
    let mut config = Config::new("app", "b:1");
    for known in KNOWN {
        config = config.with_client_option(&format!("kafka.{}", known.name), "1");
    }
    let admin = config.admin_properties("p");
    let producer = config.producer_properties(&WorkerIdentity::new("p", 1));
    for known in KNOWN {
        if known.clients != Clients::All {
            assert_eq!(admin.get(known.name), None, "{}", known.name);
        }
        if known.clients == Clients::Consumer {
            assert_eq!(producer.get(known.name), None, "{}", known.name);
        }
    }
}
