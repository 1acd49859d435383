//! The client seam over the embedded broker's engine: what a simulated process talks to Kafka with.
//!
//! The clients in here behave as librdkafka does behind the types of `client::kafka`: the same
//! requests in the same order, the same repetitions, the same codes, severities and events. They
//! are built of fibers instead of threads, and what they say goes over a simulated [`Network`].
//!
//! Where librdkafka has a weakness that Tidemill guards against, it is here too: an end of a
//! transaction is repeated on a new connection while the first one may still be on its way
//! (KAFKA-17754), and after an abort sequence numbers of lost requests are used again.

mod admin;
mod consumer;
mod leave;
mod link;
mod message;
mod network;
mod options;
mod producer;
mod records;
mod requests;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use admin::Admin;
pub(crate) use consumer::{Consumer, GroupMetadata, PartitionReader};
pub(crate) use message::Message;
pub(crate) use network::{Landing, Latency, Network};
pub(crate) use producer::Producer;

use self::link::Link;
use self::options::Timing;
use super::error::ClientError;
use super::kafka::LeaveError;
use super::seam::Connector;
use super::types::ClientConfig;
use super::waker::Waker;
use crate::simulation::fiber::ProcessId;

/// Makes the clients of one simulated process.
#[derive(Clone)]
pub(crate) struct Embedded(Rc<Inner>);

struct Inner {
    network: Network,
    process: ProcessId,
    producers: Cell<u32>,
}

impl Embedded {
    pub(crate) fn new(network: &Network, process: ProcessId) -> Self {
        let network = network.clone();
        Self(Rc::new(Inner { network, process, producers: Cell::new(0) }))
    }

    fn network(&self) -> &Network {
        &self.0.network
    }

    fn process(&self) -> ProcessId {
        self.0.process
    }

    /// Numbers producers, so that a handle of one is not taken for another's.
    fn next_producer(&self) -> u32 {
        let next = self.0.producers.get();
        self.0.producers.set(next.wrapping_add(1));
        next
    }

    fn link(&self, client_id: &str, timing: Timing, errors: Rc<RefCell<Vec<i32>>>) -> Link {
        Link::new(&self.0.network, self.0.process, client_id, timing, errors)
    }
}

impl Connector for Embedded {
    type Message = Message;
    type GroupMetadata = GroupMetadata;
    type Reader = PartitionReader;
    type Consumer = Consumer;
    type Producer = Producer;
    type Admin = Admin;

    fn consumer(&self, config: &ClientConfig, waker: Arc<Waker>) -> Result<Consumer, ClientError> {
        Consumer::new(self, config, waker)
    }

    fn producer(&self, config: &ClientConfig) -> Result<Producer, ClientError> {
        Producer::new(self, config)
    }

    fn admin(&self, config: &ClientConfig) -> Result<Admin, ClientError> {
        Admin::new(self, config)
    }

    fn leave_group(
        &self,
        config: &ClientConfig,
        group: &str,
        instance_id: &str,
        timeout: Duration,
    ) -> Result<(), LeaveError> {
        leave::leave_group(self, config, group, instance_id, timeout)
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("process", &self.0.process).finish_non_exhaustive()
    }
}
