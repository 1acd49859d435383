//! The program in small: snapshot, inserts, updates and deletions, and the points in the end.

use std::process::Command;

#[test]
fn every_customer_has_the_points_of_the_orders() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_order_rewards_cdc"));
    program.args(["--before", "300", "--changes", "600", "--customers", "20", "--kills", "6"]);
    let output = program.output().expect("it was built with this test");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let verdict = "VERDICT: every customer has the points of the orders: lost=0 duplicated=0";
    assert!(said.contains(verdict), "{said}");
    assert!(said.contains("6 services killed"), "{said}");
}
