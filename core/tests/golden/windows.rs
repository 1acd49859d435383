//! Aggregations of windows, and the streams of their results.

use std::time::Duration;

use tidemill_core::BoxError;
use tidemill_core::dsl::{
    CogroupedKStream, EmitStrategy, Grouped, KGroupedStream, KStream, KTable, Materialized,
    SessionWindowedCogroupedKStream, SessionWindowedKStream, SessionWindows, SlidingWindows,
    TimeWindowedCogroupedKStream, TimeWindowedKStream, TimeWindows, UnlimitedWindows, Windowed,
};
use tidemill_core::record::Timestamp;
use tidemill_core::serdes::SharedSerde;
use tidemill_core::topology::Produced;
use tidemill_core::window::{SessionWindowedSerde, TimeWindowedSerde};

use crate::data::{Datum, DatumSerde, Nullable};
use crate::functions;
use crate::operator::Operator;
use crate::suppressions::until_closed;
use crate::tables::store;
use crate::topology::{BuildError, Built};

type Counts = KTable<Windowed<Datum>, i64>;
type Values = KTable<Windowed<Datum>, Datum>;

/// Streams grouped into windows, and what becomes of them.
#[derive(Clone)]
pub(crate) enum Windowing {
    Time(TimeWindowedKStream<Datum, Datum>),
    Sessions(SessionWindowedKStream<Datum, Datum>),
    TimeOfSeveral(TimeWindowedCogroupedKStream<Datum, Datum>),
    SessionsOfSeveral(SessionWindowedCogroupedKStream<Datum, Datum>),
    Counts(Counts),
    Values(Values),
    CountChanges(KStream<Windowed<Datum>, Option<i64>>),
    Changes(KStream<Windowed<Datum>, Option<Datum>>),
}

fn millis(window: &Operator<'_>, field: &str) -> Result<Duration, BoxError> {
    let number = window.number(field).ok_or_else(|| window.wrong("a window lacks a time"))?;
    Ok(Duration::from_millis(number))
}

/// Returns whether an operator is about windows.
pub(crate) fn takes(op: &str, from: &Built) -> bool {
    op == "windowed_by" || matches!(from, Built::Windowing(_))
}

/// Adds an operator about windows.
pub(crate) fn add(
    op: &str,
    operator: &Operator<'_>,
    from: Built,
) -> Result<Option<Built>, BuildError> {
    let from = match from {
        Built::Windowing(from) => from,
        Built::Grouped(from) => {
            return Ok(Some(Built::Windowing(windowed_by(operator, &from)?)));
        }
        Built::Cogrouped(from) => {
            return Ok(Some(Built::Windowing(cogrouped(operator, &from)?)));
        }
        _ => return Err(operator.wrong("this takes a grouped stream").into()),
    };
    Ok(Some(match op {
        "to" => {
            to(operator, &from)?;
            return Ok(None);
        }
        "to_stream" => to_stream(operator, from)?,
        "count" | "reduce" | "aggregate" => aggregation(op, operator, from)?,
        "suppress" => Built::Windowing(suppress(operator, from)?),
        _ => change(op, operator, from)?,
    }))
}

/// What windows there are.
enum Windows {
    Time(TimeWindows),
    Unlimited(UnlimitedWindows),
    Sliding(SlidingWindows),
    Sessions(SessionWindows),
}

fn windows(operator: &Operator<'_>) -> Result<Windows, BoxError> {
    let window = operator.child("window").ok_or_else(|| operator.wrong("\"window\" is missing"))?;
    let grace = match window.get("grace") {
        Some(_) => millis(&window, "grace")?,
        None => Duration::ZERO,
    };
    let windows = match window.text("kind")? {
        "tumbling" | "hopping" => {
            let mut windows = TimeWindows::of_size_and_grace(millis(&window, "size")?, grace);
            if window.get("advance").is_some() {
                windows = windows.advance_by(millis(&window, "advance")?);
            }
            Windows::Time(windows)
        }
        "unlimited" => {
            let start = i64::try_from(window.number("start").unwrap_or(0))?;
            Windows::Unlimited(UnlimitedWindows::of().start_on(Timestamp(start)))
        }
        "sliding" => {
            let difference = millis(&window, "difference")?;
            Windows::Sliding(SlidingWindows::of_time_difference_and_grace(difference, grace))
        }
        "session" => {
            let gap = millis(&window, "gap")?;
            Windows::Sessions(SessionWindows::of_inactivity_gap_and_grace(gap, grace))
        }
        other => return Err(operator.wrong(&format!("no window is called {other}"))),
    };
    window.check_all_read()?;
    Ok(windows)
}

fn windowed_by(
    operator: &Operator<'_>,
    from: &KGroupedStream<Datum, Datum>,
) -> Result<Windowing, BoxError> {
    let emit = match operator.text_or_none("emit")? {
        None | Some("update") => EmitStrategy::on_window_update(),
        Some("close") => EmitStrategy::on_window_close(),
        Some(other) => return Err(operator.wrong(&format!("nothing is emitted on {other}"))),
    };
    Ok(match windows(operator)? {
        Windows::Time(windows) => Windowing::Time(from.windowed_by(windows).emit_strategy(emit)),
        Windows::Unlimited(windows) => {
            Windowing::Time(from.windowed_by(windows).emit_strategy(emit))
        }
        Windows::Sliding(windows) => Windowing::Time(from.windowed_by(windows).emit_strategy(emit)),
        Windows::Sessions(windows) => {
            Windowing::Sessions(from.windowed_by(windows).emit_strategy(emit))
        }
    })
}

fn cogrouped(
    operator: &Operator<'_>,
    from: &CogroupedKStream<Datum, Datum>,
) -> Result<Windowing, BoxError> {
    Ok(match windows(operator)? {
        Windows::Time(windows) => Windowing::TimeOfSeveral(from.windowed_by(windows)),
        Windows::Unlimited(windows) => Windowing::TimeOfSeveral(from.windowed_by(windows)),
        Windows::Sliding(windows) => Windowing::TimeOfSeveral(from.windowed_by(windows)),
        Windows::Sessions(windows) => Windowing::SessionsOfSeveral(from.windowed_by(windows)),
    })
}

fn of_several(operator: &Operator<'_>, from: Windowing) -> Result<Windowing, BoxError> {
    let initial = functions::initial(operator.text("init")?)?;
    let initializer = move || initial.clone();
    let name = operator.name()?;
    Ok(Windowing::Values(match from {
        Windowing::TimeOfSeveral(from) => {
            let from = name.map_or_else(|| from.clone(), |name| from.named(name));
            from.aggregate(initializer, store(operator)?)
        }
        Windowing::SessionsOfSeveral(from) => {
            let from = name.map_or_else(|| from.clone(), |name| from.named(name));
            let merger = functions::merger(operator.text("merge")?)?;
            from.aggregate(initializer, move |_, all, other| merger(&all, &other), store(operator)?)
        }
        _ => return Err(operator.wrong("this takes a stream that is grouped")),
    }))
}

fn aggregation(op: &str, operator: &Operator<'_>, from: Windowing) -> Result<Built, BoxError> {
    let table = match from {
        Windowing::Time(from) => of_time(op, operator, &from)?,
        Windowing::Sessions(from) => of_sessions(op, operator, &from)?,
        from => of_several(operator, from)?,
    };
    Ok(Built::Windowing(table))
}

fn of_time(
    op: &str,
    operator: &Operator<'_>,
    from: &TimeWindowedKStream<Datum, Datum>,
) -> Result<Windowing, BoxError> {
    let from = operator.name()?.map_or_else(|| from.clone(), |name| from.named(name));
    if op == "count" {
        return Ok(Windowing::Counts(from.count(store(operator)?)));
    }
    let name = operator.text("fn")?;
    if op == "reduce" {
        let reducer = functions::reducer(name)?;
        let reduced = match name {
            "fail_on_bad" => from.try_reduce(reducer, store(operator)?),
            _ => from.reduce(move |a, b| reducer(a, b).unwrap_or_default(), store(operator)?),
        };
        return Ok(Windowing::Values(reduced));
    }
    let aggregator = functions::aggregator(name)?;
    let initial = functions::initial(operator.text("init")?)?;
    let initializer = move || initial.clone();
    let store = store(operator)?;
    Ok(Windowing::Values(match name {
        "fail_on_bad" => {
            from.try_aggregate(initializer, move |k, v: Datum, all| aggregator(k, v, all), store)
        }
        _ => {
            let add = move |k: &Datum, v, all| aggregator(k, v, all).unwrap_or_default();
            from.aggregate(initializer, add, store)
        }
    }))
}

fn of_sessions(
    op: &str,
    operator: &Operator<'_>,
    from: &SessionWindowedKStream<Datum, Datum>,
) -> Result<Windowing, BoxError> {
    let from = operator.name()?.map_or_else(|| from.clone(), |name| from.named(name));
    if op == "count" {
        return Ok(Windowing::Counts(from.count(store(operator)?)));
    }
    let name = operator.text("fn")?;
    if op == "reduce" {
        let reducer = functions::reducer(name)?;
        return Ok(Windowing::Values(from.try_reduce(reducer, store(operator)?)));
    }
    let aggregator = functions::aggregator(name)?;
    let merger = functions::merger(operator.text("merge")?)?;
    let initial = functions::initial(operator.text("init")?)?;
    Ok(Windowing::Values(from.try_aggregate(
        move || initial.clone(),
        aggregator,
        move |_, all, other| Ok(Some(merger(&all, &other))),
        store(operator)?,
    )))
}

/// The text of a windowed key, as the functions see it.
fn text(windowed: &Windowed<Datum>) -> Datum {
    let window = windowed.window;
    Datum::Text(format!("{}@{}-{}", windowed.key.text(), window.start, window.end))
}

fn to_stream(operator: &Operator<'_>, from: Windowing) -> Result<Built, BoxError> {
    let selector = operator.text_or_none("fn")?.map(functions::key).transpose()?;
    fn named<V: Nullable>(
        operator: &Operator<'_>,
        table: &KTable<Windowed<Datum>, V>,
    ) -> Result<KTable<Windowed<Datum>, V>, BoxError> {
        Ok(operator.name()?.map_or_else(|| table.clone(), |name| table.named(name)))
    }
    fn selected<V: Nullable>(
        table: &KTable<Windowed<Datum>, V>,
        select: functions::ToKey,
    ) -> KStream<Datum, Option<V>>
    where
        Option<V>: Nullable,
    {
        table.to_stream_with_key(move |k, v| select(&text(k), &v.datum()).unwrap_or(Datum::Null))
    }
    Ok(match (from, selector) {
        (Windowing::Counts(table), None) => {
            Built::Windowing(Windowing::CountChanges(named(operator, &table)?.to_stream()))
        }
        (Windowing::Values(table), None) => {
            Built::Windowing(Windowing::Changes(named(operator, &table)?.to_stream()))
        }
        (Windowing::Counts(table), Some(select)) => {
            Built::CountChanges(selected(&named(operator, &table)?, select))
        }
        (Windowing::Values(table), Some(select)) => {
            Built::Changes(selected(&named(operator, &table)?, select))
        }
        _ => return Err(operator.wrong("this takes a table")),
    })
}

/// Adds an operator on a table of windows that gives a table, or a grouped one.
fn change(op: &str, operator: &Operator<'_>, from: Windowing) -> Result<Built, BoxError> {
    match from {
        Windowing::Counts(from) => change_of(op, operator, &from, Windowing::Counts),
        Windowing::Values(from) => change_of(op, operator, &from, Windowing::Values),
        _ => Err(operator.wrong("this takes a table")),
    }
}

fn change_of<V: Nullable>(
    op: &str,
    operator: &Operator<'_>,
    from: &KTable<Windowed<Datum>, V>,
    same: fn(KTable<Windowed<Datum>, V>) -> Windowing,
) -> Result<Built, BoxError> {
    let name = operator.text("fn")?;
    Ok(match op {
        "table_filter" => {
            let keep = functions::predicate(name)?;
            let keep = move |k: &Windowed<Datum>, v: &V| keep(&text(k), &v.datum());
            Built::Windowing(same(from.try_filter(keep, Materialized::default())))
        }
        "table_map_values" => {
            let map = functions::value(name)?;
            let map = move |k: &Windowed<Datum>, v: V| map(&text(k), v.datum());
            let mapped = from.try_map_values_with_key(map, Materialized::default());
            Built::Windowing(Windowing::Values(mapped))
        }
        "group_table" => {
            let pair = functions::pair(name)?;
            let pair = move |k: &Windowed<Datum>, v: V| pair(text(k), v.datum());
            let grouped = Grouped::with(operator.serde("key")?, operator.serde("value")?);
            Built::GroupedTable(from.try_group_by(pair, grouped))
        }
        _ => return Err(operator.wrong("no such operator on a table of windows")),
    })
}

/// Writes the changes of windows to a topic.
fn to(operator: &Operator<'_>, from: &Windowing) -> Result<(), BoxError> {
    let inner: SharedSerde<Datum> = std::sync::Arc::new(DatumSerde::Text);
    let keys: SharedSerde<Windowed<Datum>> = match operator.text("key")? {
        "time_windowed_string" => {
            let size = operator.number("window_size").ok_or("a window's size is missing")?;
            std::sync::Arc::new(TimeWindowedSerde::new(inner, i64::try_from(size)?))
        }
        "session_windowed_string" => std::sync::Arc::new(SessionWindowedSerde::new(inner)),
        other => return Err(operator.wrong(&format!("no windowed key is called {other}"))),
    };
    let topic = operator.text("topic")?;
    let (values, name) = (operator.serde("value")?, operator.name()?);
    fn produced<V>(
        keys: SharedSerde<Windowed<Datum>>,
        values: DatumSerde,
        name: Option<&str>,
    ) -> Produced<Windowed<Datum>, V>
    where
        V: Nullable,
    {
        let produced = Produced::with(keys, values);
        match name {
            Some(name) => produced.with_name(name),
            None => produced,
        }
    }
    match from {
        Windowing::CountChanges(from) => from.to(topic, produced(keys, values, name)),
        Windowing::Changes(from) => from.to(topic, produced(keys, values, name)),
        _ => return Err(operator.wrong("this takes a stream")),
    }
    Ok(())
}

/// Holds the results of windows back until they are final.
fn suppress(operator: &Operator<'_>, from: Windowing) -> Result<Windowing, BoxError> {
    Ok(match from {
        Windowing::Counts(from) => Windowing::Counts(until_closed(operator, &from)?),
        Windowing::Values(from) => Windowing::Values(until_closed(operator, &from)?),
        _ => return Err(operator.wrong("this takes a table")),
    })
}
