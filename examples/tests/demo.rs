//! The demo in small, on the broker under test and with the broker that it brings along.

use std::process::Command;

fn verify_demo(change: impl FnOnce(&mut Command)) {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_demo"));
    demo.args(["--transactions", "50000", "--accounts", "2000", "--kills", "2"]);
    change(&mut demo);
    let demo = demo.output().expect("the demo was built with this test");
    let said = String::from_utf8_lossy(&demo.stdout);
    assert!(demo.status.success(), "{said}\n{}", String::from_utf8_lossy(&demo.stderr));
    assert!(said.contains("VERDICT: exactly once"), "{said}");
}

#[test]
fn every_balance_is_right_although_workers_are_killed() {
    if std::env::var_os("TIDEMILL_TEST_KAFKA").is_none() {
        eprintln!("SKIPPED: TIDEMILL_TEST_KAFKA is not set, run the tests by `make test`");
        return;
    }
    verify_demo(|_| {});
}

#[test]
fn the_demo_needs_nothing_but_itself() {
    let empty = tempfile::tempdir().unwrap();
    verify_demo(|demo| {
        // no script, no Java: only what was compiled into the program
        demo.env_remove("TIDEMILL_TEST_KAFKA").env("PATH", empty.path());
    });
}
