//! Which fiber runs next, and what time it is.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::{Rc, Weak};
use std::time::Duration;

use super::coroutine::{Coroutine, suspend};
use super::signal::Signal;
use super::state::{Fiber, Process, State, Timer};

/// A simulated process, or another one after it was started anew: a number is used once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ProcessId(pub(super) u32);

impl ProcessId {
    /// What is outside of every process: the plan of a run, its auditors. It is never killed.
    pub(crate) const WORLD: Self = Self(0);

    pub(crate) fn number(self) -> u32 {
        self.0
    }
}

/// A fiber, unique among all schedulers of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FiberId {
    pub(super) scheduler: u32,
    pub(super) index: u32,
}

/// What a killed fiber unwinds with.
pub(crate) struct Killed;

/// A killed fiber that still has not ended after so many attempts swallows its own death.
const DEATHS_MAX: usize = 10_000;
/// Waits that a destructor may try while its fiber unwinds; more is a loop that would never end.
const WAITS_WHILE_PANICKING_MAX: u32 = 1_000_000;

thread_local! {
    /// The newest scheduler of this thread: where signals find their fibers.
    static CURRENT: RefCell<Weak<RefCell<State>>> = const { RefCell::new(Weak::new()) };
    static SCHEDULERS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// Lets a fiber go that waits in its wait `number`; false if it does not any more.
pub(super) fn wake(fiber: FiberId, number: u64) -> bool {
    let state = CURRENT.with_borrow(Weak::upgrade);
    state.is_some_and(|state| state.borrow_mut().wake(fiber, number, true))
}

/// The scheduler of a simulation: a handle, cheap to clone.
#[derive(Clone)]
pub(crate) struct Scheduler(Rc<RefCell<State>>);

impl Scheduler {
    /// Makes a scheduler without fibers whose every choice follows from the seed.
    pub(crate) fn new(seed: u64) -> Self {
        let number = SCHEDULERS.get().wrapping_add(1);
        SCHEDULERS.set(number);
        let state = Rc::new(RefCell::new(State::new(number, seed)));
        CURRENT.set(Rc::downgrade(&state));
        Self(state)
    }

    /// Returns the time since the start of the simulation.
    pub(crate) fn now(&self) -> Duration {
        self.0.borrow().now
    }

    /// Draws from the one source of chance.
    pub(crate) fn random<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.0.borrow_mut().rng)
    }

    /// True once in a while.
    pub(crate) fn chance(&self, of_thousand: u32) -> bool {
        of_thousand > 0 && self.random(|rng| rng.u32(..1000)) < of_thousand
    }

    /// Adds to the trace: what happened, and a value that tells two such happenings apart.
    pub(crate) fn trace(&self, what: &str, value: u64) {
        let mut state = self.0.borrow_mut();
        let word = what.bytes().fold(value, |word, byte| word.rotate_left(7) ^ u64::from(byte));
        state.mix(word);
    }

    /// Returns the hash over everything that happened, in order. Same seed, same hash.
    pub(crate) fn trace_hash(&self) -> u64 {
        self.0.borrow().hash
    }

    pub(crate) fn steps(&self) -> u64 {
        self.0.borrow().steps
    }

    /// Makes a process without fibers.
    pub(crate) fn new_process(&self, name: &str) -> ProcessId {
        let mut state = self.0.borrow_mut();
        let number = u32::try_from(state.processes.len()).expect("few processes");
        state.processes.push(Process::new(name));
        ProcessId(number)
    }

    /// Returns the process of the running fiber: the world outside of fibers.
    pub(crate) fn process(&self) -> ProcessId {
        let state = self.0.borrow();
        let current = state.current.and_then(|id| state.fiber(id));
        current.map_or(ProcessId::WORLD, |fiber| fiber.process)
    }

    pub(crate) fn is_killed(&self, process: ProcessId) -> bool {
        self.0.borrow().process(process).killed
    }

    #[cfg(test)]
    pub(crate) fn is_frozen(&self, process: ProcessId) -> bool {
        self.0.borrow().process(process).frozen
    }

    /// Whether the running fiber is of a process that was killed: nothing it does may have an
    /// effect outside.
    pub(crate) fn is_dead(&self) -> bool {
        self.is_killed(self.process())
    }

    /// Starts a fiber. Of a killed process it never runs.
    pub(crate) fn spawn(
        &self,
        process: ProcessId,
        name: &'static str,
        body: impl FnOnce() + 'static,
    ) {
        let mut state = self.0.borrow_mut();
        if state.process(process).killed {
            return;
        }
        let index = u32::try_from(state.fibers.len()).expect("few fibers");
        let id = FiberId { scheduler: state.number, index };
        let scheduler = Rc::downgrade(&self.0);
        let wrapped = Box::new(move || run(&scheduler, process, name, body));
        let coroutine = Some(Coroutine::new(wrapped));
        state.fibers.push(Some(Fiber {
            process,
            name,
            coroutine,
            wait: None,
            waits: 0,
            signalled: false,
        }));
        state.process_mut(process).fibers.push(id);
        state.runnable.push(id);
    }

    /// Has something happen at a time: on the scheduler's own stack, so that it can't wait.
    pub(crate) fn at(&self, time: Duration, event: impl FnOnce() + 'static) {
        let mut state = self.0.borrow_mut();
        let time = time.max(state.now);
        state.add_timer(time, Timer::Event(Box::new(event)));
    }

    /// Lets time pass for the running fiber.
    pub(crate) fn sleep(&self, time: Duration) {
        let until = self.now().saturating_add(time);
        self.wait(None, "sleep", Some(until));
    }

    /// Lets others run.
    pub(crate) fn yield_now(&self) {
        let now = self.now();
        self.wait(None, "others", Some(now));
    }

    /// Waits for a signal; returns false if the time came first.
    pub(crate) fn park(&self, signal: &Signal, until: Option<Duration>) -> bool {
        self.end_if_killed();
        signal.lower() || self.wait(Some(signal), signal.name(), until)
    }

    fn wait(&self, signal: Option<&Signal>, what: &'static str, until: Option<Duration>) -> bool {
        self.end_if_killed();
        {
            let mut state = self.0.borrow_mut();
            let id = state.current.expect("only a fiber can wait");
            if std::thread::panicking() {
                // another fiber must not run while this one unwinds
                state.waits_while_panicking += 1;
                let waits = state.waits_while_panicking;
                assert!(
                    waits < WAITS_WHILE_PANICKING_MAX,
                    "a destructor waits for {what} in a loop"
                );
                return false;
            }
            let number = state.prepare_wait(id, what, until);
            if let Some(signal) = signal {
                signal.wait(id, number);
            }
        }
        suspend();
        self.end_if_killed();
        let mut state = self.0.borrow_mut();
        let id = state.current.expect("a fiber that runs is the current one");
        state.fiber_mut(id).is_some_and(|fiber| std::mem::take(&mut fiber.signalled))
    }

    /// Unwinds the running fiber if its process was killed, unless it does already.
    pub(crate) fn end_if_killed(&self) {
        if self.is_dead() && !std::thread::panicking() {
            resume_unwind(Box::new(Killed));
        }
    }

    /// Ends a process as SIGKILL does: its fibers are unwound before any other fiber runs. Called
    /// by a fiber of the process itself it does not return.
    pub(crate) fn kill(&self, process: ProcessId) {
        assert_ne!(process, ProcessId::WORLD, "the world stays");
        let in_fiber = {
            let mut state = self.0.borrow_mut();
            state.kill(process);
            state.current.is_some()
        };
        self.end_if_killed();
        if in_fiber {
            self.yield_now();
        } else {
            self.reap();
        }
    }

    /// Stops a process as SIGSTOP does: its fibers don't run, and time passes.
    pub(crate) fn freeze(&self, process: ProcessId) {
        assert_ne!(process, ProcessId::WORLD, "the world stays");
        self.0.borrow_mut().process_mut(process).frozen = true;
        if self.process() == process {
            self.yield_now();
        }
    }

    /// Lets a stopped process go on, as SIGCONT does.
    pub(crate) fn thaw(&self, process: ProcessId) {
        let mut state = self.0.borrow_mut();
        let thawed = state.process_mut(process);
        thawed.frozen = false;
        let stalled = std::mem::take(&mut thawed.stalled);
        state.runnable.extend(stalled);
    }

    /// Runs fibers and events until `done`, the `limit` of the clock, or until nobody can ever run
    /// again. Returns whether it is done.
    pub(crate) fn run_until(&self, mut done: impl FnMut() -> bool, limit: Duration) -> bool {
        CURRENT.set(Rc::downgrade(&self.0));
        loop {
            self.reap();
            if done() {
                return true;
            }
            let next = {
                let mut state = self.0.borrow_mut();
                if state.now >= limit {
                    return false;
                }
                match state.due() {
                    Some(event) => Next::Event(event),
                    None => match state.pick() {
                        Some(id) => Next::Fiber(id),
                        None if state.jump(limit) => continue,
                        None => return false,
                    },
                }
            };
            match next {
                Next::Event(event) => event(),
                Next::Fiber(id) => self.resume(id),
            }
        }
    }

    fn resume(&self, id: FiberId) {
        let mut coroutine = {
            let mut state = self.0.borrow_mut();
            state.begin_step(id);
            let fiber = state.fiber_mut(id);
            fiber.and_then(|fiber| fiber.coroutine.take()).expect("a fiber that can run is there")
        };
        let returned = coroutine.resume();
        let mut state = self.0.borrow_mut();
        state.current = None;
        if returned {
            state.remove(id);
        } else if let Some(fiber) = state.fiber_mut(id) {
            fiber.coroutine = Some(coroutine);
        }
    }

    /// Unwinds the fibers of killed processes.
    fn reap(&self) {
        if self.0.borrow().doomed.is_empty() {
            return;
        }
        let doomed = std::mem::take(&mut self.0.borrow_mut().doomed);
        for id in doomed {
            let mut deaths = 0;
            while self.0.borrow().fiber(id).is_some() {
                self.resume(id);
                deaths += 1;
                assert!(deaths < DEATHS_MAX, "a fiber does not end when its process is killed");
            }
        }
    }

    /// Ends everything. To be called once, by nobody who runs in a fiber.
    pub(crate) fn end(&self) {
        let processes = {
            let mut state = self.0.borrow_mut();
            assert!(state.current.is_none(), "a fiber can't end its scheduler");
            state.timers.clear();
            u32::try_from(state.processes.len()).unwrap_or(u32::MAX)
        };
        for process in (0..processes).rev() {
            self.0.borrow_mut().kill(ProcessId(process));
        }
        self.reap();
        self.0.borrow_mut().timers.clear();
    }

    /// Returns the panics of fibers so far: process, fiber, text.
    pub(crate) fn take_panics(&self) -> Vec<(ProcessId, &'static str, String)> {
        std::mem::take(&mut self.0.borrow_mut().panics)
    }

    /// Who waits for what, one fiber a line.
    pub(crate) fn dump(&self) -> String {
        self.0.borrow().dump()
    }
}

impl std::fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scheduler").field("now", &self.now()).field("steps", &self.steps()).finish()
    }
}

enum Next {
    Event(Box<dyn FnOnce()>),
    Fiber(FiberId),
}

/// The body of every fiber: nothing unwinds out of it.
fn run(
    scheduler: &Weak<RefCell<State>>,
    process: ProcessId,
    name: &'static str,
    body: impl FnOnce(),
) {
    let killed = |scheduler: &Weak<RefCell<State>>| {
        scheduler.upgrade().is_none_or(|state| state.borrow().process(process).killed)
    };
    let body = AssertUnwindSafe(body);
    if killed(scheduler) {
        // its captures are dropped as a dying thread's are
        let _ = catch_unwind(move || drop(body));
        return;
    }
    let whole = move || {
        // the wrapper is captured, not its field
        let body = body;
        body.0();
    };
    let Err(payload) = catch_unwind(whole) else { return };
    if payload.is::<Killed>() {
        return;
    }
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    if let Some(state) = scheduler.upgrade() {
        let text = text.unwrap_or_else(|| "no text".to_owned());
        state.borrow_mut().panics.push((process, name, text));
    }
}
