//! The sagas in small: every step fails in turn, some processes are killed, and the books fit.

use std::process::Command;

#[test]
fn orders_are_whole_or_not_at_all_although_services_are_killed() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_order_saga"));
    let ended = program.args(["--orders", "40", "--kills", "4"]).output();
    let ended = ended.expect("the program was built with this test");
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{said}\n{}", String::from_utf8_lossy(&ended.stderr));
    for expected in [
        "(none)          completed: order CONFIRMED, points 10 taken, money 990 taken",
        "open-order      compensated: order none, points untouched, money untouched",
        "reserve-points  compensated: order REJECTED, points untouched, money untouched",
        "charge          compensated: order REJECTED, points untouched, money untouched",
        "confirm         compensated: order REJECTED, points untouched, money untouched",
        "charge, killed  compensated: order REJECTED, points untouched, money untouched",
        "VERDICT: lost=0 duplicated=0",
    ] {
        assert!(said.contains(expected), "{expected}\n{said}");
    }
}
