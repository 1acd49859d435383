//! Tidemill against Kafka Streams' own answers: the same scenarios, run by both test drivers.
//!
//! `scenarios/` says what is done, `vectors/` what Kafka Streams made of it; `java/` is the program
//! that wrote the vectors. The README beside the scenarios describes the format.

mod cogroups;
mod data;
mod files;
mod functions;
mod globals;
mod joins;
mod operator;
mod pending;
mod processors;
mod run;
mod sinks;
mod suppressions;
mod tables;
mod topology;
mod window_stores;
mod windows;

use files::scenarios;
use run::Outcome;

/// A folder of scenarios.
struct Folder {
    name: &'static str,
    /// At least so many scenarios: none gets lost by a mistake in a path.
    least: usize,
    /// So many of them where Tidemill's changelog has the last of several writes in a commit.
    coalesced: usize,
}

/// Runs every scenario of a folder and reports all that differ.
fn check(folder: &Folder) {
    let scenarios = scenarios(folder.name);
    let least = if files::is_elsewhere() { 0 } else { folder.least };
    assert!(scenarios.len() >= least, "{}: only {}", folder.name, scenarios.len());
    let (mut differences, mut coalesced) = (Vec::new(), Vec::new());
    for scenario in &scenarios {
        match run::outcome(scenario, &scenario.vector()) {
            Outcome::Same => {}
            Outcome::Coalesced => coalesced.push(&*scenario.path),
            Outcome::Different(text) => {
                differences.push(format!("{} ({}): {text}", scenario.path, scenario.about));
            }
        }
    }
    assert!(
        differences.is_empty(),
        "{} of {} scenarios differ from Kafka Streams:\n\n{}",
        differences.len(),
        scenarios.len(),
        differences.iter().take(20).map(String::as_str).collect::<Vec<_>>().join("\n\n"),
    );
    if files::is_elsewhere() {
        return;
    }
    assert_eq!(coalesced.len(), folder.coalesced, "with fewer changelog records: {coalesced:?}");
}

#[test]
fn every_operator_answers_as_kafka_streams_does() {
    check(&Folder { name: "operators", least: 515, coalesced: 25 });
}

#[test]
fn random_topologies_answer_as_those_of_kafka_streams() {
    check(&Folder { name: "random", least: 200, coalesced: 2 });
}

/// Where Kafka Streams is wrong: see the README. Who is right on purpose must stay so.
#[test]
fn what_kafka_streams_does_wrong_is_done_right() {
    for scenario in scenarios("deviating") {
        let outcome = run::outcome(&scenario, &scenario.vector());
        let differs = matches!(outcome, Outcome::Different(text) if text.starts_with("step "));
        assert!(differs, "{}: this is how Kafka Streams does it", scenario.path);
    }
}
