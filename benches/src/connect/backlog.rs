//! Events in the database before anybody takes them: many small transactions, as services make.

use std::ops::Range;

use tidemill::BoxError;

use crate::database::Database;
use crate::options::BenchOptions;
use crate::system::System;

/// Events of a transaction.
pub(crate) const PER_TRANSACTION: u32 = 10;

/// Writes events of these numbers.
pub(crate) fn load(
    database: &mut Database,
    system: System,
    events: Range<u32>,
    options: &BenchOptions,
) -> Result<(), BoxError> {
    let insert = system.insert(options.aggregates, options.payload_bytes);
    let (first, last) = (events.start, events.end - 1);
    database.batch(&format!(
        "DO $$ BEGIN
           FOR head IN {first}..{last} BY {PER_TRANSACTION} LOOP
             {insert}(head, LEAST(head + {PER_TRANSACTION} - 1, {last})) AS i;
             COMMIT;
           END LOOP;
         END $$"
    ))?;
    database.batch("ANALYZE")
}
