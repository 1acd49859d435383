//! Listen to yourself: the event first, the own state from the log.
