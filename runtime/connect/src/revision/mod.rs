//! Revisions that a database gives out.
