//! The transactional outbox: events staged in the transaction that they tell of.
