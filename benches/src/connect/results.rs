//! What was measured: raw numbers as CSV, and one table of medians with ratios and aims.

use std::fmt::Write;

use crate::reader::Seen;
use crate::system::System;

/// A number that is taken of every system, as far as it has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metric {
    Rate,
    RateToEmpty,
    Cpu,
    Rss,
    LatencyP50,
    LatencyP99,
    LatencyMax,
    IdlePoll,
    IdlePolls,
    IdleLoad,
    LargeRate,
    LargeRss,
}

impl Metric {
    const ALL: [Self; 12] = [
        Self::Rate,
        Self::RateToEmpty,
        Self::Cpu,
        Self::Rss,
        Self::LatencyP50,
        Self::LatencyP99,
        Self::LatencyMax,
        Self::IdlePoll,
        Self::IdlePolls,
        Self::IdleLoad,
        Self::LargeRate,
        Self::LargeRss,
    ];

    /// The name in connect.csv, unit last, and the words of the table.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Rate => ("events_per_s", "events/s, first to last visible"),
            Self::RateToEmpty => {
                ("to_empty_events_per_s", "events/s, first visible to nothing left in the table")
            }
            Self::Cpu => ("cpu_s_per_million", "CPU s per million, start of process included"),
            Self::Rss => ("peak_rss_mib", "peak RSS, MiB"),
            Self::LatencyP50 => ("latency_p50_ms", "commit to visible p50, ms"),
            Self::LatencyP99 => ("latency_p99_ms", "commit to visible p99, ms"),
            Self::LatencyMax => ("latency_max_ms", "commit to visible max, ms"),
            Self::IdlePoll => ("idle_poll_ms", "database time of an idle poll, ms"),
            Self::IdlePolls => ("idle_polls_per_s", "idle polls/s"),
            Self::IdleLoad => ("idle_load_percent", "database time while idle, % of a core"),
            Self::LargeRate => ("large_events_per_s", "large backlog: events/s to nothing left"),
            Self::LargeRss => ("large_peak_rss_mib", "large backlog: peak RSS, MiB"),
        }
    }
}

/// One number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    round: u32,
    system: System,
    metric: Metric,
    value: f64,
}

/// All numbers so far, and whether every result was right.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) rows: Vec<Row>,
    pub(crate) wrong: Vec<String>,
    checked: u32,
    at: (u32, System),
}

impl Results {
    pub(crate) fn new() -> Self {
        Self { rows: Vec::new(), wrong: Vec::new(), checked: 0, at: (1, System::Plain) }
    }

    /// What the following numbers are about.
    pub(crate) fn about(&mut self, round: u32, system: System) {
        self.at = (round, system);
    }

    /// What has no value (a rate, if everything came at once) is left out.
    pub(crate) fn add(&mut self, metric: Metric, value: f64) {
        let (round, system) = self.at;
        if value.is_finite() {
            self.rows.push(Row { round, system, metric, value });
        }
    }

    /// Remembers whether each event came once, in the order of its aggregate.
    pub(crate) fn verified(&mut self, what: &str, seen: &Seen) {
        let (round, system) = self.at;
        self.checked += 1;
        if let Some(wrong) = seen.wrong() {
            self.wrong.push(format!("round {round}, {system}, {what}: {wrong}"));
        }
    }

    /// The numbers from that row on, in short.
    pub(crate) fn told(&self, from: usize) -> String {
        let rows = self.rows[from..].iter();
        let told: Vec<String> =
            rows.map(|row| format!("{} {:.2}", row.metric.names().0, row.value)).collect();
        told.join(", ")
    }

    /// The median over the rounds, and half the width of their spread in percent of it.
    fn median(&self, system: System, metric: Metric) -> Option<(f64, f64)> {
        let of = |row: &&Row| (row.system, row.metric) == (system, metric);
        let mut values: Vec<f64> = self.rows.iter().filter(of).map(|row| row.value).collect();
        values.sort_unstable_by(f64::total_cmp);
        let (first, last) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some((median, (last - first) / 2.0 / median * 100.0))
    }

    /// The raw numbers.
    pub(crate) fn csv(&self) -> String {
        let mut csv = "round,system,metric,value\n".to_owned();
        for Row { round, system, metric, value } in &self.rows {
            let _ = writeln!(csv, "{round},{system},{},{value:.3}", metric.names().0);
        }
        csv
    }

    /// Writes it all as Markdown.
    pub(crate) fn summary(&self, conditions: &[String], smoke: bool) -> String {
        let mut text = "# Relays and change data capture against a plain loop\n\n".to_owned();
        if smoke {
            text.push_str(
                "**Smoke size: shows that everything works. The numbers mean little.**\n\n",
            );
        }
        for line in conditions {
            let _ = writeln!(text, "- {line}");
        }
        let _ = write!(text, "\n{}\n{}", self.table(), self.aims());
        text.push_str("\n## Results\n\n");
        if self.wrong.is_empty() {
            let _ = writeln!(
                text,
                "In each of {} measurements every event came once, in the order of its aggregate.",
                self.checked
            );
        } else {
            text.push_str("**WRONG RESULTS:**\n\n");
            for wrong in &self.wrong {
                let _ = writeln!(text, "- {wrong}");
            }
        }
        text
    }

    fn systems(&self) -> Vec<System> {
        let measured = |system: &System| self.rows.iter().any(|row| row.system == *system);
        System::ALL.into_iter().filter(measured).collect()
    }

    fn table(&self) -> String {
        let systems = self.systems();
        let others = || systems.iter().filter(|system| **system != System::Plain);
        let mut text = "| |".to_owned();
        for system in &systems {
            let _ = write!(text, " {} |", system.title());
        }
        for system in others() {
            let _ = write!(text, " {} / plain |", system.title());
        }
        let _ = writeln!(text, "\n|---|{}", "--:|".repeat(systems.len() + others().count()));
        for metric in Metric::ALL {
            let of = |system| self.median(system, metric);
            if systems.iter().all(|system| of(*system).is_none()) {
                continue;
            }
            let _ = write!(text, "| {} |", metric.names().1);
            for system in &systems {
                let cell = of(*system).map_or("-".to_owned(), |(median, spread)| {
                    format!("{} +-{spread:.0} %", number(median))
                });
                let _ = write!(text, " {cell} |");
            }
            for system in others() {
                let ratio = self.ratio(metric, *system);
                let _ = write!(
                    text,
                    " {} |",
                    ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"))
                );
            }
            text.push('\n');
        }
        text
    }

    fn ratio(&self, metric: Metric, system: System) -> Option<f64> {
        let (ours, _) = self.median(system, metric)?;
        let (plain, _) = self.median(System::Plain, metric)?;
        (plain > 0.0).then_some(ours / plain)
    }

    /// The aims, each with what was reached.
    fn aims(&self) -> String {
        let mut text = String::new();
        let verdict = |met| if met { "met" } else { "**missed**" };
        for system in self.systems() {
            let title = system.title();
            if system == System::Plain {
                continue;
            }
            if let Some(reached) = self.ratio(Metric::RateToEmpty, system) {
                let _ = writeln!(
                    text,
                    "- events/s of {title} / plain loop (aim: at least 1.00): {reached:.2}, {}.",
                    verdict(reached >= 1.0)
                );
            }
            if let Some((millis, _)) = self.median(system, Metric::IdlePoll) {
                let _ = writeln!(
                    text,
                    "- database time of an idle poll of {title} (aim: under 1 ms): {millis:.2} ms, \
                     {}.",
                    verdict(millis < 1.0)
                );
            }
            let memory = |metric| Some(self.median(system, metric)?.0);
            if let Some((small, large)) = memory(Metric::Rss).zip(memory(Metric::LargeRss)) {
                let _ = writeln!(
                    text,
                    "- peak RSS of {title} with the large backlog / with the small one (aim: at \
                     most 1.25): {:.2}, {}.",
                    large / small,
                    verdict(large <= small * 1.25)
                );
            }
        }
        text
    }
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

#[cfg(test)]
mod tests;
