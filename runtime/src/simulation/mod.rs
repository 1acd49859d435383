//! Whole clusters in one thread, with faults, from a seed: to find out what a topology does when
//! everything goes wrong, and to see it again.
//!
//! The code that runs is the code of production: workers, restoring, the commit protocol. Only what
//! is around it is simulated: broker, network, disk, clocks and threads. So a simulation takes
//! milliseconds where a test with real processes takes minutes, and what it found once it finds
//! again: the seed decides everything.
//!
//! ```
//! use tidemill::dsl::{Grouped, Materialized, StreamsBuilder};
//! use tidemill::serdes::{i64, string};
//! use tidemill::simulation::{Faults, Inputs, Simulation};
//! use tidemill::topology::{Consumed, Produced};
//!
//! let topology = || {
//!     let builder = StreamsBuilder::new();
//!     builder
//!         .stream("amounts", Consumed::with(string(), i64()))
//!         .group_by_key(Grouped::with(string(), i64()))
//!         .count(Materialized::as_("counted").with_key_serde(string()))
//!         .to_stream()
//!         .to("counts", Produced::with(string(), tidemill::serdes::optional(i64())));
//!     builder.build()
//! };
//! let amounts = (0..50).map(|n| (format!("account-{}", n % 5), n));
//! let inputs = Inputs::new().topic("amounts", &string(), &i64(), amounts);
//!
//! let report = Simulation::new(topology)
//!     .workers(2)
//!     .faults(Faults::all())
//!     .seed(1)
//!     .invariant("nobody is counted twice", |view| {
//!         let counts = view.read("counts", &string(), &i64()).map_err(|e| e.to_string())?;
//!         match counts.iter().find(|(_, record)| record.value > 10) {
//!             Some((_, record)) => Err(format!("{} has {}", record.key, record.value)),
//!             None => Ok(()),
//!         }
//!     })
//!     .run(inputs)?;
//! println!("{report}");
//! # Ok::<(), tidemill::simulation::SimulationError>(())
//! ```
//!
//! # What is checked without being asked
//!
//! * Every store on every disk equals its changelog up to the stored position, after each death and
//!   at the end (INV-2, INV-3).
//! * Committed offsets never go back or beyond the end (INV-8).
//! * No record becomes visible behind a reader's back, and no visible one changes.
//! * Partition times in the committed offsets' metadata never go back (INV-9).
//! * Records in tasks' buffers, writes that only a commit frees, and restore batches stay within
//!   the configured bounds (INV-11).
//! * No worker panics.
//! * After the faults everything is processed within bounded time, and every transaction ends.
//! * The last record of each key in each output topic, and all stores, equal those of a run without
//!   faults ([`Simulation::compare_with_undisturbed_run`]).
//!
//! # What a topology must be
//!
//! Deterministic: its results follow from its inputs. It is made anew for each simulated process,
//! so whatever the closure creates lives as long as a process does; what it only shares (a static,
//! a captured `Arc`) outlives deaths that it would not outlive in production.

mod bounds;
mod error;
mod faults;
pub(crate) mod fiber;
mod inputs;
mod observe;
mod report;
mod run;
mod simulate;
mod storage;
mod world;

use std::rc::Rc;

#[cfg(feature = "mutations")]
pub use crate::mutation::Guard;
pub use error::SimulationError;
pub use faults::Faults;
pub use inputs::Inputs;
pub use observe::{PartitionRecord, StoreContents, View};
pub use report::Report;
pub use simulate::Simulation;

/// What the wall clock shows when a simulation starts, in milliseconds: 2026-01-01.
const START: i64 = 1_767_225_600_000;

/// A named condition on what is committed.
type Invariant = (String, Rc<dyn Fn(&View<'_>) -> Result<(), String>>);

/// A condition that does not hold.
#[derive(Debug, Clone)]
struct Violated {
    invariant: String,
    detail: String,
}

impl Violated {
    /// Of a text that begins with the invariant's number.
    fn of_invariant(text: String) -> Self {
        match text.split_once(": ") {
            Some((name, detail)) if name.starts_with("INV-") => {
                Self { invariant: name.to_owned(), detail: detail.to_owned() }
            }
            _ => Self { invariant: "committed records are stable".to_owned(), detail: text },
        }
    }
}
