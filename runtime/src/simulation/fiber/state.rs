//! What a scheduler knows: fibers, processes, timers, the clock, the source of chance.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::coroutine::Coroutine;
use super::scheduler::{FiberId, ProcessId};

/// How long a step of a fiber takes at most: a fiber that never waits lets time pass, too.
const STEP_NANOS_MAX: u64 = 20_000;

pub(super) struct Fiber {
    pub(super) process: ProcessId,
    pub(super) name: &'static str,
    /// `None` while it runs.
    pub(super) coroutine: Option<Coroutine>,
    pub(super) wait: Option<Wait>,
    pub(super) waits: u64,
    pub(super) signalled: bool,
}

/// What a fiber waits for.
pub(super) struct Wait {
    pub(super) what: &'static str,
    pub(super) until: Option<Duration>,
    number: u64,
    timer: Option<(Duration, u64)>,
}

impl Wait {
    fn describe(&self) -> String {
        match self.until {
            Some(until) => format!("{} until {until:?}", self.what),
            None => self.what.to_owned(),
        }
    }
}

pub(super) struct Process {
    name: String,
    pub(super) killed: bool,
    pub(super) frozen: bool,
    /// Fibers that could run if the process were not stopped.
    pub(super) stalled: Vec<FiberId>,
    pub(super) fibers: Vec<FiberId>,
}

impl Process {
    pub(super) fn new(name: &str) -> Self {
        let (stalled, fibers) = (Vec::new(), Vec::new());
        Self { name: name.to_owned(), killed: false, frozen: false, stalled, fibers }
    }
}

pub(super) enum Timer {
    Wake(FiberId, u64),
    Event(Box<dyn FnOnce()>),
}

pub(super) struct State {
    pub(super) number: u32,
    pub(super) now: Duration,
    pub(super) steps: u64,
    pub(super) hash: u64,
    pub(super) rng: fastrand::Rng,
    /// By index; those that ended are `None`.
    pub(super) fibers: Vec<Option<Fiber>>,
    pub(super) processes: Vec<Process>,
    pub(super) runnable: Vec<FiberId>,
    pub(super) doomed: Vec<FiberId>,
    /// By time, then in the order in which they were set.
    pub(super) timers: BTreeMap<(Duration, u64), Timer>,
    timers_set: u64,
    pub(super) current: Option<FiberId>,
    pub(super) waits_while_panicking: u32,
    pub(super) panics: Vec<(ProcessId, &'static str, String)>,
}

impl State {
    pub(super) fn new(number: u32, seed: u64) -> Self {
        Self {
            number,
            now: Duration::ZERO,
            steps: 0,
            hash: 0xcbf2_9ce4_8422_2325,
            rng: fastrand::Rng::with_seed(seed),
            fibers: Vec::new(),
            processes: vec![Process::new("world")],
            runnable: Vec::new(),
            doomed: Vec::new(),
            timers: BTreeMap::new(),
            timers_set: 0,
            current: None,
            waits_while_panicking: 0,
            panics: Vec::new(),
        }
    }

    pub(super) fn mix(&mut self, word: u64) {
        let mixed = (self.hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.hash = mixed ^ (mixed >> 29);
    }

    pub(super) fn process(&self, process: ProcessId) -> &Process {
        self.processes.get(process.0 as usize).expect("a process is never forgotten")
    }

    pub(super) fn process_mut(&mut self, process: ProcessId) -> &mut Process {
        self.processes.get_mut(process.0 as usize).expect("a process is never forgotten")
    }

    pub(super) fn fiber(&self, id: FiberId) -> Option<&Fiber> {
        let ours = id.scheduler == self.number;
        self.fibers.get(id.index as usize).filter(|_| ours)?.as_ref()
    }

    pub(super) fn fiber_mut(&mut self, id: FiberId) -> Option<&mut Fiber> {
        let ours = id.scheduler == self.number;
        self.fibers.get_mut(id.index as usize).filter(|_| ours)?.as_mut()
    }

    pub(super) fn add_timer(&mut self, time: Duration, timer: Timer) -> (Duration, u64) {
        self.timers_set += 1;
        let key = (time, self.timers_set);
        self.timers.insert(key, timer);
        key
    }

    /// Notes that the running fiber waits; returns the number of the wait.
    pub(super) fn prepare_wait(
        &mut self,
        id: FiberId,
        what: &'static str,
        until: Option<Duration>,
    ) -> u64 {
        let fiber = self.fiber_mut(id).expect("the running fiber is there");
        fiber.waits += 1;
        fiber.signalled = false;
        let number = fiber.waits;
        let timer = until.map(|until| self.add_timer(until.max(self.now), Timer::Wake(id, number)));
        if let Some(fiber) = self.fiber_mut(id) {
            fiber.wait = Some(Wait { what, until, number, timer });
        }
        number
    }

    /// Lets a fiber go from its wait `number`; false if it does not wait there any more.
    pub(super) fn wake(&mut self, id: FiberId, number: u64, signalled: bool) -> bool {
        let Some(fiber) = self.fiber_mut(id) else { return false };
        let Some(wait) = fiber.wait.take_if(|wait| wait.number == number) else { return false };
        fiber.signalled = signalled;
        if let Some(timer) = wait.timer {
            self.timers.remove(&timer);
        }
        self.runnable.push(id);
        true
    }

    /// Takes the next event that is due; wakes fibers whose time has come on the way.
    pub(super) fn due(&mut self) -> Option<Box<dyn FnOnce()>> {
        while let Some(first) = self.timers.first_entry() {
            if first.key().0 > self.now {
                return None;
            }
            match first.remove() {
                Timer::Event(event) => return Some(event),
                Timer::Wake(id, number) => {
                    self.wake(id, number, false);
                }
            }
        }
        None
    }

    /// Picks a fiber that can run, at random.
    pub(super) fn pick(&mut self) -> Option<FiberId> {
        while !self.runnable.is_empty() {
            let index = self.rng.usize(..self.runnable.len());
            let id = self.runnable.swap_remove(index);
            let Some(fiber) = self.fiber(id) else { continue };
            let process = fiber.process;
            let process = self.process_mut(process);
            if process.killed {
                continue;
            }
            if process.frozen {
                process.stalled.push(id);
                continue;
            }
            return Some(id);
        }
        None
    }

    /// Moves the clock to the next timer; false if there is none.
    pub(super) fn jump(&mut self, limit: Duration) -> bool {
        let Some((key, _)) = self.timers.first_key_value() else { return false };
        self.now = key.0.clamp(self.now, limit.max(self.now));
        true
    }

    pub(super) fn begin_step(&mut self, id: FiberId) {
        self.steps += 1;
        self.now += Duration::from_nanos(self.rng.u64(1_000..STEP_NANOS_MAX));
        self.current = Some(id);
        self.waits_while_panicking = 0;
        let nanos = u64::try_from(self.now.as_nanos()).unwrap_or(u64::MAX);
        self.mix(nanos ^ (u64::from(id.index) << 48));
    }

    pub(super) fn kill(&mut self, process: ProcessId) {
        let killed = self.process_mut(process);
        if killed.killed {
            return;
        }
        killed.killed = true;
        killed.stalled.clear();
        let fibers = std::mem::take(&mut killed.fibers);
        self.doomed.extend(fibers);
    }

    pub(super) fn remove(&mut self, id: FiberId) {
        let Some(fiber) = self.fibers.get_mut(id.index as usize).and_then(Option::take) else {
            return;
        };
        if let Some(timer) = fiber.wait.and_then(|wait| wait.timer) {
            self.timers.remove(&timer);
        }
        self.process_mut(fiber.process).fibers.retain(|other| *other != id);
    }

    pub(super) fn dump(&self) -> String {
        let mut text = String::new();
        for fiber in self.fibers.iter().flatten() {
            let process = self.process(fiber.process);
            let frozen = if process.frozen { " (frozen)" } else { "" };
            let waits = fiber.wait.as_ref();
            let waits = waits.map_or_else(|| "nothing".to_owned(), Wait::describe);
            let _ = writeln!(text, "{}{frozen}: {} waits for {waits}", process.name, fiber.name);
        }
        text
    }
}
