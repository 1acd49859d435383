//! Orders joined with a global table of rates, which every process keeps for itself.
//!
//! What an order finds depends on how far its process had followed the rates, so there is no one
//! right answer. But there is exactly one result for each order, and it names a rate that its
//! currency had at some time, or none.

use std::collections::{BTreeMap, BTreeSet};

use tidemill::dsl::{Joined, Materialized, StreamsBuilder};
use tidemill::serdes;
use tidemill::simulation::{Inputs, View};
use tidemill::topology::{Consumed, Produced, Topology, TopologyError};

use super::{below, fail_unless_equal, text_of};

const ORDERS: &str = "orders";
const RATES: &str = "rates";
const OUTPUT: &str = "enriched";
const CURRENCIES: i64 = 7;

pub(crate) fn topology() -> Result<Topology, TopologyError> {
    let text = || Consumed::with(serdes::string(), serdes::string());
    let builder = StreamsBuilder::new();
    let rates = builder.global_table(RATES, text(), Materialized::as_("kept"));
    builder
        .stream(ORDERS, text())
        .left_join_global_table(
            &rates,
            |_, currency| currency.clone(),
            |currency, rate| format!("{currency}={}", rate.map_or("none", String::as_str)),
            Joined::default(),
        )
        .to(OUTPUT, Produced::with(serdes::string(), serdes::string()));
    builder.build()
}

pub(crate) fn inputs(seed: u64, records: i64) -> Inputs {
    let strings = (serdes::string(), serdes::string());
    let rates = (0..records / 2).map(|n| (format!("c{}", n % CURRENCIES), format!("{n}")));
    let orders = (0..records).map(|n| (format!("o{n}"), format!("c{}", n % (CURRENCIES + 1))));
    Inputs::new()
        .topic(RATES, &strings.0, &strings.1, rates)
        .topic(ORDERS, &strings.0, &strings.1, orders)
        .interleaved(seed)
}

/// One result for each order that is committed as read, in order, with a rate that was one.
pub(crate) fn holds(view: &View<'_>) -> Result<(), String> {
    let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for partition in view.partitions(RATES) {
        for record in view.records(RATES, partition) {
            known.entry(text_of(&record.key)).or_default().insert(text_of(&record.value));
        }
    }
    for partition in view.partitions(ORDERS) {
        let expected: Vec<String> =
            below(view, ORDERS, partition).map(|record| text_of(&record.key)).collect();
        let results: Vec<(String, String)> = view
            .records(OUTPUT, partition)
            .map(|record| (text_of(&record.key), text_of(&record.value)))
            .collect();
        let found: Vec<String> = results.iter().map(|(order, _)| order.clone()).collect();
        fail_unless_equal(&format!("orders of partition {partition}"), &found, &expected)?;
        for (order, result) in results {
            let (currency, rate) = result.split_once('=').unwrap_or_default();
            let was = known.get(currency).is_some_and(|rates| rates.contains(rate));
            if !was && rate != "none" {
                return Err(format!("order {order} found {rate}, which {currency} never had"));
            }
        }
    }
    Ok(())
}
