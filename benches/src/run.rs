//! One run: all systems on all jobs, on one broker.

use std::path::{Path, PathBuf};
use std::process::Command;

use tidemill::BoxError;

use crate::cluster::Cluster;
use crate::host::{self, Host, Pinning};
use crate::measure::Bench;
use crate::options::BenchOptions;
use crate::report::{Conditions, Results, summary};
use crate::system::{Job, Programs, System};
use crate::{brokers, interrupt, raw, say};

/// Warms the broker up: its just-in-time compiler would else favour whoever comes last.
const WARM_UP_RECORDS: u64 = 300_000;

/// Measures, prints and saves. Returns whether every result was right.
pub(crate) fn run(options: &BenchOptions) -> Result<bool, BoxError> {
    if options.bootstrap_servers.is_empty() {
        return Err("no broker: run it under runtime/kafka/with-kafka, as `make bench` does, or \
                    give --bootstrap-servers"
            .into());
    }
    let this = Host::look();
    let broker = options.broker_dir.as_deref().and_then(host::broker_pid);
    let pinning = Pinning::new(options.pin, this.cores, broker)?;
    pinning.pin()?;
    interrupt::listen()?;
    let folder = tempfile::Builder::new().prefix("tidemill-bench.").tempdir()?;
    let bench = Bench {
        options,
        cluster: Cluster::new(&options.bootstrap_servers, options.partitions)?,
        programs: Programs::prepare(&options.systems)?,
        broker,
        pinning,
        folder: folder.path().to_owned(),
    };
    warm_up(&bench)?;
    let mut results = Results::new();
    for round in 1..=options.rounds {
        let brokers = brokers::measure(&bench.cluster, &bench.folder, options.records(), round)?;
        results.brokers.extend(brokers);
        for job in &options.jobs {
            measure_job(&bench, round, *job, &mut results)?;
        }
    }
    let conditions = conditions(options, bench.pinning.worker, &this);
    let text = summary(&results, &conditions);
    print(&text)?;
    if let Some(folder) = results_folder(options, &conditions.date, &this) {
        results.save(&folder, &text)?;
        say(&format!("saved in {}", folder.display()));
    }
    Ok(results.wrong.is_empty())
}

fn warm_up(bench: &Bench<'_>) -> Result<(), BoxError> {
    say("warming the broker up");
    let mut ignored = Results::new();
    let filled = bench.fill(Job::Repartition, "warm-up", WARM_UP_RECORDS)?;
    bench.throughput(System::Raw, &filled, "warm-up", &mut ignored)?;
    bench.cluster.delete(&[&filled.topic])
}

fn measure_job(
    bench: &Bench<'_>,
    round: u32,
    job: Job,
    results: &mut Results,
) -> Result<(), BoxError> {
    let options = bench.options;
    let records = options.records();
    say(&format!("round {round}, {job}: writing {records} records"));
    let filled = bench.fill(job, &format!("r{round}-{job}"), records)?;
    // Not always the same one first.
    let mut systems = options.systems.clone();
    let turn = usize::try_from(round - 1)? % systems.len().max(1);
    systems.rotate_left(turn);
    for system in systems {
        results.about(round, job, system);
        let from = results.rows.len();
        let application = format!("r{round}-{job}-{system}");
        bench.throughput(system, &filled, &application, results)?;
        if options.load_seconds() > 0 && system.has_latency() {
            bench.latency(system, job, &format!("{application}-load"), results)?;
        }
        let told: Vec<String> = results.rows[from..]
            .iter()
            .map(|row| format!("{} {:.1}", row.metric.names().0, row.value))
            .collect();
        say(&format!("round {round}, {job}, {system}: {}", told.join(", ")));
    }
    bench.cluster.delete(&[&filled.topic])
}

fn print(text: &str) -> Result<(), BoxError> {
    use std::io::Write;
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

fn conditions(options: &BenchOptions, core: Option<usize>, this: &Host) -> Conditions {
    let librdkafka = raw::librdkafka_version();
    let mut lines = vec![
        format!(
            "{} records over {} accounts, {} partitions, commit interval {} ms, seed {}; \
             {} round(s), medians",
            options.records(),
            options.accounts,
            options.partitions,
            options.commit_interval_ms,
            options.seed,
            options.rounds
        ),
        format!(
            "fixed load {} records/s for {} s after {} s of warm-up",
            options.load_rate,
            options.load_seconds(),
            options.warm_up_seconds()
        ),
        format!(
            "{} cores of {}; load average before the run {:.2}",
            this.cores, this.cpu, this.load_average
        ),
        match core {
            Some(core) => {
                format!(
                    "workers pinned to core {core}, broker and harness to the others, but for the \
                     latency at the fixed load"
                )
            }
            None => "nothing pinned".to_owned(),
        },
        format!(
            "Tidemill {} ({}), librdkafka {librdkafka}; Kafka Streams {}; broker: {}",
            env!("CARGO_PKG_VERSION"),
            revision(),
            pom_version("java/pom.xml"),
            if options.embedded() {
                "the embedded one".to_owned()
            } else {
                format!("Apache Kafka {}", pom_version("../runtime/kafka/pom.xml"))
            },
        ),
    ];
    lines.push(
        "each system with its own defaults apart from the commit interval; raw with Tidemill's \
         client settings; no compression anywhere"
            .to_owned(),
    );
    Conditions { date: date(), lines, smoke: options.smoke }
}

/// The commit that this was built from, as far as git tells.
fn revision() -> String {
    let git = Command::new("git")
        .args(["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"])
        .output();
    git.ok()
        .filter(|git| git.status.success())
        .and_then(|git| String::from_utf8(git.stdout).ok())
        .map_or_else(|| "unknown commit".to_owned(), |text| text.trim().to_owned())
}

/// The version of Kafka in one of our Maven files.
fn pom_version(pom: &str) -> String {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(pom));
    text.unwrap_or_default()
        .split_once("<kafka.version>")
        .and_then(|(_, rest)| rest.split_once('<'))
        .map_or_else(|| "unknown".to_owned(), |(version, _)| version.to_owned())
}

/// Smoke results are not kept unless a folder is given.
fn results_folder(options: &BenchOptions, date: &str, this: &Host) -> Option<PathBuf> {
    if options.results.is_some() || options.smoke {
        return options.results.clone();
    }
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    let name = format!("{date}-{}", this.kind());
    let mut names = std::iter::once(name.clone()).chain((2..).map(|n| format!("{name}-{n}")));
    names.find(|name| !results.join(name).exists()).map(|name| results.join(name))
}

/// Today in UTC, as 2026-01-31.
fn date() -> String {
    let seconds = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    format!("{year}-{month:02}-{day:02}")
}

/// The date of a day counted from 1970-01-01 (Howard Hinnant's days_from_civil, backwards).
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests;
