//! The verdict: what came out, what was seen, and which faults happened.

use std::collections::BTreeMap;
use std::time::Duration;

use tidemill::BoxError;
use tidemill_examples::report::{self, grouped};
use tidemill_examples::verify::{self, Expected};
use tidemill_examples::witness::Witness;

use super::faults::Chaos;
use super::plan::Fault;

/// Compares everything and prints the result; returns whether all is as it must be.
pub(super) fn judge(
    chaos: &mut Chaos<'_>,
    plan: &[Fault],
    sent: u64,
    witness: Witness,
) -> Result<bool, BoxError> {
    let (cluster, job) = (&*chaos.cluster, chaos.job);
    let expected = Expected::of_input(cluster, job)?;
    let balances = verify::balances(cluster, job, &expected)?;
    let dead = verify::dead_letters(cluster, job, &expected)?;
    let history = verify::same_history(cluster, job)?;
    let (witnessed, differences) = witness.testify(cluster)?;
    let mut problems = std::mem::take(&mut chaos.problems);
    if expected.records != sent {
        problems.push(format!("{sent} records were sent, the input has {}", expected.records));
    }
    problems.extend(balances.problems);
    problems.extend(dead.problems);
    problems.extend(history.problems);
    problems.extend(differences);
    problems.extend(faults(plan, &chaos.fired));
    let audits = format!(
        "{}: {} databases, {} entries equal to their changelogs",
        chaos.audits,
        chaos.audited.tasks,
        grouped(chaos.audited.entries)
    );
    let rows = [
        ("records", grouped(sent)),
        ("kills", chaos.fired.iter().filter(|fault| fault.kills()).count().to_string()),
        ("orderly restarts", chaos.clean_stops.to_string()),
        ("back at work after", back_after(&mut chaos.back_after)),
        ("audits of local state", audits),
        ("accounts compared", grouped(expected.accounts() as u64)),
        ("dead letters", format!("{} of {} invalid records", dead.records, expected.invalid())),
        (
            "balances published",
            format!("{}, compared with the changelog", grouped(history.records)),
        ),
        ("seen by the witness", format!("{}, compared with a later reader", grouped(witnessed))),
        ("time", format!("{:.0} s", chaos.began.elapsed().as_secs_f64())),
    ];
    report::table("result", &rows);
    report::problems(&problems);
    report::line(if problems.is_empty() {
        "\nVERDICT: exactly once, through all of it."
    } else {
        "\nVERDICT: WRONG. See the violations above."
    });
    Ok(problems.is_empty())
}

/// Prints how often each fault happened; returns those that never did.
fn faults(plan: &[Fault], fired: &[Fault]) -> Vec<String> {
    let mut counts: BTreeMap<Fault, (u32, u32)> = BTreeMap::new();
    for fault in plan {
        counts.entry(*fault).or_default().0 += 1;
    }
    for fault in fired {
        counts.entry(*fault).or_default().1 += 1;
    }
    let names: Vec<String> = counts.keys().map(ToString::to_string).collect();
    let times = counts.values().map(|(planned, fired)| format!("{fired} of {planned}"));
    let rows: Vec<(&str, String)> = names.iter().map(String::as_str).zip(times).collect();
    report::table("faults", &rows);
    let never = counts.iter().filter(|(_, (_, fired))| *fired == 0);
    never.map(|(fault, _)| format!("planned and never happened: {fault}")).collect()
}

fn back_after(times: &mut [Duration]) -> String {
    times.sort();
    match (times.get(times.len() / 2), times.last()) {
        (Some(median), Some(longest)) => format!(
            "{:.1} s in the median, {:.1} s at most, of {} times",
            median.as_secs_f64(),
            longest.as_secs_f64(),
            times.len()
        ),
        _ => "-".to_owned(),
    }
}
