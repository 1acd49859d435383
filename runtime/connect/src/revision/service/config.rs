//! What an instance of the service is told.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio_postgres::Config;

use crate::postgres::TableName;

/// The settings of an instance. All instances of one name share table and name, nothing else.
#[derive(Clone)]
pub struct RevisionServiceConfig {
    pub(super) database: Config,
    pub(super) name: String,
    pub(super) table: TableName,
    pub(super) listen: SocketAddr,
    pub(super) block: u32,
    pub(super) count_max: u32,
    pub(super) pool: usize,
    pub(super) timeout: Duration,
    pub(super) requests_max: usize,
}

/// The password of the database is not shown.
impl std::fmt::Debug for RevisionServiceConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RevisionServiceConfig")
            .field("name", &self.name)
            .field("table", &self.table)
            .field("listen", &self.listen)
            .field("block", &self.block)
            .field("count_max", &self.count_max)
            .field("pool", &self.pool)
            .field("timeout", &self.timeout)
            .field("requests_max", &self.requests_max)
            .finish_non_exhaustive()
    }
}

impl RevisionServiceConfig {
    /// A service for the counter of this name. It lies in the table `revision_counter`, which is
    /// made if there is none; the service listens on 127.0.0.1, on a port that is free.
    #[must_use]
    pub fn new(database: Config, name: &str) -> Self {
        Self {
            database,
            name: name.to_owned(),
            table: TableName::new("revision_counter").expect("it is a name"),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            block: 0,
            count_max: 10_000,
            pool: 2,
            timeout: Duration::from_secs(5),
            requests_max: 1_024,
        }
    }

    /// Keeps the counter in another table.
    #[must_use]
    pub fn with_table(mut self, table: TableName) -> Self {
        self.table = table;
        self
    }

    /// Listens there. Nobody is asked for a password: everything that reaches the address can use
    /// up numbers.
    #[must_use]
    pub fn with_listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Takes that many numbers in advance, and answers from them without the database. The order
    /// then holds within this instance only, so let a client ask one instance: one that is sent to
    /// another refuses smaller numbers. What is left when it ends is a gap. 0, the default:
    /// each request goes through the database, and the order is global.
    #[must_use]
    pub fn with_block(mut self, numbers: u32) -> Self {
        self.block = numbers;
        self
    }

    /// Refuses requests for more numbers at once. Default: 10,000.
    #[must_use]
    pub fn with_count_max(mut self, count: u32) -> Self {
        self.count_max = count.max(1);
        self
    }

    /// Has at most that many connections to PostgreSQL. Default: 2, one for the numbers and one for
    /// questions about health.
    #[must_use]
    pub fn with_pool(mut self, connections: usize) -> Self {
        self.pool = connections.max(1);
        self
    }

    /// Answers "try again" if a request takes longer. Default: 5 s.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.max(Duration::from_millis(10));
        self
    }

    /// Answers "try again" if more requests than that are waiting. Default: 1024.
    #[must_use]
    pub fn with_requests_max(mut self, requests: usize) -> Self {
        self.requests_max = requests.max(1);
        self
    }
}
