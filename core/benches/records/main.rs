//! What a record costs on its way through a task, beside loops written by hand.
//!
//! ```text
//! cargo bench -p tidemill-core                          15 rounds, a table of medians
//! cargo bench -p tidemill-core -- --smoke               does everything work?
//! cargo bench -p tidemill-core -- --results FOLDER      writes micro.csv there, too
//! cargo bench -p tidemill-core -- --job count-hot       one job only
//! ```
//!
//! No broker and no disk: records lie in memory, what is sent is counted. Both sides have the same
//! serdes, partitioner and collector, and commit each 10,000 records. Rounds take turns, so that
//! what else the machine does hits both; the ratio is the median of those of the rounds.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program's results")]

mod by_hand;
mod jobs;
mod report;
mod side;

use std::process::ExitCode;

use jobs::JOBS;
use report::{Line, Report};

/// What was asked for.
struct Options {
    smoke: bool,
    results: Option<String>,
    job: Option<String>,
}

fn options() -> Result<Options, String> {
    let mut options = Options { smoke: false, results: None, job: None };
    let mut rest = std::env::args().skip(1);
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or(format!("{argument} takes a value"));
        match &*argument {
            "--smoke" => options.smoke = true,
            "--results" => options.results = Some(value()?),
            "--job" => options.job = Some(value()?),
            // from cargo
            "--bench" => {}
            _ => {
                return Err(format!(
                    "{argument} is unknown: --smoke, --results FOLDER, --job NAME"
                ));
            }
        }
    }
    Ok(options)
}

fn run() -> Result<(), String> {
    let options = options()?;
    let (rounds, records) = if options.smoke { (2, 20_000) } else { (15, 100_000) };
    let mut report = Report::default();
    for job in JOBS {
        if options.job.as_deref().is_some_and(|only| only != job.name) {
            continue;
        }
        let input = (job.input)(records);
        // what is measured first pays for a cold cache: not counted
        let expected = (job.by_hand)(&input).sent;
        let found = (job.tidemill)(&input).sent;
        if expected != found {
            let name = job.name;
            return Err(format!("{name}: by hand {expected:?} went out, of Tidemill {found:?}"));
        }
        for round in 1..=rounds {
            let (hand, tidemill) = if round % 2 == 0 {
                let hand = (job.by_hand)(&input);
                (hand, (job.tidemill)(&input))
            } else {
                let tidemill = (job.tidemill)(&input);
                ((job.by_hand)(&input), tidemill)
            };
            let nanos = |took: std::time::Duration| took.as_nanos() as f64 / records as f64;
            let (tidemill, hand) = (nanos(tidemill.took), nanos(hand.took));
            report.add(Line { round, job: job.name, aim: job.aim, tidemill, hand });
        }
    }
    print!("{report}");
    match options.results {
        Some(folder) => report.write(&folder),
        None => Ok(()),
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
