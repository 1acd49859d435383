//! The example of the simulation finds its mistake, and its replay command shows it again.

use std::process::{Command, Output};

fn simulate(arguments: &[&str]) -> (Output, String) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_simulate"));
    let output = program.args(arguments).output().expect("it was built with this test");
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8_lossy(&both).into_owned();
    (output, said)
}

#[test]
fn the_mistake_is_found_and_the_mended_topology_holds() {
    let (output, said) = simulate(&["--seeds", "60"]);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("VERDICT: the mistake was found"), "{said}");
    let replay = said.lines().find_map(|line| line.strip_prefix("replay: ")).expect("a command");
    let (_, arguments) = replay.split_once(" -- ").expect("arguments");
    let arguments: Vec<&str> = arguments.split(' ').collect();
    let (again, said) = simulate(&arguments);
    assert!(!again.status.success(), "{said}");
    assert!(said.contains("violates \"each visit counts once\""), "{said}");
    assert!(said.contains(replay), "{said}");
}
