//! A run: clients come and go, are killed and paused, and everything is read at the end.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::client::{Spec, TOLD_TO};
use super::history::{Claims, ClientNumber, Event, History, Key, Mode, entries};
use super::topic::Topic;

pub(crate) const PARTITIONS: Key = 6;
const SLOTS: usize = 8;
/// How long clients may take to end in good order.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What was done to the clients, and what became of them.
#[derive(Debug, Default, Clone)]
pub(crate) struct Faults {
    pub(crate) kills: u32,
    /// Paused, and somebody else took the transactional id meanwhile.
    pub(crate) zombies: u32,
    pub(crate) pauses: u32,
    /// Why clients gave up: they lost their transactional id, or a call failed for good.
    pub(crate) gave_up: BTreeMap<String, u32>,
}

/// Runs clients against a broker for some time. `seed` decides who is to suffer what.
pub(crate) fn run(bootstrap: &str, seed: u64, duration: Duration) -> (History, Faults, TempDir) {
    let topic = Topic::create(bootstrap, PARTITIONS);
    let folder = TempDir::new().unwrap();
    let mut clients = Clients::start(&topic, seed, folder.path());
    let mut random = fastrand::Rng::with_seed(seed);
    let end = Instant::now() + duration;
    let mut next_fault = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        clients.resume_due();
        clients.replace_ended();
        if Instant::now() >= next_fault {
            clients.harm(&mut random);
            next_fault = Instant::now() + Duration::from_millis(random.u64(200..1200));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    clients.stop(&folder.path().join("stop"));
    let mut history = History::default();
    let mut claims = Claims::default();
    let mut faults = clients.faults.clone();
    for client in 1..clients.next {
        let entries = entries(&log_of(folder.path(), client));
        if let Some(Event::End { why }) = entries.last().map(|entry| &entry.event)
            && why != TOLD_TO
        {
            *faults.gave_up.entry(why.clone()).or_default() += 1;
        }
        history.add_client(&entries, &mut claims);
    }
    history.settle(&claims);
    topic.until_settled();
    history.last = topic.read_all();
    history.group = topic.committed();
    (history, faults, folder)
}

fn log_of(folder: &Path, client: ClientNumber) -> std::path::PathBuf {
    folder.join(format!("client-{client}.log"))
}

/// Whoever has a transactional id or had it.
struct Clients<'a> {
    topic: &'a Topic,
    seed: u64,
    folder: &'a Path,
    next: ClientNumber,
    owners: BTreeMap<usize, Process>,
    /// Those that are replaced already.
    zombies: Vec<Process>,
    faults: Faults,
}

struct Process {
    child: Child,
    resume_at: Option<Instant>,
}

impl Process {
    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        // it may have ended meanwhile
        let sent = Command::new("kill").args(["-s", name, &id]).stderr(Stdio::null()).status();
        sent.unwrap();
    }

    fn pause(&mut self, for_time: Duration) {
        self.signal("STOP");
        self.resume_at = Some(Instant::now() + for_time);
    }

    fn resume(&mut self) {
        self.signal("CONT");
        self.resume_at = None;
    }

    fn ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // it may have ended already
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl<'a> Clients<'a> {
    fn start(topic: &'a Topic, seed: u64, folder: &'a Path) -> Self {
        let (owners, zombies) = (BTreeMap::new(), Vec::new());
        let faults = Faults::default();
        let mut clients = Self { topic, seed, folder, next: 1, owners, zombies, faults };
        for slot in 0..SLOTS {
            clients.start_in(slot);
        }
        clients
    }

    /// Starts a client under the slot's transactional id, whoever has it.
    fn start_in(&mut self, slot: usize) {
        let client = self.next;
        self.next += 1;
        let spec = Spec {
            bootstrap: self.topic.bootstrap.clone(),
            topic: self.topic.name.clone(),
            partitions: PARTITIONS,
            group: self.topic.group(),
            client,
            transactional_id: format!("{}-{slot}", self.topic.name),
            mode: if slot < SLOTS / 2 { Mode::Subscribe } else { Mode::Assign },
            seed: self.seed,
            log: log_of(self.folder, client),
            stop: self.folder.join("stop"),
        };
        // there from the beginning, for a client that is killed before it runs
        std::fs::write(&spec.log, "").unwrap();
        let (variable, value) = spec.to_variable();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "client::client"])
            .env(variable, value)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let before = self.owners.insert(slot, Process { child, resume_at: None });
        self.zombies.extend(before);
    }

    fn harm(&mut self, random: &mut fastrand::Rng) {
        let slot = random.usize(0..SLOTS);
        let owner = self.owners.get_mut(&slot).expect("every slot has an owner");
        if owner.resume_at.is_some() {
            return;
        }
        match random.u32(0..10) {
            0..4 => {
                owner.child.kill().unwrap();
                self.faults.kills += 1;
                self.start_in(slot);
            }
            4..8 => {
                owner.pause(Duration::from_millis(random.u64(300..4000)));
                self.faults.zombies += 1;
                self.start_in(slot);
            }
            _ => {
                owner.pause(Duration::from_millis(random.u64(100..5000)));
                self.faults.pauses += 1;
            }
        }
    }

    fn resume_due(&mut self) {
        for process in self.owners.values_mut().chain(&mut self.zombies) {
            if process.resume_at.is_some_and(|at| at <= Instant::now()) {
                process.resume();
            }
        }
        self.zombies.retain_mut(|zombie| !zombie.ended());
    }

    fn replace_ended(&mut self) {
        let ended = |(slot, owner): (&usize, &mut Process)| owner.ended().then_some(*slot);
        let slots: Vec<usize> = self.owners.iter_mut().filter_map(ended).collect();
        for slot in slots {
            self.start_in(slot);
        }
    }

    /// Lets everybody end in good order; a client that hangs is a finding.
    fn stop(&mut self, stop: &Path) {
        std::fs::write(stop, "").unwrap();
        let deadline = Instant::now() + STOP_TIMEOUT;
        for process in self.owners.values_mut().chain(&mut self.zombies) {
            process.resume();
        }
        for process in self.owners.values_mut().chain(&mut self.zombies) {
            while !process.ended() {
                let id = process.child.id();
                assert!(Instant::now() < deadline, "client process {id} does not come to its end");
                std::thread::sleep(LOOK_EVERY);
            }
        }
    }
}
