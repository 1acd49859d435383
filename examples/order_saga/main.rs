//! `order_saga`: an order, points and a payment in three services with a database each, and either
//! all of it happens or nothing.
//!
//! The orchestrator and the three services are processes of their own. They are killed by SIGKILL
//! again and again while sagas run, each step fails in turn, and in the end the three databases and
//! the topics are compared: no order is in between, nothing is lost and nothing is there twice.

mod services;
mod shop;
mod verify;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use services::{PARTS, SERVICES};
use shop::{CARD_LIMIT, POINTS, Purchase, SOLD_OUT};
use tidemill::BoxError;
use tidemill::client::Outgoing;
use tidemill::record::{Headers, Timestamp};
use tidemill::topology::partition_for_key;
use tidemill_connect::saga::Status;
use tidemill_examples::report;
use tidemill_examples::stage::{self, Part, Setting, Stage};
use verify::{Books, Ends};

const PARTITIONS: u32 = 3;
/// Longer than any saga takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Places orders as sagas, has every step fail in turn, kills the services, and verifies that
/// orders, points and money fit together.
#[derive(Debug, Parser)]
struct Arguments {
    /// Orders that are placed while services are killed.
    #[arg(long, default_value_t = 300)]
    orders: u32,
    /// How often one of the four processes is killed by SIGKILL meanwhile.
    #[arg(long, default_value_t = 12)]
    kills: u32,
}

fn main() -> ExitCode {
    stage::main("order_saga", PARTS, || run(&Arguments::parse()))
}

/// The servers and the four processes.
struct Shop {
    stage: Stage,
    setting: Setting,
    parts: Vec<Part>,
}

fn run(arguments: &Arguments) -> Result<bool, BoxError> {
    let mut stage = Stage::set()?;
    let mut setting = stage.setting().clone();
    for service in SERVICES {
        setting = setting.with(service, stage.postgres().new_database(service)?);
    }
    stage.cluster()?.create_topics(&shop::TOPICS, PARTITIONS)?;
    shop::open_accounts(&setting)?;
    let mut parts = Vec::new();
    for (name, _) in PARTS {
        parts.push(stage.part(name, name, &setting)?);
    }
    let mut shop = Shop { stage, setting, parts };
    let mut placed = each_step_fails(&mut shop)?;
    placed += under_kills(&mut shop, arguments)?;
    let ends = shop.until_ended(placed)?;
    let books = Books::of(&shop.setting)?;
    verify::verdict(&ends, &books, placed)
}

/// One order for each way in which one can end, and the table of how it did.
fn each_step_fails(shop: &mut Shop) -> Result<usize, BoxError> {
    let good =
        Purchase { customer: "ada".to_owned(), item: "lamp".to_owned(), points: 10, cents: 990 };
    let cases = [
        ("(none)", good.clone()),
        ("open-order", Purchase { customer: "nobody".to_owned(), ..good.clone() }),
        ("reserve-points", Purchase { points: POINTS + 1, ..good.clone() }),
        ("charge", Purchase { cents: CARD_LIMIT + 1, ..good.clone() }),
        ("confirm", Purchase { item: SOLD_OUT.to_owned(), ..good.clone() }),
    ];
    let mut rows = Vec::new();
    for (number, (step, purchase)) in cases.into_iter().enumerate() {
        let id = format!("case-{number}");
        shop.place(&[(id.clone(), purchase)])?;
        let ends = shop.until_ended(number + 1)?;
        rows.push((step.to_owned(), shop.state(&id, &ends)?));
    }
    // the payment service dies, and is given up before it comes back
    let placed = rows.len();
    shop.part("payments")?.kill()?;
    let id = "case-dead".to_owned();
    shop.place(&[(id.clone(), good)])?;
    let deadline = Instant::now() + PATIENCE;
    while !verify::turned_back(&shop.stage, &id)? {
        if Instant::now() > deadline {
            return Err("the saga does not give up on a service that is dead".into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    shop.start_again("payments")?;
    let ends = shop.until_ended(placed + 1)?;
    rows.push(("charge, killed".to_owned(), shop.state(&id, &ends)?));
    let rows: Vec<(&str, String)> = rows.iter().map(|(step, end)| (&**step, end.clone())).collect();
    report::table("failed step -> final state", &rows);
    Ok(rows.len())
}

/// Many orders, of which some can't succeed, while the processes are killed.
fn under_kills(shop: &mut Shop, arguments: &Arguments) -> Result<usize, BoxError> {
    let mut rng = fastrand::Rng::with_seed(7);
    let customers = ["ada", "ben", "cyd", "dan"];
    let rounds = arguments.kills.max(1);
    let mut number = 0;
    for round in 0..rounds {
        let until = u64::from(arguments.orders) * u64::from(round + 1) / u64::from(rounds);
        let mut orders = Vec::new();
        while number < until {
            let item = if rng.u8(..10) == 0 { SOLD_OUT } else { "book" };
            let purchase = Purchase {
                customer: customers[rng.usize(..customers.len())].to_owned(),
                item: item.to_owned(),
                points: rng.i64(1..10),
                cents: if rng.u8(..10) == 0 { CARD_LIMIT + 1 } else { rng.i64(100..2_000) },
            };
            orders.push((format!("order-{number}"), purchase));
            number += 1;
        }
        shop.place(&orders)?;
        if round < arguments.kills {
            std::thread::sleep(Duration::from_millis(rng.u64(50..600)));
            let victim = rng.usize(..shop.parts.len());
            shop.parts[victim].kill_and_restart()?;
        }
    }
    let (orders, kills) = (arguments.orders, arguments.kills);
    report::line(format_args!("\n{orders} orders placed, {kills} processes killed meanwhile"));
    Ok(usize::try_from(number)?)
}

impl Shop {
    /// Requests sagas.
    fn place(&self, orders: &[(String, Purchase)]) -> Result<(), BoxError> {
        let mut producer = self.stage.cluster()?.producer()?;
        let topic = producer.topic(shop::REQUESTS)?;
        for (id, purchase) in orders {
            producer.send(&Outgoing {
                topic,
                partition: Some(partition_for_key(id.as_bytes(), PARTITIONS)),
                key: Some(id.as_bytes()),
                value: Some(&serde_json::to_vec(purchase)?),
                timestamp: Timestamp(1),
                headers: &Headers::new(),
                position: None,
            })?;
        }
        producer.flush(PATIENCE)?;
        producer.delivery_error().map_or(Ok(()), |error| Err(error.into()))
    }

    /// Waits until so many sagas ended.
    fn until_ended(&mut self, count: usize) -> Result<Ends, BoxError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ends = Ends::read(&self.stage)?;
            if ends.outcomes.len() >= count {
                return Ok(ends);
            }
            if Instant::now() > deadline {
                let ended = ends.outcomes.len();
                return Err(format!("{ended} of {count} sagas ended within {PATIENCE:?}").into());
            }
            self.parts.iter_mut().try_for_each(Part::check_running)?;
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// What the databases say about one order, in words.
    fn state(&self, id: &str, ends: &Ends) -> Result<String, BoxError> {
        let books = Books::of(&self.setting)?;
        let end = match ends.outcomes.get(id).and_then(|ends| ends.first()) {
            Some(Status::Completed) => "completed",
            Some(Status::Compensated) => "compensated",
            other => return Err(format!("{id} ended as {other:?}").into()),
        };
        let order = books.orders.get(id).map_or("none", |status| &**status);
        let held = |of: &std::collections::BTreeMap<String, i64>| match of.get(id) {
            Some(amount) => format!("{amount} taken"),
            None => "untouched".to_owned(),
        };
        let (points, money) = (held(&books.points), held(&books.payments));
        Ok(format!("{end}: order {order}, points {points}, money {money}"))
    }

    fn part(&mut self, name: &str) -> Result<&mut Part, BoxError> {
        let found = self.parts.iter_mut().find(|part| part.name() == name);
        found.ok_or_else(|| format!("no part {name}").into())
    }

    /// Starts a part that was killed.
    fn start_again(&mut self, name: &str) -> Result<(), BoxError> {
        let part = self.stage.part(name, name, &self.setting)?;
        *self.part(name)? = part;
        Ok(())
    }
}
