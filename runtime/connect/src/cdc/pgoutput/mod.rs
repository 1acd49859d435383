//! The messages of PostgreSQL's output plugin `pgoutput`, protocol version 1, read from bytes.
//!
//! Reading is total: whatever the bytes are, there is a message or an error, and nothing is
//! allocated on the word of a length that the bytes do not bear out.

mod input;
#[cfg(test)]
mod tests;

use bytes::Bytes;

use super::lsn::Lsn;
use input::Input;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// `B`: a transaction begins.
    Begin {
        /// Where its commit record lies, which is the order in which transactions come.
        commit_lsn: Lsn,
        /// When it was committed: microseconds since 2000-01-01.
        commit_time: i64,
        /// Its id.
        xid: u32,
    },
    /// `C`: all of the transaction was told.
    Commit {
        /// Where its commit record lies.
        commit_lsn: Lsn,
        /// Where its commit record ends: from here on nothing of it is told again.
        end_lsn: Lsn,
        /// When it was committed: microseconds since 2000-01-01.
        commit_time: i64,
    },
    /// `O`: the transaction came from another server.
    Origin {
        /// Where it was committed there.
        commit_lsn: Lsn,
        /// The origin's name.
        name: String,
    },
    /// `R`: what a table looks like, before its first row and after each change of it.
    Relation(RelationBody),
    /// `Y`: the name of a type.
    Type {
        /// Its object id.
        oid: u32,
        /// Its schema.
        schema: String,
        /// Its name.
        name: String,
    },
    /// `I`: a row was inserted.
    Insert {
        /// The table.
        relation: u32,
        /// The row.
        new: Tuple,
    },
    /// `U`: a row was updated.
    Update {
        /// The table.
        relation: u32,
        /// What is told of the row as it was; nothing, if its identity did not change.
        old: Option<OldTuple>,
        /// The row as it is.
        new: Tuple,
    },
    /// `D`: a row was deleted.
    Delete {
        /// The table.
        relation: u32,
        /// What is told of the row.
        old: OldTuple,
    },
    /// `T`: tables were emptied.
    Truncate {
        /// The tables.
        relations: Vec<u32>,
        /// `CASCADE` was said.
        cascade: bool,
        /// `RESTART IDENTITY` was said.
        restart_identity: bool,
    },
    /// `M`: a message written by `pg_logical_emit_message`.
    Logical {
        /// It belongs to the transaction, and is told only if that was committed.
        transactional: bool,
        /// Where it lies.
        lsn: Lsn,
        /// Whose it is.
        prefix: String,
        /// What it says.
        content: Bytes,
    },
}

/// What a table looks like.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RelationBody {
    /// The table's object id.
    pub oid: u32,
    /// Its schema; empty is `pg_catalog`.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its replica identity: `d`, `n`, `f` or `i`.
    pub replica_identity: u8,
    /// Its columns, in order.
    pub columns: Vec<ColumnBody>,
}

/// What a column looks like.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ColumnBody {
    /// It belongs to the replica identity.
    pub identity: bool,
    /// Its name.
    pub name: String,
    /// Its type's object id.
    pub type_oid: u32,
    /// Its type's modifier, -1 for none.
    pub type_modifier: i32,
}

/// What is told of a row as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OldTuple {
    /// `K`: the columns of its identity; the others are null.
    Key(Tuple),
    /// `O`: all of it.
    Full(Tuple),
}

/// The values of a row, one for each column of its table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuple(pub Vec<Datum>);

/// A value as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Datum {
    /// `n`
    Null,
    /// `u`: stored out of line and not changed, so it was not sent.
    Unchanged,
    /// `t`: as PostgreSQL prints it.
    Text(Bytes),
    /// `b`: in the type's binary form.
    Binary(Bytes),
}

/// Bytes that are no message of `pgoutput`, protocol version 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no message of pgoutput: {what} at byte {at} of {length}")]
pub struct MessageError {
    /// What is wrong.
    pub what: &'static str,
    /// Where.
    pub at: usize,
    /// Of how many bytes.
    pub length: usize,
}

impl Message {
    /// Reads one message, all of `bytes`.
    ///
    /// # Errors
    /// If they are none.
    pub fn read(bytes: &Bytes) -> Result<Self, MessageError> {
        let mut input = Input::new(bytes);
        let message = match input.u8()? {
            b'B' => Self::Begin {
                commit_lsn: input.lsn()?,
                commit_time: input.i64()?,
                xid: input.u32()?,
            },
            b'C' => {
                input.u8()?; // flags, of which none is defined
                let (commit_lsn, end_lsn) = (input.lsn()?, input.lsn()?);
                Self::Commit { commit_lsn, end_lsn, commit_time: input.i64()? }
            }
            b'O' => Self::Origin { commit_lsn: input.lsn()?, name: input.string()? },
            b'R' => Self::Relation(relation(&mut input)?),
            b'Y' => {
                Self::Type { oid: input.u32()?, schema: input.string()?, name: input.string()? }
            }
            b'I' => {
                let relation = input.u32()?;
                input.expect(b'N', "no new row")?;
                Self::Insert { relation, new: tuple(&mut input)? }
            }
            b'U' => update(&mut input)?,
            b'D' => {
                let relation = input.u32()?;
                let tag = input.u8()?;
                let Some(old) = old(tag, &mut input)? else {
                    return Err(input.error("no old row"));
                };
                Self::Delete { relation, old }
            }
            b'T' => truncate(&mut input)?,
            b'M' => logical(&mut input)?,
            _ => return Err(input.error("an unknown kind of message")),
        };
        input.end()?;
        Ok(message)
    }
}

fn relation(input: &mut Input<'_>) -> Result<RelationBody, MessageError> {
    let (oid, schema, name) = (input.u32()?, input.string()?, input.string()?);
    let replica_identity = input.u8()?;
    let count = input.count()?;
    let mut columns = Vec::with_capacity(input.at_most(count));
    for _ in 0..count {
        columns.push(ColumnBody {
            identity: input.u8()? & 1 == 1,
            name: input.string()?,
            type_oid: input.u32()?,
            type_modifier: input.i32()?,
        });
    }
    Ok(RelationBody { oid, schema, name, replica_identity, columns })
}

fn update(input: &mut Input<'_>) -> Result<Message, MessageError> {
    let relation = input.u32()?;
    let tag = input.u8()?;
    let old = old(tag, input)?;
    let tag = if old.is_some() { input.u8()? } else { tag };
    if tag != b'N' {
        return Err(input.error("no new row"));
    }
    Ok(Message::Update { relation, old, new: tuple(input)? })
}

fn old(tag: u8, input: &mut Input<'_>) -> Result<Option<OldTuple>, MessageError> {
    match tag {
        b'K' => Ok(Some(OldTuple::Key(tuple(input)?))),
        b'O' => Ok(Some(OldTuple::Full(tuple(input)?))),
        _ => Ok(None),
    }
}

fn tuple(input: &mut Input<'_>) -> Result<Tuple, MessageError> {
    let count = input.count()?;
    let mut values = Vec::with_capacity(input.at_most(count));
    for _ in 0..count {
        values.push(match input.u8()? {
            b'n' => Datum::Null,
            b'u' => Datum::Unchanged,
            b't' => Datum::Text(input.sized_bytes()?),
            b'b' => Datum::Binary(input.sized_bytes()?),
            _ => return Err(input.error("an unknown kind of value")),
        });
    }
    Ok(Tuple(values))
}

fn truncate(input: &mut Input<'_>) -> Result<Message, MessageError> {
    let count = input.long_count()?;
    let options = input.u8()?;
    let mut relations = Vec::with_capacity(input.at_most(count));
    for _ in 0..count {
        relations.push(input.u32()?);
    }
    let (cascade, restart_identity) = (options & 1 != 0, options & 2 != 0);
    Ok(Message::Truncate { relations, cascade, restart_identity })
}

fn logical(input: &mut Input<'_>) -> Result<Message, MessageError> {
    let transactional = input.u8()? & 1 == 1;
    let (lsn, prefix) = (input.lsn()?, input.string()?);
    Ok(Message::Logical { transactional, lsn, prefix, content: input.sized_bytes()? })
}
