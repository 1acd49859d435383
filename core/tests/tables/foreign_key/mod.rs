//! Joins of two tables by a foreign key.

mod models;
mod rules;
