//! How each fault is done, and what has to be true after it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tidemill::BoxError;
use tidemill_examples::audit::{Audit, audit};
use tidemill_examples::cluster::Cluster;
use tidemill_examples::interrupt::Interrupt;
use tidemill_examples::job::Job;
use tidemill_examples::lag::{LagWatch, Progress};
use tidemill_examples::processes::WorkerProcess;
use tidemill_examples::report;

use super::broker::Broker;
use super::plan::Fault;

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// All partitions must be worked on again within this time of a fault.
const BACK_WITHIN: Duration = Duration::from_secs(90);
/// A fail point in the normal course of things must be reached within this time.
const REACHED_WITHIN: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// A run in progress.
pub(super) struct Chaos<'a> {
    pub(super) cluster: Arc<Cluster>,
    pub(super) job: &'a Job,
    pub(super) workers: [WorkerProcess; 2],
    pub(super) watch: LagWatch<'a>,
    pub(super) broker: Option<Broker>,
    pub(super) random: fastrand::Rng,
    pub(super) interrupt: Interrupt,
    pub(super) began: Instant,
    pub(super) deadline: Instant,
    /// The worker that was started with the fail point of the next fault.
    pub(super) armed: Option<usize>,
    /// When something last came back, and how far the job was then.
    pub(super) since: (Instant, Progress),
    /// Something came back then, and not everything was seen at work yet.
    pub(super) coming_back: bool,
    pub(super) fired: Vec<Fault>,
    pub(super) audited: Audit,
    pub(super) audits: u64,
    pub(super) clean_stops: u64,
    /// From there to commits in every partition.
    pub(super) back_after: Vec<Duration>,
    pub(super) problems: Vec<String>,
}

impl Chaos<'_> {
    /// Does one fault. `next` is the one after it: its victim has to be started for it.
    pub(super) fn inflict(&mut self, fault: Fault, next: Option<Fault>) -> Result<(), BoxError> {
        match fault {
            Fault::Kill => {
                self.wait_a_while()?;
                let victim = self.random.usize(..2);
                self.workers[victim].kill()?;
                self.bury(fault, victim, next)
            }
            Fault::KillAt(_) => {
                let victim = self.armed_victim(fault)?;
                self.reach(fault, victim, WorkerProcess::was_killed)?;
                self.bury(fault, victim, next)
            }
            Fault::Zombie => {
                self.settle()?;
                let victim = self.random.usize(..2);
                self.workers[victim].signal(Signal::STOP)?;
                self.wake_after_takeover(victim)?;
                self.welcome_back(fault, victim)
            }
            Fault::ZombieAt(_) => {
                let victim = self.armed_victim(fault)?;
                self.reach(fault, victim, WorkerProcess::is_stopped)?;
                self.wake_after_takeover(victim)?;
                self.welcome_back(fault, victim)
            }
            Fault::ZombieKilledAt(_) => self.kill_zombie(fault, next),
            Fault::BrokerRestart => {
                self.wait_a_while()?;
                self.broker.as_mut().ok_or("there is no broker to restart")?.restart()?;
                self.mark()?;
                self.settle()?;
                self.fired.push(fault);
                self.say("broker killed by SIGKILL and started again: all partitions go on");
                Ok(())
            }
        }
    }

    /// A zombie that dies at a place where it deals with having been replaced.
    fn kill_zombie(&mut self, fault: Fault, next: Option<Fault>) -> Result<(), BoxError> {
        let victim = self.armed_victim(fault)?;
        self.reach(fault, victim, WorkerProcess::is_stopped)?;
        self.wake_after_takeover(victim)?;
        self.reach(fault, victim, WorkerProcess::was_killed)?;
        self.bury(fault, victim, next)
    }

    /// Waits for the fail point of a fault.
    fn reach(
        &mut self,
        fault: Fault,
        victim: usize,
        reached: impl Fn(&mut WorkerProcess) -> Result<bool, BoxError>,
    ) -> Result<(), BoxError> {
        if self.wait(REACHED_WITHIN, |chaos| reached(&mut chaos.workers[victim]))? {
            return Ok(());
        }
        let missed = format!("did not reach its fail point: {fault}");
        Err(self.workers[victim].failure(&missed))
    }

    /// Waits until the other worker has committed in every partition, and wakes the sleeper.
    fn wake_after_takeover(&mut self, sleeper: usize) -> Result<(), BoxError> {
        // a commit that was under way when it fell asleep may still arrive
        self.pause(Duration::from_secs(1))?;
        let before = self.watch.progress()?;
        let taken_over = self.wait(BACK_WITHIN, |chaos| {
            chaos.workers[1 - sleeper].check_running()?;
            Ok(chaos.watch.progress()?.moved_everywhere(&before))
        })?;
        if !taken_over {
            let name = self.workers[sleeper].name().to_owned();
            let idle = format!("did not take over from {name} within {BACK_WITHIN:?}");
            return Err(self.workers[1 - sleeper].failure(&idle));
        }
        self.workers[sleeper].signal(Signal::CONT)?;
        self.mark()
    }

    /// Waits until a zombie and its partner work on everything.
    fn welcome_back(&mut self, fault: Fault, zombie: usize) -> Result<(), BoxError> {
        self.settle()?;
        self.note(fault, zombie, "partitions taken over, woken, all partitions go on");
        Ok(())
    }

    /// Returns the worker that was started with this fault's fail point; if none was, stops one
    /// in order and starts it so.
    fn armed_victim(&mut self, fault: Fault) -> Result<usize, BoxError> {
        if let Some(victim) = self.armed.take() {
            return Ok(victim);
        }
        self.settle()?;
        let victim = self.random.usize(..2);
        self.workers[victim].stop(STOP_TIMEOUT)?;
        self.clean_stops += 1;
        self.audit(victim)?;
        self.start(victim, Some(fault))?;
        self.armed = None;
        Ok(victim)
    }

    /// Audits a dead worker and starts it again.
    fn bury(&mut self, fault: Fault, victim: usize, next: Option<Fault>) -> Result<(), BoxError> {
        let (tasks, entries) = (self.audited.tasks, self.audited.entries);
        let known = self.problems.len();
        self.audit(victim)?;
        let said = format!(
            "audited {} databases, {} entries{}",
            self.audited.tasks - tasks,
            self.audited.entries - entries,
            if self.problems.len() > known { ": VIOLATED" } else { "" }
        );
        self.note(fault, victim, &said);
        self.start(victim, next)
    }

    /// Starts a worker, with the fail point of a fault if it has one.
    pub(super) fn start(&mut self, worker: usize, next: Option<Fault>) -> Result<(), BoxError> {
        let mut points = Vec::new();
        for (place, action) in next.map(Fault::fail_points).unwrap_or_default() {
            // X: once a start or an abort; S: at every turn or commit
            let pass = if place.starts_with('X') { 1 } else { self.random.u32(1..=30) };
            points.push(format!("{place}:{pass}:{action}"));
        }
        let armed = points.join(",");
        let variables = [("TIDEMILL_TEST_FAILPOINT", &*armed)];
        self.mark()?;
        self.workers[worker].start(if armed.is_empty() { &[] } else { &variables })?;
        self.armed = (!armed.is_empty()).then_some(worker);
        Ok(())
    }

    /// Audits what a worker that does not run has on disk.
    pub(super) fn audit(&mut self, worker: usize) -> Result<(), BoxError> {
        let found = audit(&self.cluster, self.job, self.workers[worker].state_dir())?;
        self.audits += 1;
        self.audited.tasks += found.tasks;
        self.audited.entries += found.entries;
        self.problems.extend(found.problems);
        Ok(())
    }

    /// Waits for a random moment: mostly in normal work, at times while a worker is starting.
    fn wait_a_while(&mut self) -> Result<(), BoxError> {
        if self.random.u32(..3) > 0 {
            self.settle()?;
        }
        let pause = Duration::from_millis(self.random.u64(..1000));
        self.pause(pause)
    }

    fn pause(&mut self, pause: Duration) -> Result<(), BoxError> {
        let began = Instant::now();
        self.wait(pause + LOOK_EVERY, |_| Ok(began.elapsed() >= pause)).map(|_| ())
    }

    /// Remembers how far the job is: [`Chaos::settle`] waits for more.
    fn mark(&mut self) -> Result<(), BoxError> {
        self.since = (Instant::now(), self.watch.progress()?);
        self.coming_back = true;
        Ok(())
    }

    /// Waits until both workers run and every partition was committed since the mark.
    pub(super) fn settle(&mut self) -> Result<(), BoxError> {
        let (since, before) = self.since.clone();
        let back = self.wait(BACK_WITHIN, |chaos| {
            for worker in &mut chaos.workers {
                worker.check_running()?;
            }
            Ok(chaos.watch.progress()?.moved_everywhere(&before))
        })?;
        if !back {
            let now = self.watch.progress()?;
            let idle = format!(
                "or its partner does nothing: within {BACK_WITHIN:?} {before:?} became {now:?}"
            );
            return Err(self.workers[0].failure(&idle));
        }
        if self.coming_back {
            self.back_after.push(since.elapsed());
        }
        self.mark()?;
        self.coming_back = false;
        Ok(())
    }

    /// Waits for a condition; false if the time is up.
    pub(super) fn wait(
        &mut self,
        limit: Duration,
        mut condition: impl FnMut(&mut Self) -> Result<bool, BoxError>,
    ) -> Result<bool, BoxError> {
        let until = Instant::now() + limit;
        loop {
            self.interrupt.check()?;
            if Instant::now() >= self.deadline {
                return Err("the run takes longer than --minutes-max".into());
            }
            if condition(self)? {
                return Ok(true);
            }
            if Instant::now() >= until {
                return Ok(false);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn note(&mut self, fault: Fault, worker: usize, what: &str) {
        self.fired.push(fault);
        let kills = self.fired.iter().filter(|fault| fault.kills()).count();
        let kill = if fault.kills() { format!("kill {kills}: ") } else { String::new() };
        self.say(&format!("{kill}{} {fault}; {what}", self.workers[worker].name()));
    }

    pub(super) fn say(&self, text: &str) {
        report::line(format_args!("[{:6.1} s] {text}", self.began.elapsed().as_secs_f64()));
    }
}
