//! Runs many seeds, on every core, and tells of the first that fails.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the progress is told.
const TELL: Duration = Duration::from_secs(1);

/// What all runs together did.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) seeds: u64,
    pub(crate) counts: BTreeMap<String, u64>,
    pub(crate) failures: Vec<(u64, String)>,
}

/// A number from the environment.
pub(crate) fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.trim().parse().ok()
}

/// Runs seeds from `first` on, until `count` were run or so many failed.
pub(crate) fn run(
    first: u64,
    count: u64,
    failures_max: usize,
    one: impl Fn(u64) -> Result<BTreeMap<String, u64>, String> + Sync,
) -> Summary {
    let next = AtomicU64::new(first);
    let ended = AtomicBool::new(false);
    let summary = Mutex::new(Summary::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    while !ended.load(Ordering::Relaxed) {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= first.saturating_add(count) {
                            return;
                        }
                        let result = one(seed);
                        let mut summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
                        summary.seeds += 1;
                        match result {
                            Ok(counts) => {
                                for (name, count) in counts {
                                    *summary.counts.entry(name).or_default() += count;
                                }
                            }
                            Err(failure) => summary.failures.push((seed, failure)),
                        }
                        if summary.failures.len() >= failures_max {
                            ended.store(true, Ordering::Relaxed);
                        }
                    }
                })
            })
            .collect();
        tell(&summary, count, || workers.iter().all(std::thread::ScopedJoinHandle::is_finished));
    });
    summary.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps a bar on the screen up to date until everybody has finished.
#[expect(clippy::print_stderr, reason = "a bar for who waits")]
fn tell(summary: &Mutex<Summary>, count: u64, finished: impl Fn() -> bool) {
    let began = Instant::now();
    let mut told = began;
    while !finished() {
        // the runs are the work; this only looks at them
        std::thread::park_timeout(Duration::from_millis(50));
        if told.elapsed() < TELL {
            continue;
        }
        told = Instant::now();
        let (seeds, failures) = {
            let summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
            (summary.seeds, summary.failures.len())
        };
        let rate =
            f64::from(u32::try_from(seeds).unwrap_or(u32::MAX)) / began.elapsed().as_secs_f64();
        let filled = usize::try_from(seeds * 40 / count.max(1)).unwrap_or(40).min(40);
        eprint!(
            "\r[{:<40}] {seeds} of {count}, {rate:.1}/s, {failures} failed ",
            "#".repeat(filled)
        );
        let _ = std::io::stderr().flush();
    }
    eprintln!("\r[{}] done in {:.1?}{:30}", "#".repeat(40), began.elapsed(), "");
}
