//! The demo step by step: load, kills, drain, stop, verification, verdict.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tempfile::TempDir;
use tidemill::BoxError;
use tidemill_examples::cluster::Cluster;
use tidemill_examples::embedded::EmbeddedBroker;
use tidemill_examples::generate::{Generator, Load};
use tidemill_examples::interrupt::Interrupt;
use tidemill_examples::job::Job;
use tidemill_examples::lag::{LagWatch, Progress};
use tidemill_examples::processes::WorkerProcess;
use tidemill_examples::report::{self, grouped};
use tidemill_examples::verify::{self, Expected, Findings};

use super::Arguments;

const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Without a terminal a line is printed so often.
const SAY_EVERY: Duration = Duration::from_secs(2);
/// The run fails if nothing is committed for so long.
const STALLED_AFTER: Duration = Duration::from_secs(120);

/// What is known when the load is worked off.
struct Drained {
    kills: u32,
    processing: Duration,
    records: u64,
}

/// Runs the demo; returns whether everything was as it must be.
pub(super) fn run(arguments: &Arguments) -> Result<bool, BoxError> {
    let interrupt = Interrupt::catch()?;
    let began = Instant::now();
    let folder = TempDir::with_prefix("tidemill-demo.")?;
    let broker = match arguments.bootstrap_servers {
        Some(_) => None,
        None => Some(EmbeddedBroker::start(&folder.path().join("broker"))?),
    };
    let given = arguments.bootstrap_servers.as_deref();
    let servers = broker.as_ref().map(EmbeddedBroker::address).or(given).unwrap_or_default();
    let cluster = Cluster::at(servers)?;
    let job = Job::unique("demo", arguments.partitions);
    job.create_topics(&cluster)?;
    let kind = if broker.is_some() { "embedded broker" } else { "Kafka" };
    report::line(format_args!(
        "{} transactions over {} accounts, seed {}; two worker processes, {} kills\n\
         application {}, {kind} at {servers}",
        grouped(arguments.transactions),
        grouped(arguments.accounts),
        arguments.seed,
        arguments.kills,
        job.application_id,
    ));
    let threads = ["--workers".to_owned(), arguments.workers.to_string()];
    let worker = |name: &str| WorkerProcess::new(name, (servers, &job), folder.path(), &threads);
    let mut workers = [worker("worker-1")?, worker("worker-2")?];
    let outcome = process(arguments, &cluster, &job, &mut workers, &interrupt)
        .and_then(|drained| judge(&cluster, &job, &drained, began));
    if !matches!(outcome, Ok(true)) {
        drop(workers);
        let kept = folder.keep();
        report::line(format_args!("state and logs of the workers are kept in {}", kept.display()));
        return outcome;
    }
    job.delete_topics(&cluster)?;
    outcome
}

/// Starts load and workers, kills workers at even distances on the way, and waits until nothing is
/// left to do.
fn process(
    arguments: &Arguments,
    cluster: &Cluster,
    job: &Job,
    workers: &mut [WorkerProcess; 2],
    interrupt: &Interrupt,
) -> Result<Drained, BoxError> {
    let mut load = Generator::start(
        cluster,
        Load {
            topic: job.input.clone(),
            partitions: job.partitions,
            transactions: arguments.transactions,
            accounts: arguments.accounts,
            seed: arguments.seed,
            rate: None,
        },
    )?;
    let began = Instant::now();
    for worker in &mut *workers {
        worker.start(&[])?;
    }
    let mut random = fastrand::Rng::with_seed(arguments.seed);
    let mut watch = LagWatch::new(cluster, job)?;
    let mut display = Display::new(arguments.transactions);
    let (mut kills, mut last) = (0, (Instant::now(), 0));
    loop {
        interrupt.check()?;
        for worker in &mut *workers {
            worker.check_running()?;
        }
        let generated = load.is_finished();
        let progress = watch.progress()?;
        let processed = progress.processed();
        display.show(&progress, &load, kills);
        let due = arguments.transactions * u64::from(kills + 1) / u64::from(arguments.kills + 1);
        if kills < arguments.kills && processed >= due {
            let victim = &mut workers[random.usize(..2)];
            victim.kill()?;
            kills += 1;
            display.say(&format!(
                "kill {kills}: {} by SIGKILL at {} records, and started again",
                victim.name(),
                grouped(processed)
            ));
            victim.start(&[])?;
        }
        if generated && kills == arguments.kills && progress.is_done() {
            break;
        }
        if processed != last.1 {
            last = (Instant::now(), processed);
        } else if last.0.elapsed() > STALLED_AFTER {
            let stuck = format!("and its partner committed nothing for {STALLED_AFTER:?}");
            return Err(workers[0].failure(&stuck));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    let (processing, records) = (began.elapsed(), load.finish()?);
    display.finish();
    for worker in workers {
        worker.stop(STOP_TIMEOUT)?;
    }
    report::line("lag 0; both workers ended with exit code 0 after SIGTERM; verifying");
    Ok(Drained { kills, processing, records })
}

/// Compares and prints the verdict.
fn judge(
    cluster: &Cluster,
    job: &Job,
    drained: &Drained,
    began: Instant,
) -> Result<bool, BoxError> {
    let expected = Expected::of_input(cluster, job)?;
    let balances = verify::balances(cluster, job, &expected)?;
    let dead = verify::dead_letters(cluster, job, &expected)?;
    let mut problems: Vec<String> = Vec::new();
    if expected.records != drained.records {
        let (sent, found) = (drained.records, expected.records);
        problems.push(format!("{sent} records were sent, the input topic has {found}"));
    }
    let Findings { records: published, problems: wrong } = balances;
    problems.extend(wrong);
    problems.extend(dead.problems);
    let rate = drained.records as f64 / drained.processing.as_secs_f64();
    let rows = [
        ("records", grouped(drained.records)),
        ("kills by SIGKILL", drained.kills.to_string()),
        ("time to process", format!("{:.1} s", drained.processing.as_secs_f64())),
        ("throughput", format!("{} records/s, kills included", grouped(rate as u64))),
        ("balances published", grouped(published)),
        ("accounts compared", grouped(expected.accounts() as u64)),
        ("dead letters", format!("{} of {} invalid records", dead.records, expected.invalid())),
        ("whole run", format!("{:.1} s", began.elapsed().as_secs_f64())),
    ];
    report::table("result", &rows);
    report::problems(&problems);
    report::line(if problems.is_empty() {
        "\nVERDICT: exactly once. Every account, every count and every dead letter is right."
    } else {
        "\nVERDICT: WRONG. See the violations above."
    });
    Ok(problems.is_empty())
}

/// A progress bar on a terminal, lines elsewhere.
struct Display {
    bar: ProgressBar,
    terminal: bool,
    said: Instant,
    before: (Instant, u64),
    rate: f64,
}

impl Display {
    fn new(transactions: u64) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let target =
            if terminal { ProgressDrawTarget::stdout() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(transactions), target);
        let style = ProgressStyle::with_template(
            "{elapsed_precise} [{bar:40.cyan/blue}] {human_pos}/{human_len} {msg}",
        );
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("=> "));
        }
        let now = Instant::now();
        Self { bar, terminal, said: now, before: (now, 0), rate: 0.0 }
    }

    fn show(&mut self, progress: &Progress, load: &Generator, kills: u32) {
        let processed = progress.processed();
        let elapsed = self.before.0.elapsed();
        if elapsed >= Duration::from_secs(1) {
            self.rate = processed.saturating_sub(self.before.1) as f64 / elapsed.as_secs_f64();
            self.before = (Instant::now(), processed);
        }
        let text = format!(
            "{}/s | lag {} + {} | {kills} kills",
            grouped(self.rate as u64),
            grouped(progress.input_lag),
            progress.repartition_lag.map_or_else(|| "?".to_owned(), grouped),
        );
        self.bar.set_position(processed);
        if !self.terminal && self.said.elapsed() >= SAY_EVERY {
            self.said = Instant::now();
            let (sent, processed) = (grouped(load.sent()), grouped(processed));
            report::line(format_args!("{processed} of {sent} processed, {text}"));
        }
        self.bar.set_message(text);
    }

    fn say(&self, text: &str) {
        if self.terminal { self.bar.println(text) } else { report::line(text) }
    }

    fn finish(&self) {
        self.bar.finish();
    }
}
