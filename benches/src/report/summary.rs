//! The summary: under what conditions, the table, and the aims with what was reached.

use std::fmt::Write;

use crate::brokers::{BrokerRow, Which};
use crate::system::{Job, System};

use super::{Metric, Results};

/// What has to be known to read the numbers.
#[derive(Debug)]
pub(crate) struct Conditions {
    pub(crate) date: String,
    /// Settings, one in a line.
    pub(crate) lines: Vec<String>,
    pub(crate) smoke: bool,
}

/// Broker and harness share the other core: above this the broker is what limits.
const BROKER_BUSY: f64 = 0.9;
/// A demo must not wait for its broker.
const READY_MS_MAX: f64 = 100.0;

/// Writes it all as Markdown.
pub(crate) fn summary(results: &Results, conditions: &Conditions) -> String {
    let mut text = format!("# Balances, end to end, {}\n\n", conditions.date);
    if conditions.smoke {
        text.push_str("**Smoke size: shows that everything works. The numbers mean little.**\n\n");
    }
    for line in &conditions.lines {
        let _ = writeln!(text, "- {line}");
    }
    for job in Job::ALL {
        if results.rows.iter().any(|row| row.job == job) {
            let _ = write!(text, "\n## {job}\n\n{}", table(results, job));
            let _ = write!(text, "\n{}", aims(results, job));
        }
    }
    if !results.brokers.is_empty() {
        let _ = write!(text, "\n## raw client\n\n{}", brokers(results));
    }
    text.push_str("\n## Results\n\n");
    if results.wrong.is_empty() {
        text.push_str("Every balance of every run is right. Hashes of the balances:\n\n");
    } else {
        text.push_str("**WRONG RESULTS:**\n\n");
        for wrong in &results.wrong {
            let _ = writeln!(text, "- {wrong}");
        }
        text.push('\n');
    }
    for hash in &results.hashes {
        let _ = writeln!(text, "- {hash}");
    }
    text
}

fn table(results: &Results, job: Job) -> String {
    let systems: Vec<System> = System::ALL
        .into_iter()
        .filter(|system| results.rows.iter().any(|row| (row.job, row.system) == (job, *system)))
        .collect();
    let mut text = "| |".to_owned();
    for system in &systems {
        let _ = write!(text, " {system} |");
    }
    text.push_str(" Tidemill / raw | Tidemill / Kafka Streams |\n|---|");
    text.push_str(&"--:|".repeat(systems.len() + 2));
    text.push('\n');
    for metric in Metric::ALL {
        let of = |system| results.median(job, system, metric);
        if systems.iter().all(|system| of(*system).is_none()) {
            continue;
        }
        let _ = write!(text, "| {} |", metric.names().1);
        for system in &systems {
            let _ = write!(text, " {} |", of(*system).map_or("-".to_owned(), number));
        }
        let ours = of(System::Tidemill);
        for other in [System::Raw, System::KafkaStreams] {
            let ratio = ours.zip(of(other)).filter(|(_, other)| *other > 0.0);
            let _ = write!(text, " {} |", ratio.map_or("-".to_owned(), |(a, b)| factor(a / b)));
        }
        text.push('\n');
    }
    text
}

/// A number of both brokers.
struct Pair {
    name: &'static str,
    given: Option<f64>,
    embedded: Option<f64>,
}

/// The brokers side by side, and their aims.
fn brokers(results: &Results) -> String {
    let pair = |name, number: fn(&BrokerRow) -> Option<f64>| Pair {
        name,
        given: results.broker(Which::Given, number),
        embedded: results.broker(Which::Embedded, number),
    };
    let rates = [
        pair("produced records/s", |row| Some(row.produced_per_s)),
        pair("consumed records/s", |row| Some(row.consumed_per_s)),
    ];
    let ready = pair("process start to first answer, ms", |row| row.ready_ms);
    let mut text =
        format!("| | {} | {} |\n|---|--:|--:|\n", Which::Given.name(), Which::Embedded.name());
    let cell = |value: Option<f64>| value.map_or("-".to_owned(), number);
    for Pair { name, given, embedded } in rates.iter().chain([&ready]) {
        let _ = writeln!(text, "| {name} | {} | {} |", cell(*given), cell(*embedded));
    }
    text.push('\n');
    let verdict = |met| if met { "met" } else { "**missed**" };
    for Pair { name, given, embedded } in rates {
        let (Some(given), Some(embedded)) = (given, embedded) else { continue };
        let (reached, verdict) = (factor(embedded / given), verdict(embedded >= given / 2.0));
        let _ = writeln!(
            text,
            "- {name}, embedded / given broker (aim: at least 0.50): {reached}, {verdict}."
        );
    }
    if let Some(ready) = ready.embedded {
        let verdict = verdict(ready <= READY_MS_MAX);
        let _ = writeln!(text, "- embedded broker ready (aim: 100 ms): {ready:.0} ms, {verdict}.");
    }
    text
}

/// The aims, each with what was reached.
fn aims(results: &Results, job: Job) -> String {
    let of = |system, metric| results.median(job, system, metric);
    let ratio = |metric, above, below| of(above, metric).zip(of(below, metric)).map(|(a, b)| a / b);
    let mut text = String::new();
    let mut aim = |what: &str, reached: Option<f64>, met: fn(f64) -> bool| {
        if let Some(reached) = reached {
            let verdict = if met(reached) { "met" } else { "**missed**" };
            let _ = writeln!(text, "- {what}: {}, {verdict}.", factor(reached));
        }
    };
    aim(
        "CPU per record of Kafka Streams / Tidemill, second half (aim: at least 4)",
        ratio(Metric::CpuSecondHalf, System::KafkaStreams, System::Tidemill),
        |reached| reached >= 4.0,
    );
    aim(
        "peak RSS of Tidemill / Kafka Streams (aim: at most 0.20)",
        ratio(Metric::PeakRss, System::Tidemill, System::KafkaStreams),
        |reached| reached <= 0.2,
    );
    aim(
        "records/s of Tidemill / raw loop with one output a record (aim: at least 0.70)",
        ratio(Metric::Rate, System::Tidemill, System::Raw),
        |reached| reached >= 0.7,
    );
    aim(
        "records/s of Tidemill / raw loop with one output per account and commit (stricter: \
         at least 0.70)",
        ratio(Metric::Rate, System::Tidemill, System::RawLast),
        |reached| reached >= 0.7,
    );
    for system in System::ALL {
        if let Some(cores) = of(system, Metric::BrokerCores).filter(|cores| *cores > BROKER_BUSY) {
            let _ = writeln!(
                text,
                "- {system}: the broker kept {cores:.2} cores busy, so it may be the limit: read \
                 CPU per record rather than records/s."
            );
        }
    }
    text
}

/// Three significant digits, thousands grouped.
fn number(value: f64) -> String {
    if value >= 1_000.0 {
        let digits = format!("{value:.0}");
        let mut grouped = String::new();
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place).is_multiple_of(3) {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        return grouped;
    }
    let decimals = if value >= 100.0 { 0 } else { 1 + usize::from(value < 10.0) };
    format!("{value:.decimals$}")
}

fn factor(ratio: f64) -> String {
    format!("{ratio:.2}")
}
