//! The world as a value: time, waiting, the broker and the disk. Whoever has something to do with
//! them is given one; nothing else in the runtime reads a clock, waits or opens anything.
//!
//! Two worlds ship: [`SystemWorld`] is the operating system, Apache Kafka and RocksDB; the
//! simulation's runs whole processes in one thread, under a clock of its own, in an order that a
//! seed decides. Which one is known when the program is compiled.
//!
//! A method that waits may, in the simulation, never return: the process is killed there. It then
//! unwinds, and whoever catches a panic has [`World::caught`] look at it first.

use std::any::Any;
use std::time::{Duration, Instant};

use tidemill_core::record::Timestamp;

use crate::client::seam::Connector;
use crate::client::{KafkaConnector, Waker};
use crate::clock;
use crate::failpoint;
use crate::storage::RocksDisk;
use crate::storage::seam::Disk;

/// What a process can reach outside itself.
pub(crate) trait World: Clone + 'static {
    type Client: Connector;
    type Disk: Disk;

    /// Makes clients of the broker.
    fn client(&self) -> &Self::Client;

    /// Keeps what has to outlive the process.
    fn disk(&self) -> &Self::Disk;

    /// Returns the time of day in milliseconds since the Unix epoch: what punctuations see.
    fn wall_clock(&self) -> Timestamp;

    /// Returns the time that intervals and deadlines are measured with, so that a step of the wall
    /// clock moves neither. Never `elapsed()` on it: that asks the system's clock.
    fn monotonic(&self) -> Instant;

    /// Waits.
    fn sleep(&self, time: Duration);

    /// Waits until the waker is raised or the time is up, and lowers it; returns whether it was
    /// raised.
    fn wait(&self, waker: &Waker, timeout: Duration) -> bool;

    /// Passes a step of `docs/TRANSACTIONS.md`, where a test may stop the process.
    fn pass(&self, step: &'static str);

    /// Shows how much is held, with its bound, to whoever checks that (INV-11): in the simulation.
    /// Elsewhere nothing is measured.
    fn show_held(&self, _: &'static str, _held_and_bound: impl FnOnce() -> (usize, usize)) {}

    /// Looks at a panic that was caught. Comes back with it unless it is the end of the process.
    fn caught(&self, panic: Box<dyn Any + Send>) -> Box<dyn Any + Send>;
}

/// A consumer's messages in a world.
pub(crate) type MessageOf<W> = <<W as World>::Client as Connector>::Message;
/// A world's readers of partitions.
pub(crate) type ReaderOf<W> = <<W as World>::Client as Connector>::Reader;
/// A world's memberships.
pub(crate) type GroupMetadataOf<W> = <<W as World>::Client as Connector>::GroupMetadata;
/// A world's consumers.
pub(crate) type ConsumerOf<W> = <<W as World>::Client as Connector>::Consumer;
/// A world's producers.
pub(crate) type ProducerOf<W> = <<W as World>::Client as Connector>::Producer;
/// A world's administrators.
pub(crate) type AdminOf<W> = <<W as World>::Client as Connector>::Admin;
/// A world's state directories.
pub(crate) type DirectoryOf<W> = <<W as World>::Disk as Disk>::Directory;
/// A world's ownerships of tasks.
pub(crate) type LockOf<W> = <<W as World>::Disk as Disk>::Lock;
/// A world's databases of tasks.
pub(crate) type DbOf<W> = <<W as World>::Disk as Disk>::Db;
/// A world's restorers of tasks.
pub(crate) type RestorerOf<W> = <<W as World>::Disk as Disk>::Restorer;
/// A world's storage of running tasks.
pub(crate) type StorageOf<W> = <<W as World>::Disk as Disk>::Storage;

/// The operating system's clocks and threads, librdkafka and RocksDB.
#[derive(Debug, Clone)]
pub(crate) struct SystemWorld {
    client: KafkaConnector,
    disk: RocksDisk,
}

impl SystemWorld {
    pub(crate) fn new(disk: RocksDisk) -> Self {
        Self { client: KafkaConnector, disk }
    }
}

impl World for SystemWorld {
    type Client = KafkaConnector;
    type Disk = RocksDisk;

    #[inline]
    fn client(&self) -> &KafkaConnector {
        &self.client
    }

    #[inline]
    fn disk(&self) -> &RocksDisk {
        &self.disk
    }

    #[inline]
    fn wall_clock(&self) -> Timestamp {
        clock::wall_clock()
    }

    #[inline]
    fn monotonic(&self) -> Instant {
        clock::monotonic()
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn wait(&self, waker: &Waker, timeout: Duration) -> bool {
        waker.wait(timeout)
    }

    #[inline]
    fn pass(&self, step: &'static str) {
        failpoint::pass(step);
    }

    fn caught(&self, panic: Box<dyn Any + Send>) -> Box<dyn Any + Send> {
        panic
    }
}
