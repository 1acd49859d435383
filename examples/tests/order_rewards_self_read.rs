//! The program in small: each order once, in both services.

use std::process::Command;

#[test]
fn orders_and_rewards_agree_although_all_parts_are_killed() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_order_rewards_self_read"));
    let output = program.args(["--orders", "300", "--kills", "6"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("lost=0 duplicated=0 wrong_points=0 unread=0"), "{said}");
}
