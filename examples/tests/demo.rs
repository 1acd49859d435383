//! The demo in small, against a real broker.

use std::process::Command;

#[test]
fn every_balance_is_right_although_workers_are_killed() {
    // cargo builds it along with the demo, which starts it from the same folder
    assert!(std::path::Path::new(env!("CARGO_BIN_EXE_balances")).is_file());
    if std::env::var_os("TIDEMILL_TEST_KAFKA").is_none() {
        eprintln!("SKIPPED: TIDEMILL_TEST_KAFKA is not set, run the tests by `make test`");
        return;
    }
    let demo = Command::new(env!("CARGO_BIN_EXE_demo"))
        .args(["--transactions", "50000", "--accounts", "2000", "--kills", "2"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&demo.stdout);
    assert!(demo.status.success(), "{said}\n{}", String::from_utf8_lossy(&demo.stderr));
    assert!(said.contains("VERDICT: exactly once"), "{said}");
}
