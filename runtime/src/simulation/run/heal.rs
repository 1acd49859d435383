//! The time after the faults: everything must come to an end.

use std::time::Duration;

use super::cluster::Cluster;
use super::machine::Health;
use crate::simulation::Violated;
use crate::simulation::storage::Disks;

/// Within this time after the last fault nothing is left to do: longer than every time-out of a
/// client or the broker, one after the other.
const HEAL_WITHIN: Duration = Duration::from_secs(240);
/// A clean stop takes no longer.
const STOP_WITHIN: Duration = Duration::from_secs(90);

impl<D: Disks> Cluster<D> {
    /// Ends all faults; everything that should run runs from now on.
    pub(super) fn end_faults(&mut self) -> Result<(), Violated> {
        self.tell("healing", "the faults end");
        self.operator.0.with_faults(tidemill_broker::fault::Faults::clear);
        self.operator.0.forget_stray();
        self.equipment.surroundings.armed.borrow_mut().clear();
        self.equipment.disks.repair();
        self.operator.0.restart();
        self.machines.iter().for_each(super::machine::Machine::thaw);
        self.revive(1_000)
    }

    /// Waits until nothing is left to do, and at least for `run_on`.
    pub(super) fn settle(&mut self, sources: &[String], run_on: Duration) -> Result<(), Violated> {
        let earliest = self.scheduler().now() + run_on;
        let deadline = earliest + HEAL_WITHIN;
        let group = self.application_id().to_owned();
        loop {
            self.watch(Duration::from_millis(200))?;
            self.revive(1_000)?;
            let open = self.operator.open_ends(&group, sources);
            if self.scheduler().now() < earliest {
                continue;
            }
            let Some(open) = open else { return Ok(()) };
            if self.scheduler().now() >= deadline {
                let who = self.scheduler().dump();
                return Err(Violated {
                    invariant: "liveness: everything is processed after the faults".to_owned(),
                    detail: format!("after {HEAL_WITHIN:?} this is open:\n{open}\n{who}"),
                });
            }
        }
    }

    /// Stops everything cleanly.
    pub(super) fn stop_all(&mut self) -> Result<(), Violated> {
        self.tell("stopping", "everything stops");
        let deadline = self.scheduler().now() + STOP_WITHIN;
        loop {
            let running = self.with_health(|health| *health != Health::Off);
            if running.is_empty() {
                break;
            }
            for machine in running {
                match self.machines[machine].health() {
                    Health::Ended { error } => {
                        if let Some(error) = error {
                            self.judge(machine, &error)?;
                        }
                        self.machines[machine].clear();
                    }
                    _ => self.machines[machine].stop(false),
                }
            }
            self.watch(Duration::from_millis(50))?;
            if self.scheduler().now() >= deadline {
                return Err(Violated {
                    invariant: "liveness: a clean stop ends".to_owned(),
                    detail: self.scheduler().dump(),
                });
            }
        }
        self.audit()
    }
}
