//! A broker that dies and comes back, with all that was in flight.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tidemill::client::{Admin, ClientConfig, Fetched, Producer, Severity};
use tidemill_core::record::Offset;

use crate::support::{PATIENCE, at, config, consumer, create, patiently, send, unique, values};

/// A broker of this test's own, since it dies; stopped and removed when dropped.
struct Broker {
    folder: PathBuf,
    address: String,
}

impl Broker {
    fn start() -> Self {
        let folder = std::env::temp_dir().join(unique("tidemill-broken"));
        let mut broker = Self { folder, address: String::new() };
        broker.restart();
        broker
    }

    fn restart(&mut self) {
        let folder = self.folder.to_str().expect("the folder's name is text").to_owned();
        self.address = kafka(&["start", "--dir", &folder]).trim().to_owned();
    }

    fn kill(&self) {
        kafka(&["kill", self.folder.to_str().expect("the folder's name is text")]);
    }

    fn config(&self, options: &[(&str, &str)]) -> ClientConfig {
        let mut config = config(options);
        config.set("bootstrap.servers", &self.address);
        config
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if !self.folder.join("pid").exists() {
            // it did not start, which the test has told
            return;
        }
        kafka(&["stop", self.folder.to_str().expect("the folder's name is text")]);
    }
}

/// Runs the script of the broker under test and returns what it answers.
fn kafka(arguments: &[&str]) -> String {
    let script = std::env::var("TIDEMILL_TEST_BROKER")
        .expect("TIDEMILL_TEST_BROKER is not set: `make test` says which broker is tested");
    let output = Command::new(script).args(arguments).output().expect("the script runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "kafka {arguments:?}: {told}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn inv_6_a_commit_whose_broker_died_is_in_doubt_until_the_same_call_decides_it() {
    let mut broker = Broker::start();
    let admin = Admin::new(&broker.config(&[])).expect("the options are valid");
    let topic = create(&admin, "in-doubt", 1);
    let options = [
        ("transactional.id", "in-doubt"),
        ("transaction.timeout.ms", "60000"),
        ("retry.backoff.ms", "20"),
        ("reconnect.backoff.max.ms", "200"),
    ];
    let mut producer = Producer::new(&broker.config(&options)).expect("the options are valid");
    producer.init_transactions(PATIENCE).expect("nobody else has this id");
    let mut reading =
        consumer(&[("bootstrap.servers", &broker.address), ("reconnect.backoff.max.ms", "200")]);
    let from = [(at(&topic, 0), Offset::ZERO)];
    let mut reader = reading.consumer.assign(&from).expect("it exists").remove(0);
    assert_eq!(values(&reading.read_to(&mut reader, Offset(0))), [""; 0]);

    producer.begin_transaction().expect("initialised");
    send(&mut producer, &at(&topic, 0), "in doubt");
    producer.flush(PATIENCE).expect("the record reaches the log");
    assert!(!producer.troubled());
    broker.kill();

    let error =
        producer.commit_transaction(Duration::from_millis(500)).expect_err("nobody answers");
    assert_eq!((error.severity, error.timed_out), (Severity::Retry, true), "{error}");
    assert!(producer.troubled());
    let other = producer.abort_transaction(PATIENCE).expect_err("only the same call is legal");
    assert_eq!(other.severity, Severity::Fatal, "{other}");
    producer.flush(Duration::from_millis(10)).expect("nothing waits");
    assert!(reading.consumer.poll_event(Duration::from_millis(10)).is_none(), "it only waits");
    reader.read(10, &mut |fetched| match fetched {
        Fetched::Failed(error) => assert_eq!(error.severity, Severity::Retry, "{error}"),
        other => panic!("{other:?}"),
    });

    broker.restart();
    patiently(|| producer.commit_transaction(Duration::from_secs(5)));
    assert!(producer.troubled(), "it stays so until somebody clears it");
    assert_eq!(values(&reading.read_to(&mut reader, Offset(2))), ["in doubt"]);
}
