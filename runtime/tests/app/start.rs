//! Starting with something wrong: each error names the thing and the remedy, and nothing is harmed.

use std::time::{Duration, Instant};

use tidemill::dsl::StreamsBuilder;
use tidemill::topology::{Consumed, Topology};
use tidemill::{Config, Error, Tidemill, serdes};

use super::support::kafka::Kafka;
use super::support::ledger::{BALANCES, Bank};
use super::support::process::Process;
use super::support::running::Running;
use super::support::unique;

fn refusal(bank: &Bank) -> String {
    match Running::try_start(&bank.spec) {
        Ok(_) => panic!("it started"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn inv_10_a_second_process_on_a_state_directory_is_refused_and_the_first_goes_on() {
    let mut bank = Bank::new("two", 1);
    let mut process = Process::start(&bank.spec, None);
    process.until_logged("running");
    let began = Instant::now();
    let error = refusal(&bank);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(error.contains(&format!("in use by process {}", process.id())), "{error}");
    assert!(error.contains("another state.dir"), "{error}");
    bank.feed(200);
    bank.until_consumed();
    process.stop();
    bank.verify();
    bank.audit_current();
}

#[test]
fn every_violation_of_the_configuration_is_reported_at_once() {
    let config = Config::new("", "nowhere")
        .with_num_stream_threads(0)
        .with_commit_interval(Duration::from_secs(60))
        .with_client_option("consumer.enable.auto.commit", "true");
    let builder = StreamsBuilder::new();
    let _ = builder.stream("input", Consumed::with(serdes::string(), serdes::string()));
    let error = Tidemill::new(builder.build().unwrap(), config).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Config(_)));
    for option in [
        "application.id",
        "bootstrap.servers",
        "num.stream.threads",
        "commit.interval.ms",
        "enable.auto.commit",
    ] {
        assert!(text.contains(option), "{option} is missing in: {text}");
    }
}

#[test]
fn missing_topics_are_all_named() {
    let mut bank = Bank::new("missing", 1);
    bank.spec.input = unique("no-such-input");
    bank.spec.output = unique("no-such-output");
    bank.spec.set("errors.dead.letter.queue.topic.name", "no-such-queue");
    let error = refusal(&bank);
    for topic in [&*bank.spec.input, &*bank.spec.output, "no-such-queue"] {
        assert!(error.contains(&format!("topic {topic} does not exist: create it")), "{error}");
    }
}

#[test]
fn topics_that_are_not_co_partitioned_are_refused() {
    let kafka = Kafka::shared();
    let (two, three) = (kafka.topic("two", 2), kafka.topic("three", 3));
    let builder = StreamsBuilder::new();
    let consumed = Consumed::with(serdes::string(), serdes::string());
    let _ = builder.stream_topics(&[&two, &three], consumed);
    let dir = tempfile::TempDir::new().unwrap();
    let config = Config::new(unique("uneven"), &kafka.bootstrap).with_state_dir(dir.path());
    let started = Running::run(builder.build().unwrap(), config, |app| app);
    let Err(error) = started else { panic!("it started") };
    let text = error.to_string();
    assert!(matches!(error, Error::Topics(_)));
    assert!(text.contains(&format!("{two} has 2")), "{text}");
    assert!(text.contains(&format!("{three} has 3")), "{text}");
    assert!(text.contains("put a repartition() before"), "{text}");
}

#[test]
fn internal_topics_that_do_not_fit_are_refused_and_left_as_they_are() {
    let mut bank = Bank::new("misfit", 2);
    bank.spec.repartition = true;
    let (changelog, repartition) = (bank.spec.changelog(BALANCES), bank.spec.repartition_topic());
    bank.kafka.create(&changelog, 5, &[("cleanup.policy", "compact")]);
    bank.kafka.create(&repartition, 2, &[("cleanup.policy", "compact")]);
    let error = refusal(&bank);
    assert!(error.contains(&format!("{changelog} has 5 partitions, expects 2")), "{error}");
    let policy = format!("{repartition} has cleanup.policy=compact, expects delete");
    assert!(error.contains(&policy), "{error}");
    assert!(error.contains("reset the application"), "{error}");
    assert_eq!(bank.kafka.partitions(&changelog).len(), 5);
}

#[test]
fn a_broker_that_can_not_be_reached_is_named_after_task_timeout() {
    let mut bank = Bank::new("unreachable", 1);
    bank.spec.bootstrap = "127.0.0.1:1".to_owned();
    bank.spec.set("task.timeout.ms", "1000");
    let began = Instant::now();
    let error = refusal(&bank);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert!(error.contains("could not look up the topics at 127.0.0.1:1"), "{error}");
}

#[test]
fn a_topology_without_a_source_is_refused() {
    let error = Tidemill::new(Topology::new(), Config::new("empty", "localhost:9092"));
    assert!(matches!(error, Err(Error::Topology(_))));
}

#[test]
fn inv_10_a_directory_with_foreign_contents_is_refused_and_left_alone() {
    let bank = Bank::new("foreign", 1);
    let path = bank.spec.task_path("0_0");
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join("precious"), "contents").unwrap();
    let error = refusal(&bank);
    assert!(error.contains("is not a state directory of Tidemill"), "{error}");
    assert!(error.contains("choose another state.dir"), "{error}");
    assert_eq!(std::fs::read_to_string(path.join("precious")).unwrap(), "contents");
}

#[test]
fn an_output_topic_that_was_deleted_is_named_at_the_next_start() {
    let mut bank = Bank::new("deleted-output", 1);
    bank.feed(50);
    let app = Running::start(&bank.spec);
    bank.until_consumed();
    app.close();
    let admin = bank.kafka.admin();
    admin.delete_topics(&[&bank.spec.output], Duration::from_secs(10)).unwrap();
    super::support::until("the deletion", || {
        let topics = admin.topics(&[&bank.spec.output], Duration::from_secs(10)).unwrap();
        topics[0].partitions.is_none().then_some(())
    });
    let error = refusal(&bank);
    assert!(error.contains(&format!("topic {} does not exist", bank.spec.output)), "{error}");
}

#[test]
fn a_table_whose_topic_is_its_changelog_is_refused() {
    use tidemill::dsl::{Materialized, TopologyConfig, TopologyOptimization};
    let config = TopologyConfig::new().with_optimization(TopologyOptimization::ALL);
    let builder = StreamsBuilder::with_config(config);
    let consumed = Consumed::with(serdes::string(), serdes::string());
    let _ = builder.table("names", consumed, Materialized::as_("store"));
    let config = Config::new("reuse", "localhost:9092");
    let error = Tidemill::new(builder.build().unwrap(), config).unwrap_err().to_string();
    assert!(error.contains("reuse.ktable.source.topics"), "{error}");
    assert!(error.contains("store (names)"), "{error}");
}
