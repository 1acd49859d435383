//! Change data capture: the changes of PostgreSQL tables, read from its log.
//!
//! [`CdcSource`] reads the log by logical replication (`pgoutput`) and publishes each change as an
//! envelope like Debezium's, through the loop of [`source`](crate::source).
//!
//! # What is promised
//! Every committed `INSERT`, `UPDATE` and `DELETE` (`TRUNCATE` if wanted) of the published tables
//! appears exactly once among the records that a `read_committed` consumer sees, for each key in
//! the order of commits, and all changes of a transaction become visible at once; unless the
//! transaction is larger than what is allowed, which is an error, or is split, which is a choice.
//! With [`Snapshot::Initial`] each row that was there already appears exactly once too, with `op`
//! `r`, after all changes that it contains and before all others; a crash in between changes
//! nothing about that.
//!
//! Positions lie between transactions, never inside, and PostgreSQL is told to forget its log only
//! up to what is committed in Kafka.
//!
//! # What it costs
//! `wal_level = logical`, a role with `REPLICATION`, and a replication slot. A slot keeps the
//! server's log while the source is away: watch
//! [`replication_slot_lag_bytes`](LogMetrics::replication_slot_lag_bytes), and bound it by
//! `max_slot_wal_keep_size` if losing the slot is better than a full disk. A position is written
//! though nothing changes ([`IdlePositions`]), so that traffic of other tables does not pile up.
//! While tables are read for the first time, the log waits.
//!
//! # What is not promised
//! * Order between keys of different partitions, and so between the two records of a row whose
//!   primary key changed.
//! * Rows before a change (`before`) beyond the key, unless the table has `REPLICA IDENTITY FULL`.
//! * Changes of the schema as such. A table's new shape shows in its next change, as a new
//!   `schema_version`.
//! * Changes made while the slot was lost. The source stops then; [`LogOperator`] reads the tables
//!   again, which tells of rows that are, not of rows that were deleted meanwhile.
//! * To notice a database that was set back to an older state by a copy of its files and has
//!   written more log than before since then. Backups by PostgreSQL's own tools have no slots or
//!   begin a new timeline, and are refused.
//!
//! # What stops it
//! Every doubt whether the position belongs to this database: another system or database, a new
//! timeline whose slot was not kept in step, a slot that is missing, lost, advanced by somebody or
//! made anew, a position beyond the server's log, a publication that is missing or made anew. The
//! error says what was found and what can be done.
//!
//! Fail points for tests: `CD12A` after the slot was made, `CD12B` after rows of a table were read.

mod change;
mod checks;
mod envelope;
pub(crate) mod error;
pub(crate) mod log;
mod lsn;
mod metrics;
mod operator;
pub mod pgoutput;
mod position;
pub(crate) mod publication;
mod relation;
mod session;
pub(crate) mod settings;
mod setup;
mod source;
mod topic;
mod translate;
mod value;

pub use change::{Change, ChangeOrigin, Op};
pub use error::{ChangeError, ConfigError};
pub use lsn::{Lsn, LsnError};
pub use metrics::LogMetrics;
pub use operator::LogOperator;
pub use position::{LogPosition, Part, PublicationMark, SnapshotProgress};
pub use relation::{Column, Relation, ReplicaIdentity, Row, RowError, SchemaVersion};
pub use settings::{IdlePositions, LargeTransaction, OnChange, Snapshot};
pub use setup::{PublicationSetup, SetupError};
pub use source::CdcSource;
pub use translate::{OnTruncate, UnchangedToast};
pub use value::{ColumnType, UNAVAILABLE, Value, ValueError};
