//! The table and the file of results.

use std::fmt;
use std::path::Path;

/// Nanoseconds a record, in one round.
pub(crate) struct Line {
    pub(crate) round: usize,
    pub(crate) job: &'static str,
    /// The largest ratio that is aimed at.
    pub(crate) aim: Option<f64>,
    pub(crate) tidemill: f64,
    pub(crate) hand: f64,
}

/// All rounds.
#[derive(Default)]
pub(crate) struct Report(Vec<Line>);

impl Report {
    pub(crate) fn add(&mut self, line: Line) {
        self.0.push(line);
    }

    /// Writes one line for each measurement, as the other benchmarks do.
    pub(crate) fn write(&self, folder: &str) -> Result<(), String> {
        let mut text = "round,job,system,metric,value\n".to_owned();
        for Line { round, job, tidemill, hand, .. } in &self.0 {
            text += &format!("{round},{job},tidemill,ns_per_record,{tidemill:.1}\n");
            text += &format!("{round},{job},by-hand,ns_per_record,{hand:.1}\n");
        }
        let file = Path::new(folder).join("micro.csv");
        let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&file, text));
        written.map_err(|error| format!("{}: {error}", file.display()))
    }

    fn jobs(&self) -> Vec<&'static str> {
        let mut jobs: Vec<_> = self.0.iter().map(|line| line.job).collect();
        jobs.dedup();
        jobs
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<22} {:>11} {:>11} {:>7}  aim",
            "ns a record", "Tidemill", "by hand", "ratio"
        )?;
        for job in self.jobs() {
            let lines = || self.0.iter().filter(|line| line.job == job);
            let tidemill = median(lines().map(|line| line.tidemill));
            let hand = median(lines().map(|line| line.hand));
            let ratio = median(lines().map(|line| line.tidemill / line.hand));
            let aim = lines().find_map(|line| line.aim);
            let aim = aim.map_or_else(|| "-".to_owned(), |aim| format!("{aim:.1}"));
            writeln!(f, "{job:<22} {tidemill:>11.1} {hand:>11.1} {ratio:>7.2}  {aim}")?;
        }
        Ok(())
    }
}
