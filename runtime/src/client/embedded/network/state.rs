//! What the network remembers: connections, the engine, its journal.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Weak;
use std::time::Duration;

use kafka_protocol::messages::RequestKind;
use tidemill_broker::engine::{Engine, EngineConfig, Millis, Ticket};
use tidemill_broker::fault::Faults;
use tidemill_broker::journal;

use super::stray::Stray;
use super::{ConnectionId, Endpoint};
use crate::simulation::fiber::ProcessId;

pub(super) struct State {
    pub(super) config: EngineConfig,
    /// `None` while the broker is down.
    pub(super) engine: Option<Engine>,
    /// What is on the broker's disk.
    pub(super) journal: Vec<journal::Entry>,
    pub(super) faults: Faults,
    pub(super) connections: BTreeMap<ConnectionId, Connection>,
    /// Requests that the engine answers later.
    pub(super) tickets: BTreeMap<Ticket, Asked>,
    /// When the engine is called next without a request.
    pub(super) timer: Option<Millis>,
    /// The request that goes astray.
    pub(super) stray: Option<Stray>,
    /// How often the broker died.
    pub(super) crashes: u32,
    next: u64,
}

/// Who waits for an answer, and for which.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) connection: ConnectionId,
    pub(super) correlation: u64,
    /// What a fault makes of the answer.
    pub(super) told: Told,
}

/// How an answer gets back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    AtOnce,
    At(Millis),
    Never,
    /// The connection is closed instead.
    Reset,
}

/// A request on its way.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) correlation: u64,
    pub(super) version: i16,
    pub(super) request: RequestKind,
}

pub(super) struct Connection {
    pub(super) process: ProcessId,
    pub(super) client_id: String,
    pub(super) endpoint: Weak<dyn Endpoint>,
    pub(super) client_open: bool,
    pub(super) broker_open: bool,
    /// Nothing gets through any more.
    pub(super) cut: bool,
    /// When the last thing sent arrives, each way.
    pub(super) to_broker: Duration,
    pub(super) to_client: Duration,
    /// Requests that arrived behind one that is being handled.
    pub(super) frames: VecDeque<Frame>,
    /// Whether the broker is at one.
    pub(super) busy: bool,
}

impl Connection {
    pub(super) fn broker_closes(&mut self) {
        self.broker_open = false;
        self.frames.clear();
        self.busy = false;
    }
}

impl State {
    pub(super) fn new(config: EngineConfig) -> Self {
        Self {
            engine: Some(Engine::new(config.clone())),
            config,
            journal: Vec::new(),
            faults: Faults::plan(),
            connections: BTreeMap::new(),
            tickets: BTreeMap::new(),
            timer: None,
            stray: None,
            crashes: 0,
            next: 0,
        }
    }

    pub(super) fn open(
        &mut self,
        process: ProcessId,
        client_id: &str,
        endpoint: Weak<dyn Endpoint>,
    ) -> ConnectionId {
        self.next += 1;
        let id = ConnectionId(self.next);
        let connection = Connection {
            process,
            client_id: client_id.to_owned(),
            endpoint,
            client_open: true,
            broker_open: false,
            cut: false,
            to_broker: Duration::ZERO,
            to_client: Duration::ZERO,
            frames: VecDeque::new(),
            busy: false,
        };
        self.connections.insert(id, connection);
        id
    }

    pub(super) fn of_process(&self, process: ProcessId) -> Vec<ConnectionId> {
        let of = self.connections.iter().filter(|(_, one)| one.process == process);
        of.map(|(id, _)| *id).collect()
    }
}
