//! The program in small: every command is answered once, and every state is the fold of its events.

use std::process::Command;

#[test]
fn nothing_is_sold_twice_although_services_are_killed() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_inventory_event_sourced"));
    program.args(["--commands", "600", "--items", "8", "--kills", "4"]);
    let output = program.output().expect("it was built with this test");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let verdict = "VERDICT: every state is the fold of its events: lost=0 duplicated=0 oversold=0";
    assert!(said.contains(verdict), "{said}");
    assert!(said.contains("4 services killed"), "{said}");
}
