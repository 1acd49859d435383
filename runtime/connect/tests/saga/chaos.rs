//! The long run: orchestrator and participants killed again and again, at named places and at any.

use std::time::{Duration, Instant};

use tidemill_connect::saga::Status;
use tidemill_connect::testing::Child;

use crate::order::Order;
use crate::processes::Shop;

/// Places of the orchestrator's commit (docs/TRANSACTIONS.md) and of a participant's turn.
const ORCHESTRATOR: &[&str] = &["S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8"];
const PARTICIPANT: &[&str] = &[
    "SG-participant-before",
    "SG-participant-before-commit",
    "SG-participant-after-commit",
    "SG-participant-after-reply",
];

fn order(number: usize) -> (String, Order) {
    let steps = ["open", "reserve", "charge", "confirm"];
    let order = Order::new(number);
    let order = match steps.get(number % 9) {
        Some(step) => order.refused_at(step),
        None => Order { quantity: 1, cents: 3, ..order },
    };
    (format!("order-{number:05}"), order)
}

#[tokio::test]
async fn chaos_saga() {
    let kills: usize =
        std::env::var("TIDEMILL_TEST_KILLS").ok().map_or(8, |kills| kills.parse().unwrap());
    let mut rng = fastrand::Rng::new();
    let shop = Shop::open(Duration::from_millis(1_500), 4).await;
    let (mut requested, mut at_places) = (0, 0);
    let mut orchestrator = shop.orchestrator("");
    let mut participants = shop.known_participants("");
    for _ in 0..kills {
        let new: Vec<_> = (requested..requested + 6).map(order).collect();
        requested += new.len();
        shop.request(&new);
        let (who, places) = if rng.bool() {
            (&mut orchestrator, ORCHESTRATOR)
        } else {
            (&mut participants, PARTICIPANT)
        };
        at_places += usize::from(die(who, Duration::from_millis(rng.u64(200..1_500))));
        let place = places[rng.usize(..places.len())];
        let place = format!("{place}:{}:kill", rng.u32(1..12));
        if places == ORCHESTRATOR {
            orchestrator = shop.orchestrator(&place);
        } else {
            participants = shop.known_participants(&place);
        }
    }
    orchestrator.kill().unwrap();
    participants.kill().unwrap();
    let _orchestrator = shop.orchestrator("");
    let _participants = shop.known_participants("");
    let ends = shop.until_ended(requested);
    let count = |status| ends.values().filter(|end| **end == status).count();
    let (completed, compensated) = (count(Status::Completed), count(Status::Compensated));
    println!(
        "{kills} kills, {at_places} of them at named places: {requested} sagas, {completed} \
         completed, {compensated} compensated"
    );
    assert_eq!(completed + compensated, requested, "nothing is stuck");
    assert!(completed > 0 && compensated > 0);
    let mut numbers = std::collections::BTreeMap::new();
    for transition in shop.transitions() {
        let last = numbers.insert(transition.saga_id.clone(), transition.number).unwrap_or(0);
        assert_eq!(transition.number, last + 1, "lost=0 duplicated=0: {transition:?}");
    }
    shop.verify(&ends).await;
}

/// Waits until the process dies at the place that it is armed with, or kills it after this time.
/// Returns whether it died by itself.
fn die(process: &mut Child, time: Duration) -> bool {
    let deadline = Instant::now() + time;
    while Instant::now() < deadline {
        if process.ended().unwrap().is_some() {
            return true;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    process.kill().unwrap();
    false
}
