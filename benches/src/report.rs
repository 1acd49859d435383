//! What was measured: raw numbers as CSV, a table of medians with ratios, and how that compares
//! with the aims.

mod summary;

use std::fmt::Write;
use std::path::Path;

use tidemill::BoxError;

use crate::brokers::{BrokerRow, Which};
use crate::latency::Latency;
use crate::progress::Drained;
use crate::system::{Job, System};
use crate::transactions::Ledger;

pub(crate) use summary::{Conditions, summary};

/// A number that is taken of every system, as far as it has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Metric {
    Rate,
    RateSecondHalf,
    Cpu,
    CpuSecondHalf,
    CpuFromStart,
    PeakRss,
    FirstCommit,
    WorkerCores,
    BrokerCores,
    OutputRecords,
    RestoredRecords,
    RestoreRate,
    RestoreReady,
    LatencyP50,
    LatencyP99,
    LatencyMax,
    LoadCpu,
    LoadPeakRss,
}

impl Metric {
    pub(crate) const ALL: [Self; 18] = [
        Self::Rate,
        Self::RateSecondHalf,
        Self::Cpu,
        Self::CpuSecondHalf,
        Self::CpuFromStart,
        Self::PeakRss,
        Self::FirstCommit,
        Self::WorkerCores,
        Self::BrokerCores,
        Self::OutputRecords,
        Self::RestoredRecords,
        Self::RestoreRate,
        Self::RestoreReady,
        Self::LatencyP50,
        Self::LatencyP99,
        Self::LatencyMax,
        Self::LoadCpu,
        Self::LoadPeakRss,
    ];

    /// The name in raw.csv, unit last, and the words of the table.
    pub(crate) fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Rate => ("records_per_s", "records/s, first to last commit"),
            Self::RateSecondHalf => ("second_half_records_per_s", "records/s, second half"),
            Self::Cpu => ("cpu_s_per_million", "CPU s per million, first to last commit"),
            Self::CpuSecondHalf => {
                ("second_half_cpu_s_per_million", "CPU s per million, second half")
            }
            Self::CpuFromStart => {
                ("from_start_cpu_s_per_million", "CPU s per million, start of process included")
            }
            Self::PeakRss => ("peak_rss_mib", "peak RSS, MiB"),
            Self::FirstCommit => ("first_commit_ms", "process start to first commit, ms"),
            Self::WorkerCores => ("worker_cores", "cores the worker kept busy"),
            Self::BrokerCores => ("broker_cores", "cores the broker kept busy"),
            Self::OutputRecords => ("output_records", "output records"),
            Self::RestoredRecords => ("restored_records", "records restored"),
            Self::RestoreRate => ("restored_records_per_s", "records restored/s"),
            Self::RestoreReady => ("restore_ready_ms", "process start to restored, ms"),
            Self::LatencyP50 => ("latency_p50_ms", "latency p50, ms"),
            Self::LatencyP99 => ("latency_p99_ms", "latency p99, ms"),
            Self::LatencyMax => ("latency_max_ms", "latency max, ms"),
            Self::LoadCpu => ("load_cpu_s_per_million", "CPU s per million at the fixed load"),
            Self::LoadPeakRss => ("load_peak_rss_mib", "peak RSS at the fixed load, MiB"),
        }
    }
}

/// One number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) round: u32,
    pub(crate) job: Job,
    pub(crate) system: System,
    pub(crate) metric: Metric,
    pub(crate) value: f64,
}

/// All numbers so far, and whether every result was right.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) rows: Vec<Row>,
    pub(crate) brokers: Vec<BrokerRow>,
    pub(crate) hashes: Vec<String>,
    pub(crate) wrong: Vec<String>,
    at: (u32, Job, System),
}

impl Results {
    pub(crate) fn new() -> Self {
        let at = (1, Job::Keyed, System::Raw);
        Self { rows: Vec::new(), brokers: Vec::new(), hashes: Vec::new(), wrong: Vec::new(), at }
    }

    /// What the following numbers are about.
    pub(crate) fn about(&mut self, round: u32, job: Job, system: System) {
        self.at = (round, job, system);
    }

    /// What has no value (a rate, if everything was done by one commit) is left out.
    pub(crate) fn add(&mut self, metric: Metric, value: f64) {
        let (round, job, system) = self.at;
        if !value.is_finite() {
            return;
        }
        self.rows.push(Row { round, job, system, metric, value });
    }

    pub(crate) fn add_drained(&mut self, drained: &Drained, records: u64) {
        self.add(Metric::Rate, drained.whole.records_per_second());
        self.add(Metric::RateSecondHalf, drained.second_half.records_per_second());
        self.add(Metric::Cpu, drained.whole.cpu_per_million());
        self.add(Metric::CpuSecondHalf, drained.second_half.cpu_per_million());
        let millions = f64::from(u32::try_from(records).unwrap_or(u32::MAX)) / 1e6;
        self.add(Metric::CpuFromStart, drained.cpu_from_start / millions);
        self.add(Metric::FirstCommit, drained.first_commit * 1e3);
        self.add(Metric::WorkerCores, drained.whole.worker_cpu / drained.whole.seconds);
        self.add(Metric::BrokerCores, drained.whole.broker_cpu / drained.whole.seconds);
    }

    pub(crate) fn add_latency(&mut self, latency: &Latency) {
        self.add(Metric::LatencyP50, latency.p50_ms);
        self.add(Metric::LatencyP99, latency.p99_ms);
        self.add(Metric::LatencyMax, latency.max_ms);
        self.add(Metric::LoadCpu, latency.cpu_per_million);
    }

    /// Remembers whether the balances are what they must be.
    pub(crate) fn verified(&mut self, found: &Ledger, expected: &Ledger) {
        let (round, job, system) = self.at;
        let what = format!("round {round}, {job}, {system}");
        let hash = found.hash();
        self.hashes.push(format!("{what}: {} transactions, {hash:016x}", found.transactions()));
        if let Some(difference) = found.difference(expected) {
            self.wrong.push(format!("{what}: {difference}"));
        }
    }

    /// The median over the rounds.
    pub(crate) fn median(&self, job: Job, system: System, metric: Metric) -> Option<f64> {
        let of = |row: &&Row| (row.job, row.system, row.metric) == (job, system, metric);
        median(self.rows.iter().filter(of).map(|row| row.value).collect())
    }

    /// The median over the rounds of a number of a broker.
    pub(crate) fn broker(
        &self,
        which: Which,
        number: impl Fn(&BrokerRow) -> Option<f64>,
    ) -> Option<f64> {
        let rows = self.brokers.iter().filter(|row| row.which == which);
        median(rows.filter_map(number).collect())
    }

    /// The raw numbers.
    pub(crate) fn csv(&self) -> String {
        let mut csv = "round,job,system,metric,value\n".to_owned();
        for Row { round, job, system, metric, value } in &self.rows {
            let _ = writeln!(csv, "{round},{job},{system},{},{value:.3}", metric.names().0);
        }
        for row in &self.brokers {
            let (round, which) = (row.round, row.which.name().replace(' ', "-"));
            let _ = writeln!(csv, "{round},raw,{which},produced_per_s,{:.3}", row.produced_per_s);
            let _ = writeln!(csv, "{round},raw,{which},consumed_per_s,{:.3}", row.consumed_per_s);
            if let Some(ready) = row.ready_ms {
                let _ = writeln!(csv, "{round},raw,{which},ready_ms,{ready:.3}");
            }
        }
        csv
    }

    /// Writes both files.
    pub(crate) fn save(&self, folder: &Path, summary: &str) -> Result<(), BoxError> {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("raw.csv"), self.csv())?;
        std::fs::write(folder.join("summary.md"), summary)?;
        Ok(())
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => values.get(middle).copied(),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

#[cfg(test)]
mod tests;
