//! What the example programs share: their topologies, and the tools that run and check them.
//!
//! * [`balances`]: account balances from transactions, the topology behind `balances`, `demo`,
//!   `chaos` and the benchmarks;
//! * [`cluster`], [`job`], [`generate`], [`lag`], [`processes`]: topics, load, progress, workers;
//! * [`embedded`], [`role`], [`worker`]: the broker and the workers, as processes of one program;
//! * [`audit`], [`witness`]: local state and visible records while things break;
//! * [`stage`]: a broker, a PostgreSQL and services that can be killed, for the cures of the
//!   dual-write problem;
//! * [`service`]: what these services have in common, and the plan by which they are killed;
//! * [`rewards`]: points for orders, the topology that programs with orders share;
//! * [`verify`]: an independent computation of what must have come out, and the comparison;
//! * [`report`]: the only place that prints.

pub mod audit;
pub mod balances;
pub mod cluster;
pub mod embedded;
pub mod generate;
pub mod interrupt;
pub mod job;
pub mod lag;
pub mod processes;
pub mod report;
pub mod rewards;
pub mod role;
pub mod service;
pub mod stage;
pub mod verify;
pub mod witness;
pub mod worker;
