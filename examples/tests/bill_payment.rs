//! The program in small: what goes wrong with two writes does, and nothing does with the outbox.

use std::process::Command;

#[test]
fn every_bill_is_paid_once_although_all_services_are_killed() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_bill_payment"));
    program.args(["--bills", "600", "--kills", "9", "--naive-kills", "4"]);
    let output = program.output().expect("it was built with this test");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("VERDICT: every bill is paid once: lost=0 duplicated=0"), "{said}");
    assert!(said.contains("commit-first"), "{said}");
    assert!(said.contains("9 services killed"), "{said}");
}
