//! Tests of the scheduler.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use super::{Killed, ProcessId, Scheduler, Signal};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

/// Sets a flag when it goes out of scope.
struct Tell(Rc<Cell<bool>>);

impl Drop for Tell {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

/// Three fibers of two processes that wait, signal and draw; returns the order of what they did.
fn play(seed: u64) -> (u64, Vec<(u32, u32)>) {
    let scheduler = Scheduler::new(seed);
    let order = Rc::new(RefCell::new(Vec::new()));
    let signal = Signal::new("turn");
    let processes = [scheduler.new_process("a"), scheduler.new_process("b")];
    for fiber in 0..3 {
        let (scheduler, order, signal) = (scheduler.clone(), Rc::clone(&order), signal.clone());
        scheduler.clone().spawn(processes[fiber % 2], "player", move || {
            for turn in 0..20 {
                order.borrow_mut().push((u32::try_from(fiber).expect("small"), turn));
                scheduler.trace("turn", u64::from(turn));
                if scheduler.chance(500) {
                    signal.raise();
                    scheduler.yield_now();
                } else {
                    let until = scheduler.now() + Duration::from_millis(3);
                    scheduler.park(&signal, Some(until));
                }
            }
        });
    }
    assert!(!scheduler.run_until(|| false, DAY), "nobody is left");
    scheduler.end();
    assert!(scheduler.take_panics().is_empty());
    let order = order.borrow().clone();
    (scheduler.trace_hash(), order)
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_one_another() {
    let (hash, order) = play(7);
    assert_eq!(order.len(), 60, "everybody had every turn");
    assert_eq!(play(7), (hash, order.clone()));
    let (other_hash, other_order) = play(8);
    assert_ne!((other_hash, other_order), (hash, order));
}

#[test]
fn where_nobody_can_run_the_clock_jumps() {
    let scheduler = Scheduler::new(1);
    let woke = Rc::new(Cell::new(Duration::ZERO));
    let (inner, woken) = (scheduler.clone(), Rc::clone(&woke));
    scheduler.spawn(ProcessId::WORLD, "sleeper", move || {
        inner.sleep(DAY / 2);
        woken.set(inner.now());
    });
    let began = std::time::Instant::now();
    let done = Rc::clone(&woke);
    assert!(scheduler.run_until(|| !done.get().is_zero(), DAY));
    assert!(woke.get() >= DAY / 2 && woke.get() < DAY / 2 + SECOND, "{:?}", woke.get());
    assert!(began.elapsed() < Duration::from_secs(5));
    scheduler.end();
}

#[test]
fn a_wait_ends_by_the_signal_or_by_the_time() {
    let scheduler = Scheduler::new(2);
    let signal = Signal::new("answer");
    let seen = Rc::new(RefCell::new(Vec::new()));
    let (inner, waited, results) = (scheduler.clone(), signal.clone(), Rc::clone(&seen));
    scheduler.spawn(ProcessId::WORLD, "waiter", move || {
        for _ in 0..3 {
            let until = inner.now() + SECOND;
            let signalled = inner.park(&waited, Some(until));
            results.borrow_mut().push((signalled, inner.now() >= until));
        }
        // one that nobody waited for is not lost
        waited.raise();
        results.borrow_mut().push((inner.park(&waited, None), false));
    });
    let raise = signal.clone();
    scheduler.at(SECOND / 2, move || raise.raise());
    assert!(!scheduler.run_until(|| false, DAY));
    assert_eq!(*seen.borrow(), [(true, false), (false, true), (false, true), (true, false)]);
    scheduler.end();
}

#[test]
fn a_killed_process_is_unwound_and_its_destructors_run() {
    let scheduler = Scheduler::new(3);
    let process = scheduler.new_process("victim");
    let dropped = Rc::new(Cell::new(false));
    let went_on = Rc::new(Cell::new(false));
    let never = Signal::new("never");
    let (inner, tell, on) = (scheduler.clone(), Tell(Rc::clone(&dropped)), Rc::clone(&went_on));
    scheduler.spawn(process, "victim", move || {
        let _tell = tell;
        inner.park(&never, None);
        on.set(true);
    });
    assert!(!scheduler.run_until(|| false, SECOND));
    assert!(!dropped.get() && scheduler.dump().contains("victim waits for never"));
    scheduler.kill(process);
    assert!(dropped.get() && !went_on.get() && scheduler.is_killed(process));
    scheduler.spawn(process, "late", move || went_on.set(true));
    assert!(!scheduler.run_until(|| false, SECOND), "a dead process starts nothing");
    assert_eq!(scheduler.dump(), "");
    assert!(scheduler.take_panics().is_empty(), "death is no panic");
    scheduler.end();
}

#[test]
fn catch_unwind_does_not_revive_a_killed_fiber() {
    let scheduler = Scheduler::new(4);
    let process = scheduler.new_process("victim");
    let (caught, revived) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
    let (inner, count, alive) = (scheduler.clone(), Rc::clone(&caught), Rc::clone(&revived));
    scheduler.spawn(process, "cat", move || {
        let lives = 9;
        for _ in 0..lives {
            let once = || inner.sleep(SECOND);
            if let Err(payload) = catch_unwind(AssertUnwindSafe(once)) {
                assert!(payload.is::<Killed>());
                count.set(count.get() + 1);
            }
        }
        inner.sleep(SECOND);
        alive.set(true);
    });
    assert!(!scheduler.run_until(|| false, SECOND / 2));
    scheduler.kill(process);
    assert_eq!(caught.get(), 9);
    assert!(!revived.get());
    assert_eq!(scheduler.dump(), "");
    scheduler.end();
}

#[test]
fn a_process_that_kills_itself_does_not_return_from_it() {
    let scheduler = Scheduler::new(5);
    let process = scheduler.new_process("victim");
    let (dropped, went_on) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
    let (inner, on) = (scheduler.clone(), Rc::clone(&went_on));
    scheduler.spawn(process, "suicide", move || {
        inner.sleep(SECOND);
        inner.kill(process);
        on.set(true);
    });
    let (inner, tell) = (scheduler.clone(), Tell(Rc::clone(&dropped)));
    scheduler.spawn(process, "sibling", move || {
        let _tell = tell;
        inner.sleep(DAY);
    });
    let done = Rc::clone(&dropped);
    assert!(scheduler.run_until(|| done.get(), DAY));
    assert!(!went_on.get() && scheduler.now() < 2 * SECOND);
    scheduler.end();
}

#[test]
fn a_destructor_of_a_killed_process_waits_for_nothing() {
    struct Waits(Scheduler, Rc<Cell<bool>>);
    impl Drop for Waits {
        fn drop(&mut self) {
            let never = Signal::new("never");
            self.1.set(!self.0.park(&never, None) && self.0.is_dead());
        }
    }
    let scheduler = Scheduler::new(6);
    let process = scheduler.new_process("victim");
    let returned = Rc::new(Cell::new(false));
    let (inner, waits) = (scheduler.clone(), Waits(scheduler.clone(), Rc::clone(&returned)));
    scheduler.spawn(process, "victim", move || {
        let _waits = waits;
        inner.sleep(DAY);
    });
    assert!(!scheduler.run_until(|| false, SECOND));
    scheduler.kill(process);
    assert!(returned.get());
    scheduler.end();
}

#[test]
fn a_frozen_process_stands_still_while_time_passes() {
    let scheduler = Scheduler::new(7);
    let process = scheduler.new_process("frozen");
    let ticks = Rc::new(Cell::new(0));
    let (inner, count) = (scheduler.clone(), Rc::clone(&ticks));
    scheduler.spawn(process, "clock", move || {
        loop {
            inner.sleep(SECOND);
            count.set(count.get() + 1);
        }
    });
    scheduler.run_until(|| false, 5 * SECOND + SECOND / 2);
    assert_eq!(ticks.get(), 5);
    scheduler.freeze(process);
    assert!(scheduler.is_frozen(process) && process.number() == 1);
    // something must keep time going
    scheduler.at(DAY / 2, || {});
    scheduler.run_until(|| false, DAY / 2);
    assert_eq!(ticks.get(), 5);
    scheduler.thaw(process);
    scheduler.run_until(|| false, DAY / 2 + 2 * SECOND + SECOND / 2);
    assert_eq!(ticks.get(), 8, "the timer that was due fires after the thaw");
    scheduler.end();
}

#[test]
fn a_panic_of_a_fiber_is_reported_and_harms_nobody_else() {
    let scheduler = Scheduler::new(8);
    let process = scheduler.new_process("p");
    let finished = Rc::new(Cell::new(false));
    scheduler.spawn(process, "bad", || std::panic::resume_unwind(Box::new("as expected")));
    let (inner, tell) = (scheduler.clone(), Tell(Rc::clone(&finished)));
    scheduler.spawn(process, "good", move || {
        let _tell = tell;
        inner.sleep(SECOND);
    });
    assert!(!scheduler.run_until(|| false, DAY));
    assert!(finished.get());
    assert_eq!(scheduler.take_panics(), [(process, "bad", "as expected".to_owned())]);
    scheduler.end();
}

#[test]
fn a_fiber_that_never_waits_lets_time_pass() {
    let scheduler = Scheduler::new(9);
    let inner = scheduler.clone();
    scheduler.spawn(ProcessId::WORLD, "busy", move || {
        loop {
            inner.yield_now();
        }
    });
    let fired = Rc::new(Cell::new(false));
    let tell = Rc::clone(&fired);
    scheduler.at(SECOND / 100, move || tell.set(true));
    let done = Rc::clone(&fired);
    assert!(scheduler.run_until(|| done.get(), SECOND));
    scheduler.end();
}

#[test]
fn thousands_of_simulations_use_the_same_stacks() {
    let maps = || std::fs::read_to_string("/proc/self/maps").map_or(0, |maps| maps.lines().count());
    let mut after_first = 0;
    for seed in 0..2_000 {
        let scheduler = Scheduler::new(seed);
        let process = scheduler.new_process("p");
        for _ in 0..40 {
            let inner = scheduler.clone();
            scheduler.spawn(process, "some", move || inner.sleep(SECOND));
        }
        scheduler.run_until(|| false, SECOND / 2);
        scheduler.end();
        if seed == 0 {
            after_first = maps();
        }
    }
    // other tests map stacks too; a leak would be 80,000 of them
    assert!(maps() < after_first + 5_000, "{} mappings, {after_first} after the first", maps());
}
