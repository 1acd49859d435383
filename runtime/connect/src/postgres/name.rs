//! Names in SQL: checked once, quoted always. No other text of a user ever becomes part of a
//! statement, so that a name can't smuggle one in.

use std::fmt;
use std::str::FromStr;

/// Longest identifier that PostgreSQL keeps; it cuts longer ones silently.
const IDENTIFIER_BYTES_MAX: usize = 63;

/// A table, with its schema if one was given: `outbox`, `shop.outbox`.
///
/// Each part is taken as it is written, upper case included; displayed quoted.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    schema: Option<String>,
    name: String,
}

/// A name that can't be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no name of PostgreSQL: {why}")]
pub struct NameError {
    /// What was given.
    pub name: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl TableName {
    /// Reads `table` or `schema.table`. A dot always separates.
    ///
    /// # Errors
    /// If a part is empty, longer than 63 bytes or has a NUL, or there are more than two.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let refused = |why| NameError { name: text.to_owned(), why };
        let (schema, name) = match text.split_once('.') {
            Some((schema, name)) => (Some(schema), name),
            None => (None, text),
        };
        if name.contains('.') {
            return Err(refused("it has more than one dot"));
        }
        for part in schema.into_iter().chain([name]) {
            check(part).map_err(refused)?;
        }
        Ok(Self { schema: schema.map(str::to_owned), name: name.to_owned() })
    }

    /// Returns the schema, if one was given.
    #[must_use]
    pub fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// Returns the table's own name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the name of something that belongs to this table and lies in its schema:
    /// `outbox` and `_meta` make `outbox_meta`.
    ///
    /// # Errors
    /// If it is too long.
    pub fn with_suffix(&self, suffix: &str) -> Result<Self, NameError> {
        let name = format!("{}{suffix}", self.name);
        check(&name).map_err(|why| NameError { name: name.clone(), why })?;
        Ok(Self { schema: self.schema.clone(), name })
    }
}

impl FromStr for TableName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{}.", quoted(schema))?;
        }
        f.write_str(&quoted(&self.name))
    }
}

impl fmt::Debug for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TableName({self})")
    }
}

/// Quotes one identifier: whatever it holds, it stays one.
#[must_use]
pub fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

fn check(identifier: &str) -> Result<(), &'static str> {
    if identifier.is_empty() {
        Err("it is empty")
    } else if identifier.len() > IDENTIFIER_BYTES_MAX {
        Err("it is longer than 63 bytes")
    } else if identifier.contains('\0') {
        Err("it has a NUL")
    } else {
        Ok(())
    }
}
