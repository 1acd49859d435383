//! What goes wrong on the way, and what the clients make of it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tidemill_broker::engine::MarkerTarget;
use tidemill_broker::fault::{Action, Api, Faults};
use tidemill_core::record::Offset;

use super::support::{PATIENCE, World, at, send, send_with, simulate, simulate_some, values};
use super::transactions::commit;
use crate::client::Severity;
use crate::client::embedded::{Landing, Producer};
use crate::client::seam::{Administer, Consume, Produce, ReadPartition};

fn impatient(world: &World, id: &str) -> Producer {
    let mut producer = world.producer(&[
        ("transactional.id", id),
        ("transaction.timeout.ms", "20000"),
        ("socket.timeout.ms", "1000"),
    ]);
    producer.init_transactions(PATIENCE).expect("nobody else has this id");
    producer
}

#[test]
fn the_same_seed_is_the_same_run_and_another_is_another() {
    let run = |seed| {
        simulate(seed, |world| {
            let topic = world.topic("twice", 2);
            world
                .network
                .set_faults(Faults::plan().on(Api::Produce).one_in(3).then(Action::ResetAfter));
            let mut producer = world.transactional("twice");
            for n in 0..10 {
                producer.begin_transaction().expect("initialised");
                send(&mut producer, &at(&topic, n % 2), &n.to_string());
                producer.commit_transaction(PATIENCE).expect("it is repeated until it works");
            }
        })
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn inv_6_a_commit_whose_broker_died_is_in_doubt_until_the_same_call_decides_it() {
    simulate_some(|world| {
        let topic = world.topic("in-doubt", 1);
        let mut producer = world.transactional("in-doubt");
        producer.begin_transaction().expect("initialised");
        send(&mut producer, &at(&topic, 0), "in doubt");
        producer.flush(PATIENCE).expect("the record reaches the log");
        assert!(!producer.troubled());
        world.network.crash();

        let error =
            producer.commit_transaction(Duration::from_millis(500)).expect_err("nobody answers");
        assert_eq!((error.severity, error.timed_out), (Severity::Retry, true), "{error}");
        assert_eq!(error.code, -185);
        assert!(producer.troubled());
        let other = producer.abort_transaction(PATIENCE).expect_err("only the same call is legal");
        assert_eq!((other.severity, other.name.as_str()), (Severity::Fatal, "_CONFLICT"));
        producer.flush(Duration::from_millis(10)).expect("nothing waits");

        world.network.restart();
        world.patiently(|| producer.commit_transaction(Duration::from_secs(5)));
        assert!(producer.troubled(), "it stays so until somebody replaces the producer");
        assert_eq!(world.values(&at(&topic, 0)), ["in doubt"]);
    });
}

#[test]
fn what_the_broker_acknowledged_is_there_after_it_died() {
    simulate_some(|world| {
        let topic = world.topic("restart", 1);
        let mut producer = world.transactional("restart");
        for (value, keep) in [("a", true), ("b", false), ("c", true)] {
            producer.begin_transaction().expect("initialised");
            send(&mut producer, &at(&topic, 0), value);
            producer.flush(PATIENCE).expect("the record reaches the log");
            world.network.crash();
            world.scheduler.sleep(Duration::from_millis(200));
            world.network.restart();
            if keep {
                producer.commit_transaction(PATIENCE).expect("it is repeated until it works");
            } else {
                producer.abort_transaction(PATIENCE).expect("it is repeated until it works");
            }
        }
        assert_eq!(world.values(&at(&topic, 0)), ["a", "c"]);
    });
}

#[test]
fn a_lost_answer_to_produce_is_no_duplicate_and_the_position_is_not_wrong() {
    for action in [Action::DropReply, Action::ResetAfter, Action::Reset, Action::DropRequest] {
        simulate_some(move |world| {
            let topic = world.topic("once", 1);
            let mut producer = impatient(&world, "once");
            let slot = producer.register_position(at(&topic, 0));
            world.network.set_faults(Faults::plan().on(Api::Produce).one_in(2).then(action));
            for n in 0..5 {
                producer.begin_transaction().expect("initialised");
                for part in ["x", "y"] {
                    send_with(&mut producer, &at(&topic, 0), &format!("{n}{part}"), |record| {
                        record.position = Some(slot);
                    });
                }
                producer.commit_transaction(PATIENCE).expect("it is repeated until it works");
                let (_, position) = producer.positions()[0];
                // two records and a marker each
                let expected = Some(Offset(i64::from(n) * 3 + 2));
                assert!(position.suspicious || position.next == expected, "{position:?}");
            }
            let expected: Vec<_> =
                (0..5).flat_map(|n| [format!("{n}x"), format!("{n}y")]).collect();
            assert_eq!(world.values(&at(&topic, 0)), expected);
        });
    }
}

#[test]
fn inv_6_connections_that_are_cut_deliver_late_what_they_had() {
    simulate_some(|world| {
        let topic = world.topic("cut", 1);
        let mut producer = impatient(&world, "cut");
        producer.begin_transaction().expect("initialised");
        send(&mut producer, &at(&topic, 0), "once");
        producer.flush(PATIENCE).expect("the record reaches the log");
        let (network, process) = (world.network.clone(), world.process);
        // before the request is there: nothing is that fast
        let soon = world.scheduler.now() + Duration::from_micros(10);
        world.scheduler.at(soon, move || network.cut(process, Duration::from_millis(500)));
        producer.commit_transaction(PATIENCE).expect("it is repeated until it works");
        // the answer may have come before the news
        world.scheduler.sleep(Duration::from_millis(100));
        assert!(producer.troubled(), "a connection was lost");
        assert_eq!(world.values(&at(&topic, 0)), ["once"]);
    });
}

#[test]
fn inv_4_committed_offsets_wait_for_markers_that_are_held_back() {
    simulate_some(|world| {
        let topic = world.topic("held", 1);
        let mut reading = world.consumer(&[("group.id", "held")]);
        reading.consumer.subscribe(&[&topic]).expect("the name is valid");
        reading.join(1);
        let group = reading.consumer.group_metadata().expect("there is a group");
        let mut producer = world.transactional("held");
        let held = Duration::from_secs(2);
        let until = world.network.now() + 2_000;
        let target = MarkerTarget::Group("held".to_owned());
        world.network.with_engine(|engine| engine.hold_markers(target, until));
        let before = world.scheduler.now();
        producer.begin_transaction().expect("initialised");
        let commits = [commit(at(&topic, 0), 5, "")];
        producer.send_offsets(&commits, &group, PATIENCE).expect("we own the partition");
        producer.commit_transaction(PATIENCE).expect("it is decided");
        let asked = [at(&topic, 0)];
        let soon = Duration::from_millis(100);
        let error = reading.consumer.committed(&asked, soon).expect_err("it is not stable yet");
        assert_eq!((error.severity, error.timed_out), (Severity::Retry, true), "{error:?}");
        let found = reading.consumer.committed(&asked, PATIENCE).expect("it is stable in the end");
        assert_eq!(found[0].offset, Some(Offset(5)));
        assert!(world.scheduler.now() >= before + held - Duration::from_millis(10));
    });
}

/// KAFKA-17754: what replacing the producer after trouble guards against must be possible here.
#[test]
fn inv_6_an_end_that_arrives_late_ends_the_next_transaction() {
    simulate_some(|world| {
        let topic = world.topic("stray", 1);
        let mut producer = impatient(&world, "stray");
        let late = Action::DelayRequest(3_000);
        world.network.set_faults(Faults::plan().on(Api::EndTxn).nth(1).then(late));
        producer.begin_transaction().expect("initialised");
        send(&mut producer, &at(&topic, 0), "first");
        producer.commit_transaction(PATIENCE).expect("the second request gets through");
        assert!(producer.troubled(), "that is the sign to replace the producer");

        producer.begin_transaction().expect("initialised");
        send(&mut producer, &at(&topic, 0), "never committed");
        producer.flush(PATIENCE).expect("the record reaches the log");
        world.scheduler.sleep(Duration::from_secs(3));
        assert!(world.network.with_faults(|faults| faults.unfired().is_empty()));
        assert_eq!(world.values(&at(&topic, 0)), ["first", "never committed"]);
        let error = producer.abort_transaction(PATIENCE).expect_err("there is nothing to abort");
        assert_eq!(error.severity, Severity::Fenced, "{error}");
    });
}

/// The same, at the worst moment: half of the next transaction is committed.
#[test]
fn inv_6_an_end_that_goes_astray_arrives_in_the_middle_of_the_next_transaction() {
    simulate_some(|world| {
        let topic = world.topic("astray", 1);
        let mut producer = impatient(&world, "astray");
        let torn = Rc::new(Cell::new(false));
        let told = Rc::clone(&torn);
        world.network.lead_astray(world.process, Landing::Records(2), move || told.set(true));
        producer.begin_transaction().expect("initialised");
        send(&mut producer, &at(&topic, 0), "first");
        producer.commit_transaction(PATIENCE).expect("the second request gets through");
        assert!(producer.troubled(), "that is the sign to replace the producer");

        producer.begin_transaction().expect("initialised");
        for value in ["committed behind its back", "so is this"] {
            assert!(!torn.get(), "it waits for the second request");
            send(&mut producer, &at(&topic, 0), value);
            producer.flush(PATIENCE).expect("the record reaches the log");
        }
        assert!(torn.get());
        assert_eq!(world.values(&at(&topic, 0)).len(), 3);
    });
}

#[test]
fn inv_6_an_end_that_goes_astray_does_nothing_to_the_successor_of_a_replaced_producer() {
    simulate_some(|world| {
        let topic = world.topic("found", 1);
        let mut producer = impatient(&world, "found");
        let landing = Landing::Records(1);
        world.network.lead_astray(world.process, landing, || panic!("it is refused"));
        producer.begin_transaction().expect("initialised");
        send(&mut producer, &at(&topic, 0), "first");
        producer.commit_transaction(PATIENCE).expect("the second request gets through");
        drop(producer);

        let mut producer = impatient(&world, "found");
        producer.begin_transaction().expect("initialised");
        send(&mut producer, &at(&topic, 0), "never committed");
        producer.flush(PATIENCE).expect("the record reaches the log");
        producer.abort_transaction(PATIENCE).expect("it is still open");
        assert_eq!(world.values(&at(&topic, 0)), ["first"]);
    });
}

/// A client that is not told would wait for a connection that nobody makes any more.
#[test]
fn a_client_whose_connections_are_cut_learns_it_at_once_at_whatever_moment_it_is() {
    simulate_some(|world| {
        for micros in (0..3_000).step_by(100) {
            let (network, process) = (world.network.clone(), world.process);
            let began = world.scheduler.now();
            let moment = began + Duration::from_micros(micros);
            world.scheduler.at(moment, move || network.cut(process, Duration::ZERO));
            // its connection is not made before it is asked
            let admin = world.admin();
            world.patiently(|| admin.topics(&["any"], PATIENCE));
            let took = world.scheduler.now() - began;
            assert!(took < Duration::from_secs(2), "cut after {micros} us: {took:?}");
        }
    });
}

#[test]
fn inv_6_an_end_that_arrives_late_does_nothing_to_the_successor_of_a_replaced_producer() {
    simulate_some(|world| {
        let topic = world.topic("replaced", 1);
        let mut producer = impatient(&world, "replaced");
        let late = Action::DelayRequest(3_000);
        world.network.set_faults(Faults::plan().on(Api::EndTxn).nth(1).then(late));
        producer.begin_transaction().expect("initialised");
        send(&mut producer, &at(&topic, 0), "first");
        producer.commit_transaction(PATIENCE).expect("the second request gets through");
        drop(producer);

        let mut producer = impatient(&world, "replaced");
        producer.begin_transaction().expect("initialised");
        send(&mut producer, &at(&topic, 0), "never committed");
        producer.flush(PATIENCE).expect("the record reaches the log");
        world.scheduler.sleep(Duration::from_secs(3));
        producer.abort_transaction(PATIENCE).expect("it is still open");
        assert_eq!(world.values(&at(&topic, 0)), ["first"]);
    });
}

#[test]
fn a_killed_process_says_nothing_more_and_its_heir_ends_what_it_began() {
    simulate_some(|world| {
        let topic = world.topic("killed", 1);
        let victim = world.scheduler.new_process("victim");
        let client = crate::client::embedded::Embedded::new(&world.network, victim);
        let of_victim = World { process: victim, client, ..world.clone() };
        let name = topic.clone();
        world.scheduler.spawn(victim, "producing", move || {
            let mut producer = of_victim.transactional("killed");
            for n in 0.. {
                producer.begin_transaction().expect("initialised");
                send(&mut producer, &at(&name, 0), &n.to_string());
                producer.commit_transaction(PATIENCE).expect("nothing is in the way");
            }
        });
        world.scheduler.sleep(Duration::from_millis(100));
        world.scheduler.kill(victim);
        world.network.process_died(victim);
        let mut heir = world.transactional("killed");
        let before = world.values(&at(&topic, 0));
        let expected: Vec<_> = (0..before.len()).map(|n| n.to_string()).collect();
        assert_eq!(before, expected);
        heir.begin_transaction().expect("initialised");
        send(&mut heir, &at(&topic, 0), "of the heir");
        heir.commit_transaction(PATIENCE).expect("nothing is in the way");
        let after = world.values(&at(&topic, 0));
        assert_eq!(after.len(), before.len() + 1, "{after:?}");
    });
}

#[test]
fn a_consumer_reads_on_through_lost_connections_and_a_restart() {
    simulate_some(|world| {
        let topic = world.topic("reads-on", 1);
        let mut reading = world.consumer(&[("socket.timeout.ms", "1000")]);
        let from = [(at(&topic, 0), Offset::ZERO)];
        let mut reader = reading.consumer.assign(&from).expect("it exists").remove(0);
        let mut producer = world.transactional("reads-on");
        let faults = Faults::plan()
            .on(Api::Fetch)
            .one_in(4)
            .then(Action::Reset)
            .on(Api::Fetch)
            .one_in(4)
            .then(Action::DropReply)
            .on(Api::Fetch)
            .one_in(4)
            .then(Action::HoldReply(100));
        world.network.set_faults(faults);
        let mut read = Vec::new();
        for n in 0..10 {
            producer.begin_transaction().expect("initialised");
            send(&mut producer, &at(&topic, 0), &n.to_string());
            producer.commit_transaction(PATIENCE).expect("nothing is in the way");
            if n == 5 {
                world.network.crash();
                world.scheduler.sleep(Duration::from_millis(300));
                world.network.restart();
            }
            read.extend(values(&reading.read_to(&mut reader, Offset(2 * n + 2))));
        }
        assert_eq!(read, (0..10).map(|n| n.to_string()).collect::<Vec<_>>());
        assert_eq!(reader.read(10, &mut |fetched| panic!("{fetched:?}")), 0);
    });
}
