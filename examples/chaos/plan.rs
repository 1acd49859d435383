//! Which faults happen, in which order: a function of the seed.

use std::fmt;

/// Places of the commit protocol that every worker passes.
const PLACES: [&str; 10] = ["S0", "S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "X3"];
/// Places that only a worker passes that lost its partitions or was fenced.
const PLACES_OF_ZOMBIES: [&str; 2] = ["X1", "X2"];
/// Places in the middle of a commit, to fall asleep at.
const PLACES_TO_SLEEP: [&str; 4] = ["S2", "S3", "S4", "S5"];
/// In the middle of a commit a worker goes on with it when it wakes, and the answer tells it that
/// it was replaced; elsewhere the group may be the first to tell it, and nothing is left to abort.
const PLACE_TO_BE_REPLACED_AT: &str = "S2";

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// SIGKILL at any moment.
    Kill,
    /// SIGKILL at a place of the commit protocol.
    KillAt(&'static str),
    /// Stopped until the other worker took over, then woken.
    Zombie,
    /// The same, stopped in the middle of a commit.
    ZombieAt(&'static str),
    /// The same, and killed at the place where it learns that it was replaced.
    ZombieKilledAt(&'static str),
    /// The broker ends by SIGKILL and starts again.
    BrokerRestart,
}

impl Fault {
    /// Returns the fail points that the victim has to be started with: places and actions.
    pub(super) fn fail_points(self) -> Vec<(&'static str, &'static str)> {
        match self {
            Self::KillAt(place) => vec![(place, "kill")],
            Self::ZombieAt(place) => vec![(place, "stop")],
            Self::ZombieKilledAt(place) => vec![(PLACE_TO_BE_REPLACED_AT, "stop"), (place, "kill")],
            Self::Kill | Self::Zombie | Self::BrokerRestart => Vec::new(),
        }
    }

    /// Returns whether it counts as a kill.
    pub(super) fn kills(self) -> bool {
        matches!(self, Self::Kill | Self::KillAt(_) | Self::ZombieKilledAt(_))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill => f.write_str("SIGKILL"),
            Self::KillAt(place) => write!(f, "SIGKILL at {place}"),
            Self::Zombie => f.write_str("zombie"),
            Self::ZombieAt(place) => write!(f, "zombie, asleep at {place}"),
            Self::ZombieKilledAt(place) => write!(f, "zombie, SIGKILL at {place}"),
            Self::BrokerRestart => f.write_str("broker restart"),
        }
    }
}

/// Makes the plan: half of the kills at places of the commit protocol, each of them in turn; one
/// zombie and one broker restart for ten kills, at least one.
pub(super) fn plan(kills: u32, broker: bool, random: &mut fastrand::Rng) -> Vec<Fault> {
    let mut plan = Vec::new();
    let of_zombies = if kills >= 10 { (kills / 25).max(2) } else { 0 };
    for number in 0..of_zombies {
        plan.push(Fault::ZombieKilledAt(turn(&PLACES_OF_ZOMBIES, number)));
    }
    let at_places = kills / 2 - of_zombies.min(kills / 2);
    let first = random.u32(..10);
    plan.extend((0..at_places).map(|number| Fault::KillAt(turn(&PLACES, first + number))));
    plan.extend((of_zombies + at_places..kills).map(|_| Fault::Kill));
    let few = (kills / 10).max(1);
    for number in 0..few {
        plan.push(match number % 2 {
            0 => Fault::ZombieAt(turn(&PLACES_TO_SLEEP, first + number / 2)),
            _ => Fault::Zombie,
        });
    }
    if broker {
        plan.extend((0..few).map(|_| Fault::BrokerRestart));
    }
    random.shuffle(&mut plan);
    plan
}

fn turn(places: &[&'static str], number: u32) -> &'static str {
    places[number as usize % places.len()]
}
