//! The simulated cluster: machines, their disk, the broker, and what was seen of them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use tidemill_core::record::TaskId;
use tidemill_core::topology::SubTopology;

use super::audit;
use super::broker::Operator;
use super::machine::{Equipment, Health, Machine};
use super::plan::Plan;
use crate::simulation::fiber::Scheduler;
use crate::simulation::observe::{Observer, View};
use crate::simulation::storage::Disks;
use crate::simulation::{Invariant, Violated};

pub(super) struct Cluster<D: Disks> {
    pub(super) machines: Vec<Machine<D>>,
    pub(super) equipment: Rc<Equipment<D>>,
    pub(super) operator: Operator,
    pub(super) observer: Rc<RefCell<Observer>>,
    pub(super) subs: Vec<SubTopology>,
    pub(super) invariants: Rc<[Invariant]>,
    pub(super) rng: Rng,
    pub(super) plan: Plan,
    /// What happened, with the time.
    pub(super) story: Vec<(Duration, String)>,
    pub(super) counts: BTreeMap<&'static str, u64>,
}

impl<D: Disks> Cluster<D> {
    pub(super) fn scheduler(&self) -> &Scheduler {
        self.equipment.network.scheduler()
    }

    pub(super) fn application_id(&self) -> &str {
        &self.equipment.config.application_id
    }

    pub(super) fn tell(&mut self, count: &'static str, what: impl Into<String>) {
        let what = what.into();
        tracing::debug!(at = ?self.scheduler().now(), what);
        *self.counts.entry(count).or_default() += 1;
        self.story.push((self.scheduler().now(), what));
    }

    pub(super) fn add_machine(&mut self) -> usize {
        let name = format!("m{}", self.machines.len() + 1);
        let state_dir = self.equipment.disks.root().join(&name);
        self.machines.push(Machine::new(name, state_dir, &self.equipment));
        self.machines.len() - 1
    }

    pub(super) fn name(&self, machine: usize) -> &str {
        &self.machines[machine].name
    }

    /// The machines whose process is in such a state.
    pub(super) fn with_health(&self, wanted: impl Fn(&Health) -> bool) -> Vec<usize> {
        let of = self.machines.iter().enumerate();
        of.filter(|(_, machine)| wanted(&machine.health())).map(|(index, _)| index).collect()
    }

    pub(super) fn any_of(&mut self, machines: &[usize]) -> Option<usize> {
        (!machines.is_empty()).then(|| machines[self.rng.usize(..machines.len())])
    }

    /// Looks at the broker: what is committed, and that nothing goes back. Where offsets and
    /// records are of one moment, also asks every invariant.
    pub(super) fn look(&mut self) -> Result<(), Violated> {
        let bounded = self.equipment.surroundings.bounds.borrow().check();
        bounded.map_err(Violated::of_invariant)?;
        let group = self.equipment.config.application_id.clone();
        let mut observer = self.observer.borrow_mut();
        let looked = self.operator.0.with_engine(|engine| {
            observer.look(engine, &group).map(|()| Observer::is_consistent(engine))
        });
        drop(observer);
        match looked {
            // the broker is down
            None => Ok(()),
            Some(Err(what)) => Err(Violated::of_invariant(what)),
            Some(Ok(false)) => Ok(()),
            Some(Ok(true)) => self.ask(false),
        }
    }

    /// Asks every invariant.
    pub(super) fn ask(&self, is_final: bool) -> Result<(), Violated> {
        let observer = self.observer.borrow();
        let view = View { observer: &observer, application_id: self.application_id(), is_final };
        for (name, holds) in &*self.invariants {
            holds(&view).map_err(|detail| Violated { invariant: name.clone(), detail })?;
        }
        Ok(())
    }

    /// Compares every database on every disk with its changelog (INV-2).
    pub(super) fn audit(&mut self) -> Result<(), Violated> {
        self.look()?;
        let consistent = self.operator.0.with_engine(|engine| Observer::is_consistent(engine));
        let Some(consistent) = consistent else { return Ok(()) };
        let application_id = self.application_id();
        for machine in &self.machines {
            if !self.equipment.disks.dumps_while_open() && machine.health() != Health::Off {
                continue;
            }
            for sub in &self.subs {
                for task in self.tasks_of(sub) {
                    let directory = machine.state_dir.join(application_id);
                    let dump = self.equipment.disks.dump(&directory, task);
                    let Some(dump) = dump else { continue };
                    let observer = self.observer.borrow();
                    let checked =
                        audit::check(&observer, application_id, sub, task, &dump, consistent);
                    checked.map_err(|what| {
                        Violated::of_invariant(format!("{what} (on {})", machine.name))
                    })?;
                }
            }
        }
        Ok(())
    }

    fn tasks_of(&self, sub: &SubTopology) -> Vec<TaskId> {
        let topics =
            sub.source_topics.iter().map(|(topic, _)| topic.resolve(self.application_id()));
        let count = topics.map(|topic| self.observer.borrow().partitions_of(&topic).count()).max();
        let count = i32::try_from(count.unwrap_or(0)).unwrap_or(0);
        (0..count).map(|n| TaskId::new(sub.id, tidemill_core::record::Partition(n))).collect()
    }

    /// Looks for what no fault excuses: a panic.
    pub(super) fn check_panics(&self) -> Result<(), Violated> {
        let panics = self.scheduler().take_panics();
        let Some((process, fiber, text)) = panics.into_iter().next() else { return Ok(()) };
        let detail = format!("{fiber} of process {} panicked: {text}", process.number());
        Err(Violated { invariant: "no thread panics".to_owned(), detail })
    }

    /// Judges why a process ended by itself. Being driven out or losing a disk is no bug.
    pub(super) fn judge(&self, machine: usize, error: &str) -> Result<(), Violated> {
        let detail = format!("{}: {error}", self.name(machine));
        if let Some(at) = error.find("INV-") {
            let violated = Violated::of_invariant(error[at..].to_owned());
            return Err(Violated { detail, ..violated });
        }
        if error.contains("panicked") {
            return Err(Violated { invariant: "no worker panics".to_owned(), detail });
        }
        Ok(())
    }
}
