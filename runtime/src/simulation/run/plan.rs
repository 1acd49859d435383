//! What a seed stands for: the size of the cluster, its settings, and the mood of the faults.

use std::time::Duration;

use fastrand::Rng;
use tidemill_broker::fault::Intensity;

use crate::config::Config;
use crate::simulation::faults::Faults;

/// The steps of `docs/TRANSACTIONS.md` at which a process can be caught.
pub(super) const STEPS: &[&str] =
    &["S0", "S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "X1", "X2", "X3"];

/// Everything about a run that is decided before it begins.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) machines: usize,
    pub(super) config: Config,
    pub(super) network: Option<(u64, Intensity)>,
    /// The longest pause between two events.
    pub(super) pause: Duration,
    /// Of a thousand events, how many each kind has.
    pub(super) events: Vec<(Event, u32)>,
    /// How long the inputs take to arrive.
    pub(super) feeding: Duration,
}

/// Something that happens to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    Nothing,
    Kill,
    KillAtStep,
    KillAll,
    Freeze,
    FreezeAtStep,
    Join,
    Stop,
    BrokerCrash,
    HoldMarkers,
    TimeOutTransaction,
    LateEnd,
    Disk,
    WallClock,
    LoseState,
}

impl Plan {
    pub(super) fn draw(
        rng: &mut Rng,
        faults: Faults,
        machines: usize,
        records: usize,
        config: Config,
    ) -> Self {
        let network = faults.network.then(|| {
            let moods = [Intensity::Rare, Intensity::Normal, Intensity::Normal, Intensity::Fierce];
            (rng.u64(..), moods[rng.usize(..moods.len())])
        });
        let pace = Duration::from_millis(rng.u64(10..120));
        let feeding = pace * u32::try_from(records).unwrap_or(u32::MAX).min(400);
        Self {
            machines,
            config: settings(rng, config),
            network,
            pause: Duration::from_millis(rng.u64(100..3_000)),
            events: events(rng, faults),
            feeding,
        }
    }
}

/// Every kind that is allowed, each more or less likely than in other runs.
fn events(rng: &mut Rng, faults: Faults) -> Vec<(Event, u32)> {
    use Event::{
        BrokerCrash, Disk, Freeze, FreezeAtStep, HoldMarkers, Join, Kill, KillAll, KillAtStep,
        LateEnd, LoseState, Nothing, Stop, TimeOutTransaction, WallClock,
    };
    let kinds = [
        (true, Nothing, 100),
        (faults.kills, Kill, 150),
        (faults.kills, KillAtStep, 300),
        (faults.kills, KillAll, 40),
        (faults.kills && faults.disk, LoseState, 60),
        (faults.freezes, Freeze, 150),
        (faults.freezes, FreezeAtStep, 150),
        (faults.members, Join, 100),
        (faults.members, Stop, 100),
        (faults.broker, BrokerCrash, 60),
        (faults.network, HoldMarkers, 100),
        (faults.network, TimeOutTransaction, 60),
        (faults.network, LateEnd, 150),
        (faults.disk, Disk, 60),
        (faults.clock, WallClock, 60),
    ];
    let allowed = kinds.into_iter().filter(|(allowed, ..)| *allowed);
    allowed.map(|(_, event, weight)| (event, rng.u32(..weight * 2))).collect()
}

/// Settings under which everything happens within seconds.
fn settings(rng: &mut Rng, config: Config) -> Config {
    let millis =
        |rng: &mut Rng, choices: &[u64]| Duration::from_millis(choices[rng.usize(..choices.len())]);
    let session = millis(rng, &[2_000, 4_000, 6_000]);
    config
        .with_commit_interval(millis(rng, &[10, 30, 100, 100, 500]))
        .with_transaction_timeout(millis(rng, &[2_000, 5_000, 10_000]))
        .with_session_timeout(session)
        .with_heartbeat_interval(session / 4)
        .with_max_poll_interval(millis(rng, &[15_000, 30_000]))
        .with_poll(millis(rng, &[20, 100]))
        .with_repartition_purge_interval(millis(rng, &[200, 2_000, 30_000]))
        .with_static_membership(rng.u8(..4) > 0)
        .with_num_stream_threads(1 + usize::from(rng.u8(..4) == 0))
}
