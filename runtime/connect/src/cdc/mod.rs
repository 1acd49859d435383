//! Change data capture: the changes of PostgreSQL tables, read from its log.
