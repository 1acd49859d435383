//! Tests of the engine through its requests.

mod fetching;
mod producing;
mod support;
mod topics;
