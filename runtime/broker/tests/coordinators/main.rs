//! The coordinators of groups and transactions, asked through the engine as clients ask them.

mod admin;
mod groups;
mod kit;
mod model;
mod offsets;
mod producers;
mod restart;
mod scenarios;
mod static_members;
mod transactions;
