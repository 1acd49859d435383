//! The price alerts in small: their own broker, database and mail server, and all services killed.

use std::process::Command;

#[test]
fn rv3_no_mail_is_sent_twice_or_lost_whatever_is_killed() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_price_alerts"));
    program.args(["--changes", "300", "--customers", "12", "--kills", "8", "--seed", "7"]);
    let output = program.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("VERDICT: lost=0 duplicated=0"), "{said}");
    let killed = said.lines().find(|line| line.contains("mailer killed  ")).unwrap_or_default();
    assert!(killed.ends_with(" 2, 2, 4"), "{said}");
}
