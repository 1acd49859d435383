//! Relays that are killed: at the named places of the loop, and anywhere.

use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use tidemill_connect::outbox::Cleanup::DeleteAfterPublish;
use tidemill_connect::source::{BatchLimits, Stop};
use tidemill_connect::testing::{Child, PATIENCE, until};

use crate::shop::{Shop, block_on, numbers};

const RELAY: &str = "crash::relay_process";

#[test]
#[ignore = "the body of a process that other tests start"]
fn relay_process() {
    let shop = Shop::from_environment();
    let limits = BatchLimits { records: 20, wait: Duration::from_millis(20), ..Default::default() };
    let mut builder = shop.builder().batch(limits);
    if std::env::var("SHOP_STEP_BY_STEP").is_ok() {
        let batch = 20;
        builder = builder.commit_interval(Duration::ZERO).cleanup(DeleteAfterPublish { batch });
    }
    // the test ends it, or another relay does
    let _ = builder.build().unwrap().run_until(&Stop::new());
}

/// Starts a relay that ends itself by SIGKILL at a place of the loop, and waits until it did.
fn killed_at(shop: &Shop, place: &str) {
    let place = format!("{place}:kill");
    let mut variables = shop.environment();
    variables.push(("TIDEMILL_TEST_FAILPOINT", &place));
    let mut relay = Child::start(RELAY, &variables).unwrap();
    assert_eq!(relay.wait(PATIENCE).unwrap().signal(), Some(9));
}

#[test]
fn ob3_killed_after_the_records_were_sent_publishes_them_once() {
    let shop = Shop::new("ob3");
    shop.change_all(&["a", "b", "a", "c", "a"]);
    killed_at(&shop, "OB3:1");
    assert_eq!(shop.rows(), 5);
    shop.drain();
    assert_eq!(shop.assert_exactly_once(), 5);
}

#[test]
fn ob4_killed_after_the_position_was_sent_publishes_once() {
    let shop = Shop::new("ob4");
    shop.change_all(&["a", "b", "a", "c", "a"]);
    // the first position says that the session began
    killed_at(&shop, "OB4:2");
    assert_eq!(shop.rows(), 5);
    shop.drain();
    assert_eq!(shop.assert_exactly_once(), 5);
}

#[test]
fn ob5_killed_after_the_commit_sends_nothing_again_and_cleans_up_later() {
    let shop = Shop::new("ob5");
    shop.change_all(&["a", "b", "a", "c", "a"]);
    killed_at(&shop, "OB5:2");
    assert_eq!(shop.assert_exactly_once(), 5);
    assert_eq!(shop.rows(), 5, "killed before it could delete them");
    shop.drain();
    assert_eq!(shop.assert_exactly_once(), 5);
}

#[test]
fn a_session_that_dies_before_its_first_commit_is_known_to_the_next_one() {
    let shop = Shop::new("tokens");
    shop.change_all(&["a"]);
    shop.drain();
    // the database knows a session that Kafka does not, twice
    killed_at(&shop, "OB4:1");
    killed_at(&shop, "OB4:1");
    shop.change_all(&["a"]);
    shop.drain();
    assert_eq!(shop.assert_exactly_once(), 2);
}

#[test]
fn ob7_a_relay_that_was_stopped_and_goes_on_after_another_took_over_publishes_nothing() {
    let shop = Shop::new("ob7");
    shop.change_all(&["a", "b", "a", "c", "a"]);
    // it stops in the middle of its transaction
    let mut variables = shop.environment();
    variables.push(("TIDEMILL_TEST_FAILPOINT", "OB4:2:stop"));
    let mut zombie = Child::start(RELAY, &variables).unwrap();
    let position = || shop.position().is_some_and(|position| position.token.is_some());
    until("the zombie's session", || position().then_some(()));
    // until it stands still nothing of it is decided: give it the time to reach the place
    std::thread::sleep(Duration::from_millis(700));
    let second = shop.builder().build().unwrap().spawn().unwrap();
    shop.wait_until_empty(&second);
    zombie.signal(Signal::CONT).unwrap();
    // it finds out that it was superseded and ends
    assert!(zombie.wait(PATIENCE).unwrap().success());
    shop.change_all(&["a", "b"]);
    shop.wait_until_empty(&second);
    second.stop();
    second.wait().unwrap();
    assert_eq!(shop.assert_exactly_once(), 7);
}

#[test]
fn ob15_rows_of_a_backlog_go_while_the_rest_is_published_and_no_others() {
    let shop = Shop::new("ob15_rows");
    block_on(shop.change_all_on(300));
    let mut variables = shop.environment();
    // the first commit is the beginning of the session, each of the others has 20 events
    variables.extend([("SHOP_STEP_BY_STEP", ""), ("TIDEMILL_TEST_FAILPOINT", "OB5:10:kill")]);
    let mut relay = Child::start(RELAY, &variables).unwrap();
    assert_eq!(relay.wait(PATIENCE).unwrap().signal(), Some(9));
    let published = shop.broker.committed(&shop.topic()).unwrap().len();
    assert_eq!(published, 180);
    let rows = usize::try_from(shop.rows()).unwrap();
    assert!(rows < 300, "nothing is gone");
    assert_eq!(shop.number("SELECT count(*) FROM outbox WHERE id > 180"), 120);
    shop.drain();
    assert_eq!(shop.assert_exactly_once(), 300);
}

/// The database learns of two sessions in the other order than Kafka: the relay that was fenced
/// comes last, and the one that commits was there before it.
#[test]
fn ob7_a_fenced_relay_that_reaches_the_database_late_does_not_hide_the_one_that_works() {
    let shop = Shop::new("ob7_late");
    shop.change_all(&["a", "b"]);
    shop.drain();
    // it has read its position, and not opened the database yet
    let mut variables = shop.environment();
    variables.push(("TIDEMILL_TEST_FAILPOINT", "OB7:1:stop"));
    let mut zombie = Child::start(RELAY, &variables).unwrap();
    until("the zombie stands still", || zombie.is_stopped().unwrap().then_some(()));
    let second = shop.builder().build().unwrap().spawn().unwrap();
    shop.change_all(&["a", "c"]);
    shop.wait_until_empty(&second);
    zombie.signal(Signal::CONT).unwrap();
    assert!(zombie.wait(PATIENCE).unwrap().success());
    second.stop();
    second.wait().unwrap();
    // whoever comes next finds the position of the second, and a database that knows it
    shop.change_all(&["b"]);
    shop.drain();
    assert_eq!(shop.assert_exactly_once(), 5);
}

/// Kills of a relay at random moments while four clients write, sometimes with a second relay
/// beside it, and at the end the truth.
#[test]
fn chaos_outbox_polling() {
    let kills = std::env::var("TIDEMILL_TEST_KILLS").map_or(8, |kills| kills.parse().unwrap());
    let shop = Shop::new("chaos");
    let done = AtomicBool::new(false);
    let mut random = numbers(7);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            block_on(async {
                tokio::join!(
                    shop.keep_writing(11, &done),
                    shop.keep_writing(12, &done),
                    shop.keep_writing(13, &done),
                    shop.keep_writing(14, &done)
                );
            });
        });
        for kill in 0..kills {
            let mut variables = shop.environment();
            // every other one dies at a named place, the rest anywhere
            let place = format!("OB{}:{}:kill", 3 + random() % 3, 1 + random() % 12);
            if kill % 2 == 0 {
                variables.push(("TIDEMILL_TEST_FAILPOINT", &place));
            }
            let mut relay = Child::start(RELAY, &variables).unwrap();
            let second = (kill % 4 == 3).then(|| Child::start(RELAY, &shop.environment()).unwrap());
            std::thread::sleep(Duration::from_millis(200 + random() % 900));
            if let Some(mut second) = second {
                second.kill().unwrap();
            }
            relay.kill().unwrap();
        }
        done.store(true, Ordering::SeqCst);
    });
    shop.drain();
    let events = shop.assert_exactly_once();
    assert!(events > 100, "only {events} events");
}
