//! What an error of the database's, or of a writer's, asks of the sink.

use std::error::Error as StdError;

use tidemill::BoxError;
use tokio_postgres::Error;

use crate::postgres::is_transient;
use crate::sink::target::TargetError;

/// Data exceptions, broken constraints, limits of a value, check options of views.
const CLASSES_OF_RECORDS: [&str; 4] = ["22", "23", "44", "54"];
/// What a trigger raises; a statement after one whose failure the writer did not tell.
const OF_RECORDS: [&str; 2] = ["P0001", "25P02"];
/// The server ended a session that said nothing, or a transaction that took too long.
const ENDED: [&str; 2] = ["25P03", "25P04"];

/// Sorts an error of the statements that write records.
pub(super) fn of_records(error: BoxError) -> TargetError {
    let Some(database) = database_error(&*error) else {
        // the writer's own: it does not like the records
        return TargetError::Poison(error);
    };
    if heals(database) {
        return TargetError::Unavailable(error);
    }
    match database.code().map(|code| code.code()) {
        Some(code) if OF_RECORDS.contains(&code) || CLASSES_OF_RECORDS.contains(&&code[..2]) => {
            TargetError::Poison(error)
        }
        // a parameter that can't be what its column is
        None => TargetError::Poison(error),
        _ => TargetError::Failed(error),
    }
}

/// Sorts an error of the sink's own statements.
pub(super) fn of_sink(error: Error) -> TargetError {
    if heals(&error) {
        TargetError::Unavailable(error.into())
    } else {
        TargetError::Failed(error.into())
    }
}

fn heals(error: &Error) -> bool {
    is_transient(error) || error.code().is_some_and(|code| ENDED.contains(&code.code()))
}

/// The database's error among the causes.
fn database_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
