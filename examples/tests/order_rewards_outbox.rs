//! The program in small: points for each order, once.

use std::process::Command;

fn every_order_has_its_points_once(mode: &str) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_order_rewards_outbox"));
    program.args(["--orders", "600", "--customers", "20", "--kills", "6", "--mode", mode]);
    let output = program.output().expect("it was built with this test");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let verdict = "VERDICT: every order has its points once: lost=0 duplicated=0 points_wrong=0";
    assert!(said.contains(verdict), "{said}");
    assert!(said.contains("6 services killed"), "{said}");
}

#[test]
fn every_order_has_its_points_once_by_polling() {
    every_order_has_its_points_once("polling");
}

#[test]
fn every_order_has_its_points_once_by_tailing_the_log() {
    every_order_has_its_points_once("wal");
}
