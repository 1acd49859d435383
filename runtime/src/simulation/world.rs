//! What a simulated process can reach outside itself.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tidemill_broker::fault::{Action, Api, Rule, When};
use tidemill_core::record::Timestamp;

use super::bounds::Bounds;
use super::fiber::{Killed, ProcessId, Scheduler};
use crate::client::Waker;
use crate::client::embedded::{Embedded, Landing, Network};
use crate::clock;
use crate::storage::seam::Disk;
use crate::world::World;

/// Of a thousand passes of a step, so many let others run before the next instruction.
const SWITCH_OF_THOUSAND: u32 = 150;

/// How often it is looked whether a request has met its fault, and how many times.
const CUT_LOOK: Duration = Duration::from_millis(1);
const CUT_LOOKS: u32 = 500;

/// What happens at a step of the commit protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trap {
    Kill,
    Freeze(Duration),
    /// The next end of a transaction arrives so much later, and its client's connections are cut
    /// meanwhile: it asks again, and the first request ends what it began since (KAFKA-17754).
    LateEnd(Duration),
    /// The next end of a transaction arrives in the middle of the next one, in the same way; if it
    /// did end that one, the process may be killed at once.
    StrayEnd {
        landing: Landing,
        kill: bool,
    },
    /// What such an end did: it committed half a transaction.
    Torn,
}

/// A trap that is set for one process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Armed {
    pub(super) step: &'static str,
    /// At the n-th pass from now, counted from 1.
    pub(super) pass: u32,
    pub(super) trap: Trap,
}

/// Things that concern every process: the wall clock, and which traps are set.
#[derive(Debug)]
pub(super) struct Surroundings {
    /// Milliseconds since the Unix epoch at the start.
    pub(super) start: i64,
    /// By how much the wall clock was set forward or back since.
    pub(super) wall_step: Cell<i64>,
    pub(super) armed: RefCell<BTreeMap<ProcessId, Armed>>,
    /// How often each step was passed, and which traps went off.
    pub(super) passed: RefCell<BTreeMap<&'static str, u64>>,
    pub(super) sprung: RefCell<Vec<(ProcessId, Armed)>>,
    /// How much was held of what has a bound.
    pub(super) bounds: RefCell<Bounds>,
    /// Instants are real ones, counted from here: only differences are ever seen.
    base: Instant,
}

impl Surroundings {
    pub(super) fn new(start: i64) -> Self {
        Self {
            start,
            wall_step: Cell::new(0),
            armed: RefCell::default(),
            passed: RefCell::default(),
            sprung: RefCell::default(),
            bounds: RefCell::default(),
            base: clock::monotonic(),
        }
    }

    /// What the wall clock shows when so much time has passed.
    pub(super) fn wall_clock(&self, now: Duration) -> Timestamp {
        let since = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        Timestamp(self.start.saturating_add(since).saturating_add(self.wall_step.get()))
    }
}

/// The world of one process.
pub(super) struct SimulatedWorld<D>(Rc<Inner<D>>);

struct Inner<D> {
    scheduler: Scheduler,
    process: ProcessId,
    network: Network,
    client: Embedded,
    disk: D,
    surroundings: Rc<Surroundings>,
    /// What else happens when the process is killed.
    die: Rc<dyn Fn()>,
}

impl<D> Clone for SimulatedWorld<D> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<D> SimulatedWorld<D> {
    pub(super) fn new(
        network: &Network,
        process: ProcessId,
        disk: D,
        surroundings: &Rc<Surroundings>,
        die: Rc<dyn Fn()>,
    ) -> Self {
        Self(Rc::new(Inner {
            scheduler: network.scheduler().clone(),
            process,
            network: network.clone(),
            client: Embedded::new(network, process),
            disk,
            surroundings: Rc::clone(surroundings),
            die,
        }))
    }

    /// Springs the trap of this step, if there is one.
    fn spring(&self, step: &'static str) {
        let Inner { scheduler, process, surroundings, .. } = &*self.0;
        let sprung = {
            let mut armed = surroundings.armed.borrow_mut();
            let Some(one) = armed.get_mut(process).filter(|one| one.step == step) else { return };
            one.pass -= 1;
            if one.pass > 0 {
                return;
            }
            armed.remove(process)
        };
        let Some(armed) = sprung else { return };
        surroundings.sprung.borrow_mut().push((*process, armed));
        match armed.trap {
            Trap::Kill => {
                (self.0.die)();
                scheduler.kill(*process);
            }
            Trap::Freeze(time) => {
                let (thaw, frozen) = (scheduler.clone(), *process);
                scheduler.at(scheduler.now().saturating_add(time), move || thaw.thaw(frozen));
                scheduler.freeze(*process);
            }
            Trap::LateEnd(by) => self.delay_end(by),
            Trap::StrayEnd { landing, kill } => self.lead_astray(landing, kill, armed),
            // nobody arms it
            Trap::Torn => {}
        }
    }

    /// See [`Trap::StrayEnd`].
    fn lead_astray(&self, landing: Landing, kill: bool, armed: Armed) {
        let Inner { scheduler, process, surroundings, die, .. } = &*self.0;
        let (scheduler, process, die) = (scheduler.clone(), *process, Rc::clone(die));
        let surroundings = Rc::clone(surroundings);
        self.0.network.lead_astray(process, landing, move || {
            let armed = Armed { trap: Trap::Torn, ..armed };
            surroundings.sprung.borrow_mut().push((process, armed));
            if kill && !scheduler.is_killed(process) {
                die();
                scheduler.kill(process);
            }
        });
    }

    /// See [`Trap::LateEnd`].
    fn delay_end(&self, by: Duration) {
        let Inner { scheduler, process, network, .. } = &*self.0;
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        let mut rule = Rule::new(Action::DelayRequest(by));
        (rule.api, rule.when) = (Some(Api::EndTxn), When::First(1));
        let index = network.with_faults(|faults| {
            faults.add(rule);
            faults.rules().count() - 1
        });
        cut_after(network, scheduler, *process, index, CUT_LOOKS);
    }
}

/// Cuts the connections of a process as soon as a rule has met a request, which has arrived then.
fn cut_after(
    network: &Network,
    scheduler: &Scheduler,
    process: ProcessId,
    rule: usize,
    looks: u32,
) {
    let (network, scheduler) = (network.clone(), scheduler.clone());
    let soon = scheduler.now() + CUT_LOOK;
    scheduler.clone().at(soon, move || {
        let fired = network.with_faults(|faults| faults.rules().nth(rule).map(|(.., fired)| fired));
        match fired {
            // the faults are over
            None => {}
            Some(0) if looks > 0 => cut_after(&network, &scheduler, process, rule, looks - 1),
            Some(_) => network.cut(process, Duration::ZERO),
        }
    });
}

impl<D: Disk> World for SimulatedWorld<D> {
    type Client = Embedded;
    type Disk = D;

    fn client(&self) -> &Embedded {
        &self.0.client
    }

    fn disk(&self) -> &D {
        &self.0.disk
    }

    fn wall_clock(&self) -> Timestamp {
        self.0.surroundings.wall_clock(self.0.scheduler.now())
    }

    fn monotonic(&self) -> Instant {
        self.0.surroundings.base + self.0.scheduler.now()
    }

    fn sleep(&self, time: Duration) {
        self.0.scheduler.sleep(time);
    }

    fn wait(&self, waker: &Waker, timeout: Duration) -> bool {
        let scheduler = &self.0.scheduler;
        let until = scheduler.now().saturating_add(timeout);
        scheduler.park(waker.signal(), Some(until))
    }

    fn pass(&self, step: &'static str) {
        let Inner { scheduler, process, surroundings, .. } = &*self.0;
        scheduler.end_if_killed();
        scheduler.trace(step, u64::from(process.number()));
        *surroundings.passed.borrow_mut().entry(step).or_default() += 1;
        self.spring(step);
        if scheduler.chance(SWITCH_OF_THOUSAND) {
            let micros = scheduler.random(|rng| rng.u64(..2_000));
            scheduler.sleep(Duration::from_micros(micros));
        }
    }

    fn show_held(&self, what: &'static str, held_and_bound: impl FnOnce() -> (usize, usize)) {
        let (held, bound) = held_and_bound();
        self.0.surroundings.bounds.borrow_mut().note(what, held, bound);
    }

    fn caught(&self, panic: Box<dyn Any + Send>) -> Box<dyn Any + Send> {
        if panic.is::<Killed>() {
            resume_unwind(panic);
        }
        panic
    }
}
