//! A broker that dies and comes back.

use std::process::Command;

use tempfile::TempDir;

use super::support::kafka::Kafka;
use super::support::ledger::Bank;
use super::support::running::Running;

/// A broker of this test's own.
struct Broker {
    dir: TempDir,
}

impl Broker {
    fn start() -> Self {
        let broker = Self { dir: TempDir::new().unwrap() };
        broker.run(&["start", "--dir"]);
        broker
    }

    fn run(&self, arguments: &[&str]) {
        let script = std::env::var("TIDEMILL_TEST_BROKER")
            .expect("TIDEMILL_TEST_BROKER is not set: `make test` says which broker is tested");
        let output = Command::new(script).args(arguments).arg(self.dir.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn kafka(&self) -> Kafka {
        let bootstrap = std::fs::read_to_string(self.dir.path().join("bootstrap")).unwrap();
        Kafka { bootstrap: bootstrap.trim().to_owned() }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.run(&["kill"]);
    }
}

#[test]
fn inv_6_a_broker_is_killed_and_restarted_under_a_running_application() {
    let broker = Broker::start();
    let mut bank = Bank::on(broker.kafka(), "restarted", 2);
    bank.spec.repartition = true;
    let app = Running::start(&bank.spec);
    app.until_running();
    for _ in 0..2 {
        bank.feed(2_000);
        broker.run(&["kill"]);
        broker.run(&["start", "--dir"]);
        bank.feed(500);
        bank.until_consumed();
    }
    let metrics = app.close();
    assert!(metrics.rebuilds > 0, "{metrics:?}");
    bank.verify();
    bank.audit_current();
}
