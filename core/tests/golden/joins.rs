//! Joins that have more than one topic, or stores, of their own.

use std::time::Duration;

use serde_json::{Value, json};
use tidemill_core::BoxError;
use tidemill_core::driver::TopologyTestDriver;
use tidemill_core::dsl::{JoinWindows, KStream, KTable, StreamJoined, TableJoined};

use crate::data::{Datum, Nullable};
use crate::functions;
use crate::operator::Operator;
use crate::tables::store;
use crate::topology::Built;

/// Joins two tables by a foreign key.
pub(crate) fn on_foreign_key(
    operator: &Operator<'_>,
    sides: (Built, Built),
) -> Result<Built, BoxError> {
    fn join<V: Nullable, O: Nullable>(
        operator: &Operator<'_>,
        from: &KTable<Datum, V>,
        with: &KTable<Datum, O>,
    ) -> Result<Built, BoxError> {
        let extract = functions::key(operator.text("extract")?)?;
        let joiner = functions::joiner(operator.text("fn")?)?;
        let extract =
            move |k: &Datum, v: &V| Ok(Some(extract(k, &v.datum())?).filter(|k| *k != Datum::Null));
        let joined = operator.name()?.map_or_else(TableJoined::default, TableJoined::as_);
        let options = store(operator)?;
        Ok(Built::Table(match operator.text("kind")? {
            "inner" => {
                let inner = move |_: &Datum, a: &V, b: &O| Ok(joiner(&a.datum(), &b.datum()));
                from.try_join_on_foreign_key(with, extract, inner, joined, options)
            }
            "left" => {
                let found = |b: Option<&O>| b.map_or(Datum::Null, O::datum);
                let left = move |_: &Datum, a: &V, b: Option<&O>| Ok(joiner(&a.datum(), &found(b)));
                from.try_left_join_on_foreign_key(with, extract, left, joined, options)
            }
            kind => return Err(operator.wrong(&format!("there is no join {kind}"))),
        }))
    }
    match sides {
        (Built::Table(from), Built::Table(with)) => join(operator, &from, &with),
        (Built::Table(from), Built::Counts(with)) => join(operator, &from, &with),
        (Built::Counts(from), Built::Table(with)) => join(operator, &from, &with),
        (Built::Counts(from), Built::Counts(with)) => join(operator, &from, &with),
        _ => Err(operator.wrong("this takes two tables")),
    }
}

/// Joins two streams.
pub(crate) fn streams<V: Nullable>(
    operator: &Operator<'_>,
    from: &KStream<Datum, V>,
    with: &Built,
) -> Result<Built, BoxError> {
    fn join<V: Nullable, O: Nullable>(
        operator: &Operator<'_>,
        from: &KStream<Datum, V>,
        with: &KStream<Datum, O>,
    ) -> Result<Built, BoxError> {
        let joiner = functions::joiner(operator.text("fn")?)?;
        let windows = windows(&operator.child("window").ok_or("a join takes a window")?)?;
        let serdes = ["key", "value", "other_value"].map(|field| operator.serde(field));
        let [key, value, other] = serdes;
        let mut joined = StreamJoined::with(key?, value?, other?);
        if let Some(name) = operator.name()? {
            joined = joined.with_name(name);
        }
        if let Some(name) = operator.text_or_none("store_name")? {
            joined = joined.with_store_name(name);
        }
        fn found<V: Nullable>(value: Option<&V>) -> Datum {
            value.map_or(Datum::Null, V::datum)
        }
        Ok(Built::Stream(match operator.text("kind")? {
            "inner" => {
                let join = move |a: &V, b: &O| joiner(&a.datum(), &b.datum());
                from.join_stream(with, join, windows, joined)
            }
            "left" => {
                let join = move |a: &V, b: Option<&O>| joiner(&a.datum(), &found(b));
                from.left_join_stream(with, join, windows, joined)
            }
            "outer" => {
                let join = move |a: Option<&V>, b: Option<&O>| joiner(&found(a), &found(b));
                from.outer_join_stream(with, join, windows, joined)
            }
            kind => return Err(operator.wrong(&format!("there is no join {kind}"))),
        }))
    }
    match with {
        Built::Stream(with) => join(operator, from, with),
        Built::Changes(with) => join(operator, from, with),
        _ => Err(operator.wrong("this takes two streams")),
    }
}

fn windows(window: &Operator<'_>) -> Result<JoinWindows, BoxError> {
    let time = |field| window.number(field).map(Duration::from_millis);
    let (difference, grace) = (time("difference"), time("grace"));
    let difference = difference.ok_or("a window takes a difference")?;
    let mut windows =
        JoinWindows::of_time_difference_and_grace(difference, grace.unwrap_or_default());
    if let Some(before) = time("before") {
        windows = windows.before(before);
    }
    if let Some(after) = time("after") {
        windows = windows.after(after);
    }
    window.check_all_read()?;
    Ok(windows)
}

/// Returns what a stream keeps for another one to be joined with.
pub(crate) fn kept(driver: &TopologyTestDriver, name: &str) -> Result<Vec<Value>, BoxError> {
    let mut lines = Vec::new();
    for entry in driver.window_store::<Datum, Datum>(name)?.all()? {
        let (key, value) = entry?;
        let (start, end) = (key.window.start.0, key.window.end.0);
        lines.push(json!([key.key.escaped(), start, end, value.escaped()]));
    }
    Ok(lines)
}
