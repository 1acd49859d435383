//! Rules of windows, one by one.
