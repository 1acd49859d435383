//! The disks of simulated machines: in memory, or real databases in a folder.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use fastrand::Rng;
use tidemill_core::record::TaskId;

use super::fiber::{ProcessId, Scheduler};
use super::world::Surroundings;
use crate::storage::audit::{TaskDump, dump};
use crate::storage::seam::Disk;
use crate::storage::{
    DiskCall, DiskFault, Drive, HookedRocks, MemoryDisk, RocksDrive, SharedRocks,
};

/// Of a thousand calls of the disk, so many take a while.
const SLOW_OF_THOUSAND: u32 = 20;

/// The disks of all machines.
pub(super) trait Disks: 'static {
    type Disk: Disk;

    /// Gives them to a process that starts.
    fn mount(&self, process: ProcessId) -> Self::Disk;

    /// The process is dead: nothing of it reaches the disks any more.
    fn died(&self, disk: &Self::Disk);

    /// Where state directories are.
    fn root(&self) -> &Path;

    /// Reads what a restart would find of a task; `None` if there is nothing.
    fn dump(&self, directory: &Path, task: TaskId) -> Option<TaskDump>;

    /// Whether that is possible while a process has the directory.
    fn dumps_while_open(&self) -> bool;

    /// Has something fail soon; says what.
    fn break_soon(&self, process: ProcessId, rng: &mut Rng) -> String;

    /// Nothing fails any more.
    fn repair(&self);

    /// Deletes a state directory that no process has.
    fn remove(&self, state_dir: &Path);
}

/// What happens to the calls of processes: some take a while, some fail.
#[derive(Clone)]
struct Weather {
    scheduler: Scheduler,
    /// Which call of a process fails, counted from now, and how.
    pending: Rc<RefCell<BTreeMap<ProcessId, (u32, DiskFault)>>>,
}

impl Weather {
    fn new(scheduler: &Scheduler) -> Self {
        Self { scheduler: scheduler.clone(), pending: Rc::default() }
    }

    /// What a process' disk asks before each call.
    fn hook(&self, process: ProcessId) -> impl Fn(DiskCall) -> Option<DiskFault> + 'static {
        let Self { scheduler, pending } = self.clone();
        move |call| {
            scheduler.end_if_killed();
            let is_read = matches!(call, DiskCall::Read(_));
            if !is_read && !std::thread::panicking() && scheduler.chance(SLOW_OF_THOUSAND) {
                let micros = scheduler.random(|rng| rng.u64(..5_000));
                scheduler.sleep(std::time::Duration::from_micros(micros));
            }
            let mut pending = pending.borrow_mut();
            let (calls, fault) = pending.get_mut(&process)?;
            *calls -= 1;
            let fault = (*calls == 0).then_some(*fault)?;
            pending.remove(&process);
            Some(fault)
        }
    }

    fn break_soon(&self, process: ProcessId, rng: &mut Rng) -> String {
        let faults = [DiskFault::Refused, DiskFault::DoneButFailed, DiskFault::Damaged];
        let (calls, fault) = (rng.u32(1..30), faults[rng.usize(..faults.len())]);
        self.pending.borrow_mut().insert(process, (calls, fault));
        format!("call {calls} from now is {fault:?}")
    }

    fn repair(&self) {
        self.pending.borrow_mut().clear();
    }
}

/// Disks in memory.
pub(super) struct MemoryDisks {
    drive: Drive,
    root: PathBuf,
    weather: Weather,
}

impl MemoryDisks {
    pub(super) fn new(scheduler: &Scheduler, surroundings: &Rc<Surroundings>) -> Self {
        let (clock, surroundings) = (scheduler.clone(), Rc::clone(surroundings));
        Self {
            drive: Drive::new(move || surroundings.wall_clock(clock.now())),
            root: PathBuf::from("/simulated"),
            weather: Weather::new(scheduler),
        }
    }
}

impl Disks for MemoryDisks {
    type Disk = MemoryDisk;

    fn mount(&self, process: ProcessId) -> MemoryDisk {
        self.drive.mount(self.weather.hook(process))
    }

    fn died(&self, disk: &MemoryDisk) {
        disk.kill();
    }

    fn root(&self) -> &Path {
        &self.root
    }

    fn dump(&self, directory: &Path, task: TaskId) -> Option<TaskDump> {
        self.drive.dump(directory, task)
    }

    fn dumps_while_open(&self) -> bool {
        true
    }

    fn break_soon(&self, process: ProcessId, rng: &mut Rng) -> String {
        self.weather.break_soon(process, rng)
    }

    fn repair(&self) {
        self.weather.repair();
    }

    fn remove(&self, state_dir: &Path) {
        self.drive.remove(state_dir);
    }
}

/// Real databases in a folder of the machine that runs the simulation.
pub(super) struct RealDisks {
    drive: RocksDrive,
    root: PathBuf,
    weather: Weather,
}

/// A folder that is ready for a simulation.
pub(super) struct Folder {
    root: PathBuf,
    shared: SharedRocks,
}

impl Folder {
    /// Uses a folder, which is emptied first.
    pub(super) fn prepare(root: &Path) -> Result<Self, String> {
        let text = |error: std::io::Error| format!("{}: {error}", root.display());
        if root.exists() {
            std::fs::remove_dir_all(root).map_err(text)?;
        }
        std::fs::create_dir_all(root).map_err(text)?;
        let shared = SharedRocks::new(8 << 20, 8 << 20, NonZeroU32::MIN);
        let shared = shared.map_err(|error| error.to_string())?;
        Ok(Self { root: root.to_owned(), shared })
    }
}

impl RealDisks {
    pub(super) fn new(
        folder: Folder,
        scheduler: &Scheduler,
        surroundings: &Rc<Surroundings>,
    ) -> Self {
        let (clock, surroundings) = (scheduler.clone(), Rc::clone(surroundings));
        let wall_clock = move || surroundings.wall_clock(clock.now());
        Self {
            drive: RocksDrive::new(folder.shared, wall_clock),
            root: folder.root,
            weather: Weather::new(scheduler),
        }
    }
}

impl Disks for RealDisks {
    type Disk = HookedRocks;

    fn mount(&self, process: ProcessId) -> HookedRocks {
        self.drive.mount(self.weather.hook(process))
    }

    fn died(&self, disk: &HookedRocks) {
        disk.kill();
    }

    fn root(&self) -> &Path {
        &self.root
    }

    fn dump(&self, directory: &Path, task: TaskId) -> Option<TaskDump> {
        // what can't be read has no contents that could be wrong: the next process wipes it
        dump(&directory.join(task.to_string())).ok()
    }

    fn dumps_while_open(&self) -> bool {
        false
    }

    fn break_soon(&self, process: ProcessId, rng: &mut Rng) -> String {
        self.weather.break_soon(process, rng)
    }

    fn repair(&self) {
        self.weather.repair();
    }

    fn remove(&self, state_dir: &Path) {
        // gone is gone
        let _ = std::fs::remove_dir_all(state_dir);
    }
}
