//! The time of faults: something happens to the cluster now and then while the inputs arrive.

use std::time::Duration;

use tidemill_broker::engine::MarkerTarget;

use super::cluster::Cluster;
use super::machine::Health;
use super::plan::{Event, STEPS};
use crate::client::embedded::Landing;
use crate::simulation::Violated;
use crate::simulation::storage::Disks;
use crate::simulation::world::{Armed, Trap};

/// How often the broker is looked at.
const LOOK: Duration = Duration::from_millis(40);
/// So many looks apart the disks are compared, besides after every death.
const LOOKS_PER_AUDIT: u32 = 25;

impl<D: Disks> Cluster<D> {
    /// Waits while others work, looking at them.
    pub(super) fn watch(&mut self, time: Duration) -> Result<(), Violated> {
        let until = self.scheduler().now() + time;
        let mut looks = 0;
        while self.scheduler().now() < until {
            let left = until - self.scheduler().now();
            self.scheduler().sleep(left.min(LOOK));
            // first, so that what is found then has its cause told
            self.note_traps()?;
            self.look()?;
            self.check_panics()?;
            looks += 1;
            if looks % LOOKS_PER_AUDIT == 0 {
                self.audit()?;
            }
        }
        Ok(())
    }

    /// Until this time faults happen.
    pub(super) fn disturb(&mut self, until: Duration) -> Result<(), Violated> {
        while self.scheduler().now() < until {
            let pause = u64::try_from(self.plan.pause.as_millis()).unwrap_or(1).max(2);
            let pause = Duration::from_millis(self.rng.u64(1..pause));
            self.watch(pause)?;
            let event = self.draw_event();
            self.cause(event)?;
            self.revive(500)?;
        }
        Ok(())
    }

    fn draw_event(&mut self) -> Event {
        let sum: u32 = self.plan.events.iter().map(|(_, weight)| weight).sum();
        let mut drawn = self.rng.u32(..sum.max(1));
        for (event, weight) in &self.plan.events {
            if drawn < *weight {
                return *event;
            }
            drawn -= weight;
        }
        Event::Nothing
    }

    fn cause(&mut self, event: Event) -> Result<(), Violated> {
        let alive = self.with_health(|health| matches!(health, Health::Starting | Health::Working));
        let Some(one) = self.any_of(&alive) else { return Ok(()) };
        match event {
            Event::Nothing => {}
            Event::Kill => self.kill(one)?,
            Event::KillAll => {
                for machine in alive {
                    self.kill(machine)?;
                }
            }
            Event::KillAtStep => self.arm(one, Trap::Kill),
            Event::Freeze => {
                let time = self.freeze_time();
                self.tell("freeze", format!("freeze {} for {time:?}", self.name(one)));
                self.machines[one].freeze(time);
            }
            Event::FreezeAtStep => {
                let time = self.freeze_time();
                self.arm(one, Trap::Freeze(time));
            }
            Event::Join => {
                if alive.len() < self.plan.machines + 2 {
                    let new = self.add_machine();
                    self.tell("join", format!("{} joins", self.name(new)));
                    self.machines[new].start();
                }
            }
            Event::Stop => {
                let stay = self.rng.bool();
                self.tell("stop", format!("stop {} (stay {stay})", self.name(one)));
                self.machines[one].stop(stay);
            }
            Event::BrokerCrash => self.crash_broker()?,
            Event::HoldMarkers => self.hold_markers(),
            Event::LateEnd => {
                let trap = self.late_end();
                self.arm_at("S4", one, trap);
            }
            Event::TimeOutTransaction => self.time_out_transaction(),
            Event::Disk => {
                let Some(process) = self.machines[one].process() else { return Ok(()) };
                let what = self.equipment.disks.break_soon(process, &mut self.rng);
                self.tell("disk", format!("disk of {}: {what}", self.name(one)));
            }
            Event::WallClock => {
                let step = self.rng.i64(-3_600_000..3_600_000);
                self.tell("clock", format!("the wall clock steps by {step} ms"));
                let clock = &self.equipment.surroundings.wall_step;
                clock.set(clock.get() + step);
            }
            Event::LoseState => {
                self.kill(one)?;
                self.tell("lost state", format!("the disk of {} is lost", self.name(one)));
                self.equipment.disks.remove(&self.machines[one].state_dir);
            }
        }
        Ok(())
    }

    fn kill(&mut self, machine: usize) -> Result<(), Violated> {
        self.tell("kill", format!("kill {}", self.name(machine)));
        self.machines[machine].kill();
        self.audit()
    }

    fn freeze_time(&mut self) -> Duration {
        let config = &self.plan.config;
        let (session, transaction) = (config.session_timeout, config.transaction_timeout);
        let least = match self.rng.u8(..4) {
            0 => Duration::from_millis(10),
            1 => session,
            2 => transaction,
            _ => session + transaction,
        };
        least + Duration::from_millis(self.rng.u64(..1_500))
    }

    /// Late by some time, or until the next transaction is half done.
    fn late_end(&mut self) -> Trap {
        let landing = match self.rng.u8(..4) {
            0 => return Trap::LateEnd(Duration::from_millis(self.rng.u64(100..3_000))),
            1 => Landing::Offsets,
            _ => Landing::Records(self.rng.u32(1..4)),
        };
        let may_kill = self.plan.events.iter().any(|(event, _)| *event == Event::Kill);
        Trap::StrayEnd { landing, kill: may_kill && self.rng.bool() }
    }

    fn arm(&mut self, machine: usize, trap: Trap) {
        let step = STEPS[self.rng.usize(..STEPS.len())];
        self.arm_at(step, machine, trap);
    }

    fn arm_at(&mut self, step: &'static str, machine: usize, trap: Trap) {
        let Some(process) = self.machines[machine].process() else { return };
        let pass = self.rng.u32(1..6);
        let armed = Armed { step, pass, trap };
        self.equipment.surroundings.armed.borrow_mut().insert(process, armed);
    }

    /// Notes which traps went off since, and looks at what they left.
    pub(super) fn note_traps(&mut self) -> Result<(), Violated> {
        let sprung = std::mem::take(&mut *self.equipment.surroundings.sprung.borrow_mut());
        if sprung.is_empty() {
            return Ok(());
        }
        for (process, armed) in sprung {
            let machine = self.machines.iter().find(|one| one.process() == Some(process));
            let name = machine.map_or_else(String::new, |machine| machine.name.clone());
            let Armed { step, trap, .. } = armed;
            let count = match trap {
                Trap::Kill => "kill at step",
                Trap::Freeze(_) => "freeze at step",
                Trap::LateEnd(_) => "late end",
                Trap::StrayEnd { .. } => "stray end",
                Trap::Torn => "torn transaction",
            };
            self.tell(count, format!("{trap:?} {name} at {step}"));
        }
        self.audit()
    }

    fn crash_broker(&mut self) -> Result<(), Violated> {
        if !self.operator.0.is_up() {
            return Ok(());
        }
        let down = Duration::from_millis(self.rng.u64(5..3_000));
        self.tell("broker crash", format!("the broker is down for {down:?}"));
        self.look()?;
        self.operator.0.crash();
        let network = self.operator.0.clone();
        let back = self.scheduler().now() + down;
        self.scheduler().at(back, move || network.restart());
        Ok(())
    }

    fn hold_markers(&mut self) {
        let now = self.operator.0.now();
        let until = now + self.rng.i64(50..4_000);
        let group = self.application_id().to_owned();
        let mut targets =
            self.operator
                .0
                .with_engine(|engine| {
                    let topics = engine.topics().iter().flat_map(|(topic, described)| {
                        (0..described.partition_count()).map(move |partition| {
                            MarkerTarget::Partition { topic: topic.to_owned(), partition }
                        })
                    });
                    topics.collect::<Vec<_>>()
                })
                .unwrap_or_default();
        targets.push(MarkerTarget::Group(group));
        // one alone, or all but one: what a transaction wrote becomes visible in pieces
        let one = self.rng.usize(..targets.len());
        let alone = self.rng.bool();
        let held = targets.into_iter().enumerate().filter(|(index, _)| (*index == one) == alone);
        let held: Vec<_> = held.map(|(_, target)| target).collect();
        self.tell("held markers", format!("markers of {} targets wait", held.len()));
        self.operator.0.with_engine(|engine| {
            held.into_iter().for_each(|target| engine.hold_markers(target, until));
        });
    }

    fn time_out_transaction(&mut self) {
        let now = self.operator.0.now();
        let ids = self.operator.0.with_engine(|engine| {
            engine.transactions().iter().map(|(id, _)| id.to_owned()).collect::<Vec<_>>()
        });
        let ids = ids.unwrap_or_default();
        if ids.is_empty() {
            return;
        }
        let id = ids[self.rng.usize(..ids.len())].clone();
        self.tell("time out", format!("transaction {id} times out"));
        self.operator.0.with_engine(|engine| engine.time_out_transaction(now, &id));
    }

    /// Starts what has ended, each with some probability.
    pub(super) fn revive(&mut self, of_thousand: u32) -> Result<(), Violated> {
        for machine in 0..self.machines.len() {
            let health = self.machines[machine].health();
            if let Health::Ended { error } = &health {
                if let Some(error) = error {
                    self.judge(machine, error)?;
                    self.tell("process failed", format!("{} failed: {error}", self.name(machine)));
                }
                self.machines[machine].clear();
            }
            let off = self.machines[machine].health() == Health::Off;
            if off && self.rng.u32(..1_000) < of_thousand {
                self.tell("start", format!("start {}", self.name(machine)));
                self.machines[machine].start();
            }
        }
        Ok(())
    }
}
