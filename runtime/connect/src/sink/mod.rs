//! Sinks: topics into databases, each record's effect once.
