//! What everything that talks to PostgreSQL shares: connections, names in SQL, identity, errors.

mod connect;
mod identity;
mod name;
#[cfg(test)]
mod tests;

pub use connect::{Connection, connect, is_transient};
pub use identity::{DatabaseIdentity, identify};
pub use name::{NameError, TableName, quoted};
