//! Event sourcing: events as the truth, state as their fold.
