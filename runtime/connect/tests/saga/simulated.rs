//! SG2, SG8, SG10: whole clusters in which orchestrator and participants are killed, stopped, moved
//! and cut off, over a line that loses, repeats and delays.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tidemill::dsl::{KStream, StreamsBuilder};
use tidemill::serdes::{json, string};
use tidemill::simulation::{Faults, Inputs, Report, Simulation, View};
use tidemill::topology::{Consumed, Produced, Topology, TopologyError, key_value_store};
use tidemill_connect::saga::mutation::Guard;
use tidemill_connect::saga::participant::{ParticipantOptions, ServeSagas};
use tidemill_connect::saga::{
    Command, Direction, OrchestrateSagas, Outcome, Reply, Status, Transition, command_id,
};
use uuid::Uuid;

use crate::accounts::{Account, Accounts, INITIAL, SHOP_STORE, Shop};
use crate::mutants::Missed;
use crate::order::{
    ALL, OUTCOMES, Order, Pace, REPLIES, REQUESTS, SAGA, STEPS, TRANSITIONS, saga, topics,
};

/// What a line does with what it carries, by a number that is drawn for each.
#[derive(Debug, Clone, Copy)]
struct Line {
    /// Of a hundred: lost, repeated, on a detour, all others carried as they come.
    lost: u64,
    repeated: u64,
    detour: u64,
}

#[derive(Debug, Clone, Copy)]
struct Case {
    pace: Pace,
    line: Option<Line>,
    initial: i64,
}

impl Case {
    /// Longer than everything that these sagas wait for, one after the other: what the line loses
    /// is known beforehand. Whoever has not ended by then is stuck.
    fn run_on(self, sagas: usize) -> Duration {
        let Some(line) = self.line else { return SLACK };
        let arrives = |id: Uuid, attempt: u32| {
            ["command", "reply"].iter().all(|what| draw(&(id, attempt, what)) >= line.lost)
        };
        let attempts = |number: usize| -> u32 {
            let ways = [Direction::Forward, Direction::Compensation];
            let calls = STEPS.iter().flat_map(|(step, _)| ways.map(|way| (*step, way)));
            let ids =
                calls.map(|(step, way)| command_id(SAGA, &format!("order-{number}"), step, way));
            let first = Shop::REFUSALS + 1;
            ids.filter_map(|id| (first..).find(|attempt| arrives(id, *attempt))).sum()
        };
        let most = (0..sagas).map(attempts).max().unwrap_or(0);
        (self.pace.timeout + self.pace.pause_max()) * most + SLACK
    }
}

/// For what has nothing to do with waiting: starts, rebalances, commits.
const SLACK: Duration = Duration::from_secs(10);

const PATIENT: Pace = Pace {
    timeout: Duration::from_hours(1),
    pause: Duration::from_millis(100),
    attempts: 3,
    undo_attempts: 100_000,
};

fn topology(case: Case) -> Result<Topology, TopologyError> {
    let builder = StreamsBuilder::new();
    let _ = builder.saga(&saga(case.pace), &topics());
    for topic in &ALL[..3] {
        let accounts = format!("{topic}-accounts");
        builder.add_state_store(key_value_store(&*accounts, string(), json::<Account>()));
        let options = participant(&builder, case, topic).store(&*accounts);
        let _ = builder.participant(&options, move || Accounts::new(&accounts, case.initial));
    }
    builder.add_state_store(key_value_store(SHOP_STORE, string(), string()));
    let options = participant(&builder, case, "shop").store(SHOP_STORE);
    let _ = builder.participant(&options, Shop::new);
    if let Some(line) = case.line {
        let replies = builder.stream("sent-replies", Consumed::with(string(), json::<Reply>()));
        let number = |reply: &Reply| draw(&(reply.command_id, reply.attempt, "reply"));
        carry(&builder, &replies, line, REPLIES, number);
    }
    builder.build()
}

/// A participant, behind a line if the case has one.
fn participant(builder: &StreamsBuilder, case: Case, topic: &str) -> ParticipantOptions {
    let Some(line) = case.line else { return ParticipantOptions::new(topic, topic, REPLIES) };
    let commands = builder.stream(topic, Consumed::with(string(), json::<Command>()));
    let commands = commands
        .map_values(|command: Command| Command { reply_to: "sent-replies".to_owned(), ..command });
    let inbox = format!("{topic}-inbox");
    let number = |command: &Command| draw(&(command.command_id, command.attempt, "command"));
    carry(builder, &commands, line, &inbox, number);
    ParticipantOptions::new(topic, inbox, "sent-replies")
}

fn draw(of: &impl std::fmt::Debug) -> u64 {
    let text = format!("{of:?}");
    let seed = text.bytes().fold(7_u64, |hash, byte| hash.wrapping_mul(31) ^ u64::from(byte));
    fastrand::Rng::with_seed(seed).u64(..100)
}

/// Carries to a topic. What takes the detour arrives after what was sent later.
fn carry<V>(
    builder: &StreamsBuilder,
    from: &KStream<String, V>,
    line: Line,
    to: &str,
    number: impl Fn(&V) -> u64 + Copy + Send + Sync + 'static,
) where
    V: serde::Serialize + serde::de::DeserializeOwned + Clone + Send + Sync + 'static,
{
    let produced = || Produced::with(string(), json::<V>());
    let consumed = || Consumed::with(string(), json::<V>());
    let (repeated, detour) = (line.lost + line.repeated, line.lost + line.repeated + line.detour);
    from.flat_map_values(move |value: V| match number(&value) {
        n if n < line.lost => Vec::new(),
        n if n < repeated => vec![value.clone(), value],
        n if n < detour => Vec::new(),
        _ => vec![value],
    })
    .to(to, produced());
    let hops: Vec<String> = (1..=3).map(|hop| format!("{to}-detour-{hop}")).collect();
    let on_detour = move |value: &V| (repeated..detour).contains(&number(value));
    from.filter(move |_, value| on_detour(value)).to(&hops[0], produced());
    for (hop, next) in hops.iter().zip(hops.iter().skip(1).map(|hop| &**hop).chain([to])) {
        builder.stream(hop, consumed()).to(next, produced());
    }
}

fn order(number: usize, orders: &[Order]) -> (String, Order) {
    (format!("order-{number}"), orders[number].clone())
}

/// Runs a seed.
fn run(seed: u64, case: Case, faults: Faults, orders: &[Order]) -> Report {
    // a request that is repeated is no second saga; it gives the faults time
    let mut rng = fastrand::Rng::with_seed(seed);
    let requests = (0..orders.len()).flat_map(|number| {
        let mut again: Vec<usize> = (0..5).map(|_| rng.usize(..=number)).collect();
        again.insert(0, number);
        again
    });
    let requests: Vec<_> = requests.map(|number| order(number, orders)).collect();
    let inputs = Inputs::new().topic(REQUESTS, &string(), &json(), requests);
    let (asked, conserved) = (orders.to_vec(), orders.to_vec());
    let ended = orders.to_vec();
    Simulation::new(move || topology(case))
        .workers(2)
        .faults(faults)
        .seed(seed)
        .compare_with_undisturbed_run(false)
        .run_on(case.run_on(orders.len()))
        .replay_with("TIDEMILL_SAGA_SEED={seed} cargo test -p tidemill-connect --test saga")
        .invariant("nothing is sent or told twice", move |view| sent_once(view, asked.len()))
        .invariant("nothing is made or lost", move |view| is_conserved(view, case, &conserved))
        .invariant("every saga ends once", move |view| all_ended(view, &ended))
        .run(inputs)
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Every transition has its number once and without gaps, each attempt's command is there once, and
/// a saga ends once.
fn sent_once(view: &View<'_>, sagas: usize) -> Result<(), String> {
    let told = view.read::<String, Transition>(TRANSITIONS, &string(), &json());
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    for (_, record) in told.map_err(|error| error.to_string())? {
        let before = last.insert(record.key.clone(), record.value.number).unwrap_or(0);
        if record.value.number != before + 1 {
            return Err(format!("{} after transition {before}: {:?}", record.key, record.value));
        }
    }
    if last.len() > sagas {
        return Err(format!("{} sagas of {sagas} requests", last.len()));
    }
    let mut seen = BTreeSet::new();
    for topic in ALL {
        let sent = view.read::<String, Command>(topic, &string(), &json());
        for (_, record) in sent.map_err(|error| error.to_string())? {
            let command = record.value;
            if !seen.insert((command.command_id, command.attempt)) {
                return Err(format!("sent twice: {command:?}"));
            }
        }
    }
    let outcomes = outcomes(view)?;
    match outcomes.iter().find(|(_, ends)| ends.len() > 1) {
        Some((id, ends)) => Err(format!("{id} ended as {ends:?}")),
        None => Ok(()),
    }
}

fn outcomes(view: &View<'_>) -> Result<BTreeMap<String, Vec<Status>>, String> {
    let read = view.read::<String, Outcome<Order>>(OUTCOMES, &string(), &json());
    let mut ends: BTreeMap<String, Vec<Status>> = BTreeMap::new();
    for (_, record) in read.map_err(|error| error.to_string())? {
        ends.entry(record.key).or_default().push(record.value.status);
    }
    Ok(ends)
}

fn accounts(view: &View<'_>, topic: &str) -> BTreeMap<String, Account> {
    let store = format!("{topic}-accounts");
    let partitions = view.store_partitions(&store).collect::<Vec<_>>().into_iter();
    let all = partitions.flat_map(|partition| view.store(&store, partition));
    all.map(|(key, value)| {
        (String::from_utf8(key).unwrap(), serde_json::from_slice(&value).unwrap())
    })
    .collect()
}

/// What is there and what sagas have is what was there in the beginning; nobody owes anything; no
/// saga has what it did not ask for.
fn is_conserved(view: &View<'_>, case: Case, orders: &[Order]) -> Result<(), String> {
    for topic in &ALL[..3] {
        for (whose, account) in accounts(view, topic) {
            let sum = account.free + account.taken.values().sum::<i64>();
            if account.free < 0 || sum != case.initial {
                return Err(format!("{topic} of {whose}: {account:?}"));
            }
            for (id, amount) in &account.taken {
                if *amount != asked(orders, id, topic) {
                    return Err(format!("{topic} of {whose}: {amount} for {id}"));
                }
            }
        }
    }
    Ok(())
}

fn asked(orders: &[Order], id: &str, topic: &str) -> i64 {
    let order = &orders[id.strip_prefix("order-").unwrap().parse::<usize>().unwrap()];
    if topic == "payments" { order.cents } else { order.quantity }
}

/// In the end each saga is completed and has everything, or compensated and has nothing.
fn all_ended(view: &View<'_>, orders: &[Order]) -> Result<(), String> {
    if !view.is_final() {
        return Ok(());
    }
    let outcomes = outcomes(view)?;
    let mut completed = BTreeSet::new();
    for number in 0..orders.len() {
        let id = format!("order-{number}");
        match outcomes.get(&id).and_then(|ends| ends.first()) {
            Some(Status::Completed) => drop(completed.insert(id)),
            Some(Status::Compensated) => {}
            other => return Err(format!("{id} ended as {other:?}")),
        }
    }
    for topic in &ALL[..3] {
        let accounts = accounts(view, topic);
        let have: BTreeSet<String> =
            accounts.into_values().flat_map(|account| account.taken.into_keys()).collect();
        if have != completed {
            let wrong: Vec<_> = have.symmetric_difference(&completed).collect();
            return Err(format!("{topic}: not as it ended: {wrong:?}"));
        }
    }
    let partitions = view.store_partitions(SHOP_STORE).collect::<Vec<_>>().into_iter();
    let told = partitions.flat_map(|partition| view.store(SHOP_STORE, partition));
    let told: BTreeSet<(String, String)> = told
        .map(|(id, state)| (String::from_utf8(id).unwrap(), String::from_utf8(state).unwrap()))
        .collect();
    let expected = completed.into_iter().map(|id| (id, "told".to_owned())).collect();
    if told != expected {
        let wrong: Vec<_> = told.symmetric_difference(&expected).collect();
        return Err(format!("the shop: not as it ended: {wrong:?}"));
    }
    Ok(())
}

/// The seeds of a test: so many, or as the environment wants.
fn seeds(count: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match number("TIDEMILL_SAGA_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TIDEMILL_SAGA_SEEDS").unwrap_or(count),
    }
}

/// Orders of which every third is refused somewhere: how each ends follows from it alone.
fn decided_orders(seed: u64) -> Vec<Order> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let orders = (0..24).map(Order::new);
    orders
        .map(|order| match rng.usize(..9) {
            step @ 0..4 => order.refused_at(STEPS[step].0),
            _ => order,
        })
        .collect()
}

fn as_decided(orders: &[Order]) -> BTreeMap<String, Status> {
    let end = |order: &Order| match order.refuse {
        Some(_) => Status::Compensated,
        None => Status::Completed,
    };
    orders.iter().enumerate().map(|(n, order)| (format!("order-{n}"), end(order))).collect()
}

fn total(counts: &mut BTreeMap<String, u64>, report: &Report) {
    for (name, count) in report.counts() {
        *counts.entry(name.clone()).or_default() += count;
    }
}

#[test]
fn sg2_killed_anywhere_the_sagas_end_as_if_nothing_had_happened() {
    let case = Case { pace: PATIENT, line: None, initial: INITIAL };
    let mut counts = BTreeMap::new();
    for seed in seeds(20) {
        let orders = decided_orders(seed);
        total(&mut counts, &decided(seed, case, Faults::all().without_clock(), &orders));
    }
    assert!(counts["kill"] + counts["kill at step"] > 20, "{counts:?}");
}

/// Runs a seed, and sees that each saga ends as it has to.
fn decided(seed: u64, case: Case, faults: Faults, orders: &[Order]) -> Report {
    let expected = as_decided(orders);
    let report = run(seed, case, faults, orders);
    let ends = outcomes(&report.view()).unwrap();
    let ends: BTreeMap<String, Status> = ends.into_iter().map(|(id, end)| (id, end[0])).collect();
    assert_eq!(ends, expected, "seed {seed}");
    report
}

#[test]
fn sg8_sagas_go_on_once_where_they_are_moved_to() {
    let case = Case { pace: PATIENT, line: None, initial: INITIAL };
    let faults = Faults::all().without_clock().without_network().without_freezes();
    let mut counts = BTreeMap::new();
    for seed in seeds(15) {
        let orders = decided_orders(seed);
        total(&mut counts, &decided(seed, case, faults, &orders));
    }
    assert!(counts["join"] + counts["stop"] > 10 && counts["lost state"] > 0, "{counts:?}");
}

#[test]
fn sg10_whatever_happens_nothing_is_made_or_lost() {
    let mut ends: BTreeMap<Status, usize> = BTreeMap::new();
    for seed in seeds(15) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let pace = Pace {
            timeout: Duration::from_millis(rng.u64(200..800)),
            pause: Duration::from_millis(rng.u64(..400)),
            attempts: rng.u32(1..5),
            undo_attempts: 100_000,
        };
        let line = Line { lost: rng.u64(..25), repeated: rng.u64(..25), detour: rng.u64(..40) };
        // scarce: who comes late gets nothing
        let case = Case { pace, line: Some(line), initial: rng.i64(5..500) };
        let orders: Vec<Order> = (0..20).map(Order::new).collect();
        let report = run(seed, case, Faults::all().without_clock(), &orders);
        for (_, end) in outcomes(&report.view()).unwrap() {
            *ends.entry(end[0]).or_default() += 1;
        }
    }
    println!("{ends:?}");
    assert!(ends.contains_key(&Status::Completed) && ends.contains_key(&Status::Compensated));
}

/// What is missed if it is taken out.
pub(crate) const MISSED: &[Missed] = &[
    (
        Guard::ReplyIsAwaited,
        "sg10_whatever_happens_nothing_is_made_or_lost",
        sg10_whatever_happens_nothing_is_made_or_lost,
    ),
    (
        Guard::Inbox,
        "sg10_whatever_happens_nothing_is_made_or_lost",
        sg10_whatever_happens_nothing_is_made_or_lost,
    ),
    (
        Guard::CompensatedBefore,
        "sg10_whatever_happens_nothing_is_made_or_lost",
        sg10_whatever_happens_nothing_is_made_or_lost,
    ),
    (
        Guard::UndoTheUnanswered,
        "sg10_whatever_happens_nothing_is_made_or_lost",
        sg10_whatever_happens_nothing_is_made_or_lost,
    ),
    (
        Guard::MarkOfCompensation,
        "sg10_whatever_happens_nothing_is_made_or_lost",
        sg10_whatever_happens_nothing_is_made_or_lost,
    ),
];
