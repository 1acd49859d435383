//! Events in the database before anybody takes them: many small transactions, as services make.

use tidemill::BoxError;

use crate::database::Database;
use crate::options::BenchOptions;
use crate::system::System;

/// Events of a transaction.
pub(crate) const PER_TRANSACTION: u32 = 10;

/// Writes events 0 up to `events`.
pub(crate) fn load(
    database: &mut Database,
    system: System,
    events: u32,
    options: &BenchOptions,
) -> Result<(), BoxError> {
    let insert = system.insert(options.aggregates, options.payload_bytes);
    let last = events - 1;
    database.batch(&format!(
        "DO $$ BEGIN
           FOR head IN 0..{last} BY {PER_TRANSACTION} LOOP
             {insert}(head, LEAST(head + {PER_TRANSACTION} - 1, {last})) AS i;
             COMMIT;
           END LOOP;
         END $$"
    ))?;
    database.batch("ANALYZE")
}
