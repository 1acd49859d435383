//! A foreign-key left join over several partitions and workers, with faults: whatever overtakes
//! what on the way to and fro, it ends with the join of both tables.
//!
//! `TIDEMILL_SIM_INNER_JOIN=1` runs inner joins. They can keep a result that is out of date, as in
//! Kafka Streams: if a row comes to refer to something that is not there, and changes again before
//! the answer to that is back, nobody says any more that the result is gone.

use std::collections::BTreeMap;

use tidemill::dsl::{Materialized, StreamsBuilder, TableJoined};
use tidemill::serdes::{optional, string};
use tidemill::simulation::{Faults, Inputs, Simulation, View};
use tidemill::topology::{Consumed, Produced, Topology, TopologyError};

use super::cases::fail_unless_equal;
use super::seeds;

const SEEDS: u64 = 60;

/// A row refers to what stands before the colon; `-` is nothing.
fn foreign(row: &str) -> Option<String> {
    row.split(':').next().map(str::to_owned).filter(|key| key != "-")
}

fn topology(left: bool) -> Result<Topology, TopologyError> {
    let builder = StreamsBuilder::new();
    let table = |topic: &str| {
        builder.table(topic, Consumed::with(string(), string()), Materialized::default())
    };
    let (orders, customers) = (table("orders"), table("customers"));
    let by = |_: &String, order: &String| foreign(order);
    let kept = Materialized::as_("joined").with_value_serde(string());
    let named = TableJoined::as_("by-customer");
    let joined = if left {
        let join = |order: &String, name: Option<&String>| result(order, name.map(String::as_str));
        orders.left_join_on_foreign_key(&customers, by, join, named, kept)
    } else {
        let join = |order: &String, name: &String| result(order, Some(name));
        orders.join_on_foreign_key(&customers, by, join, named, kept)
    };
    joined.to_stream().to("out", Produced::with(string(), optional(string())));
    builder.build()
}

fn result(order: &str, name: Option<&str>) -> String {
    format!("{order}={}", name.unwrap_or("?"))
}

fn inputs(seed: u64) -> Inputs {
    let mut rng = fastrand::Rng::with_seed(seed ^ 0x666b);
    let records = rng.i64(40..160);
    let some = |rng: &mut fastrand::Rng, value: String| (rng.u32(0..5) > 0).then_some(value);
    let order = |n| {
        let customer = rng.u32(0..6);
        let customer = if customer == 5 { "-".to_owned() } else { format!("c{customer}") };
        let key = format!("o{}", rng.u32(0..12));
        (key, some(&mut rng, format!("{customer}:{n}")))
    };
    let orders: Vec<_> = (0..records).map(order).collect();
    let customer = |n| (format!("c{}", rng.u32(0..5)), some(&mut rng, format!("name-{n}")));
    let customers: Vec<_> = (0..records / 2).map(customer).collect();
    Inputs::new()
        .topic("orders", &string(), &optional(string()), orders)
        .topic("customers", &string(), &optional(string()), customers)
        .interleaved(seed)
}

type Rows = BTreeMap<String, String>;

/// What a topic's records say of each key in the end.
fn rows(view: &View<'_>, topic: &str) -> Result<Rows, String> {
    let records = view.read(topic, &string(), &optional(string())).map_err(|e| e.to_string())?;
    let mut rows = Rows::new();
    for (_, record) in records {
        match record.value {
            Some(value) => drop(rows.insert(record.key, value)),
            None => drop(rows.remove(&record.key)),
        }
    }
    Ok(rows)
}

fn holds(view: &View<'_>, left: bool) -> Result<(), String> {
    if !view.is_final() {
        return Ok(());
    }
    let (orders, customers) = (rows(view, "orders")?, rows(view, "customers")?);
    let join = |(key, order): (&String, &String)| {
        let name = foreign(order).and_then(|customer| customers.get(&customer));
        (name.is_some() || left).then(|| (key.clone(), result(order, name.map(|name| &**name))))
    };
    let expected: Vec<_> = orders.iter().filter_map(join).collect();
    let found: Vec<_> = rows(view, "out")?.into_iter().collect();
    fail_unless_equal("results", &found, &expected)?;
    let mut stored = Rows::new();
    for partition in view.store_partitions("joined") {
        let text = |bytes| String::from_utf8(bytes).map_err(|error| error.to_string());
        for (key, value) in view.store("joined", partition) {
            stored.insert(text(key)?, text(value)?);
        }
    }
    fail_unless_equal("store", &stored.into_iter().collect::<Vec<_>>(), &expected)
}

#[test]
fn a_foreign_key_join_ends_with_the_join_of_both_tables_whatever_fails() {
    let count = seeds::number("TIDEMILL_SIM_SEEDS").unwrap_or(SEEDS);
    let first = seeds::number("TIDEMILL_SIM_FIRST").unwrap_or(0);
    let summary = seeds::run(first, count, 3, |seed| {
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x6a6f_696e);
        let left = seeds::number("TIDEMILL_SIM_INNER_JOIN").is_none();
        let simulation = Simulation::new(move || topology(left))
            .invariant("the join of both tables", move |view| holds(view, left))
            .seed(seed)
            .workers(rng.usize(1..4))
            .partitions(rng.u32(1..5))
            .faults(Faults::all())
            .compare_with_undisturbed_run(false);
        let report = simulation.run(inputs(seed)).map_err(|error| error.to_string())?;
        Ok(report.counts().clone())
    });
    let failures: Vec<_> = summary.failures.iter().map(|(_, failure)| failure.as_str()).collect();
    assert!(failures.is_empty(), "{} failed:\n\n{}", failures.len(), failures.join("\n\n"));
}
