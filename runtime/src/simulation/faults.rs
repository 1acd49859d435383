//! Which kinds of faults a simulation may inject.

/// What may go wrong in a simulation. When, how often and where follows from the seed.
///
/// ```
/// use tidemill::simulation::Faults;
/// let faults = Faults::all().without_disk();
/// assert_ne!(faults, Faults::all());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each kind is on or off, independently")]
pub struct Faults {
    pub(super) kills: bool,
    pub(super) freezes: bool,
    pub(super) members: bool,
    pub(super) network: bool,
    pub(super) broker: bool,
    pub(super) disk: bool,
    pub(super) clock: bool,
}

impl Faults {
    /// Everything: processes are killed at every step of a commit and anywhere else, stopped for
    /// longer than their sessions and transactions last, join and leave; requests and answers are
    /// lost, late, or late by a whole transaction; markers are delayed; coordinators move;
    /// transactions time out; the broker crashes; disks fail; clocks jump; state directories
    /// vanish.
    #[must_use]
    pub const fn all() -> Self {
        Self {
            kills: true,
            freezes: true,
            members: true,
            network: true,
            broker: true,
            disk: true,
            clock: true,
        }
    }

    /// Nothing goes wrong.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            kills: false,
            freezes: false,
            members: false,
            network: false,
            broker: false,
            disk: false,
            clock: false,
        }
    }

    /// No process is killed.
    #[must_use]
    pub const fn without_kills(mut self) -> Self {
        self.kills = false;
        self
    }

    /// No process is stopped and resumed.
    #[must_use]
    pub const fn without_freezes(mut self) -> Self {
        self.freezes = false;
        self
    }

    /// No process is added or stopped cleanly.
    #[must_use]
    pub const fn without_members(mut self) -> Self {
        self.members = false;
        self
    }

    /// Every request is performed and answered in time.
    #[must_use]
    pub const fn without_network(mut self) -> Self {
        self.network = false;
        self
    }

    /// The broker does not crash.
    #[must_use]
    pub const fn without_broker(mut self) -> Self {
        self.broker = false;
        self
    }

    /// Disks keep what they are given.
    #[must_use]
    pub const fn without_disk(mut self) -> Self {
        self.disk = false;
        self
    }

    /// The wall clock shows what it should.
    #[must_use]
    pub const fn without_clock(mut self) -> Self {
        self.clock = false;
        self
    }

    /// Only kills.
    #[must_use]
    pub const fn only_kills() -> Self {
        let mut faults = Self::none();
        faults.kills = true;
        faults
    }
}
