//! What stores of windows hold at the end.
//!
//! The order of a listing depends on how a store lies on the disk, and whether it shows what has
//! expired on whether Kafka Streams' cache still has it. Neither is compared.

use serde_json::{Map, Value, json};
use tidemill_core::BoxError;
use tidemill_core::driver::TopologyTestDriver;

use crate::data::{Datum, Nullable};

/// Returns the contents of a store of windows or sessions.
pub(crate) fn contents(driver: &TopologyTestDriver, name: &str) -> Result<Vec<Value>, BoxError> {
    let lines = match typed::<Datum>(driver, name) {
        Ok(lines) => lines,
        Err(_) => typed::<i64>(driver, name)?,
    };
    Ok(sorted(lines))
}

fn typed<V: Nullable>(driver: &TopologyTestDriver, name: &str) -> Result<Vec<Value>, BoxError> {
    let mut lines = Vec::new();
    if let Ok(sessions) = driver.session_store::<Datum, V>(name) {
        for session in sessions.fetch_keys((None, None))? {
            let (key, value) = session?;
            let (start, end) = (key.window.start.0, key.window.end.0);
            lines.push(json!([key.key.escaped(), start, end, value.datum().escaped()]));
        }
        return Ok(lines);
    }
    for window in driver.timestamped_window_store::<Datum, V>(name)?.all()? {
        let (key, found) = window?;
        let (start, end) = (key.window.start.0, key.window.end.0);
        let value = found.value.datum().escaped();
        lines.push(json!([key.key.escaped(), start, end, value, found.timestamp.0]));
    }
    Ok(lines)
}

fn sorted(mut lines: Vec<Value>) -> Vec<Value> {
    lines.sort_by_key(|line| (line[0].to_string(), line[1].as_i64(), line[2].as_i64()));
    lines
}

/// Leaves out of what Kafka Streams has in its stores of windows what expired by the time of the
/// newest record, if Tidemill shows it no more.
pub(crate) fn comparable(
    theirs: &Map<String, Value>,
    ours: &Map<String, Value>,
    topology: &[Map<String, Value>],
    newest: i64,
) -> Map<String, Value> {
    let mut theirs = theirs.clone();
    let Some(retention) = topology.iter().filter_map(|of| retention(of, topology)).min() else {
        return theirs;
    };
    for (store, lines) in &mut theirs {
        let Some(all) = lines.as_array().filter(|lines| lines.iter().any(is_window)) else {
            continue;
        };
        let shown = |line: &&Value| {
            let found = ours.get(store).and_then(Value::as_array);
            found.is_some_and(|found| found.contains(line))
        };
        // a session expires by its end, as its line ends with the value
        let time = |line: &Value| line[if line.get(4).is_some() { 1 } else { 2 }].as_i64();
        let kept = |line: &&Value| shown(line) || time(line) > Some(newest - retention);
        *lines = sorted(all.iter().filter(kept).cloned().collect()).into();
    }
    theirs
}

fn is_window(line: &Value) -> bool {
    line.get(1).is_some_and(Value::is_i64) && line.get(2).is_some_and(Value::is_i64)
}

/// Returns how long the store of a windowed aggregation keeps its windows.
fn retention(operator: &Map<String, Value>, topology: &[Map<String, Value>]) -> Option<i64> {
    let window = operator.get("window")?;
    let mut below = topology.iter().filter(|below| below.get("from") == operator.get("id"));
    let asked = below.find_map(|below| below.get("store")?.get("retention")?.as_i64());
    let number = |field: &str| window.get(field).and_then(Value::as_i64).unwrap_or(0);
    let size = number("size") + number("gap") + 2 * number("difference");
    Some(asked.unwrap_or(size + number("grace")))
}
