//! The shapes of the requests, to check a frame before it is decoded.
//!
//! The codecs reserve memory for as many elements as an array says it has, before they look
//! whether there are any. A frame of ten bytes can ask for hundreds of gigabytes so, and a failed
//! allocation ends the process. So each frame is walked first: every length and count must be
//! covered by bytes that are there, and the frame must end where its message does. What passes can
//! be decoded.

use std::collections::BTreeMap;

use thiserror::Error;

/// More elements than any client sends in one request, and few enough that decoding them is cheap.
const ELEMENTS_MAX: usize = 1_000_000;

/// One line a request: API key, name, first and last version, first flexible version, fields.
///
/// A number is a field of as many bytes, `s` a string, `y` bytes, `[ .. ]` an array of structs,
/// `( .. )` an array of values, `{ .. }` a struct. `@3` means from version 3, `@-3` up to it, `#1:`
/// a tagged field. The same facts as in Kafka's message definitions.
const SHAPES: &str = "
0 Produce 3 13 9 s 2 4 [ s@-12 16@13 [ 4 y ] ]
1 Fetch 4 18 12 #0:s@12 4@-14 #1:{ 4 8 }@15 4 4 4 1 4@7 4@7 \
  [ s@-12 16@13 [ 4 4@9 8 4@12 8@5 4 #0:16@17 #1:8@18 ] ] [ s@7-12 16@13 ( 4 ) ]@7 s@11
2 ListOffsets 1 10 6 4 1@2 [ s [ 4 4@4 8 ] ] 4@10
3 Metadata 0 13 9 [ 16@10 s ] 1@4 1@8-10 1@8
8 OffsetCommit 2 9 8 s 4 s s@7 8@-4 [ s [ 4 8 4@6 s ] ]
9 OffsetFetch 1 9 6 s@-7 [ s ( 4 ) ]@-7 [ s s@9 4@9 [ s ( 4 ) ] ]@8 1@7
10 FindCoordinator 0 6 3 s@-3 1@1 ( s )@4
11 JoinGroup 0 9 6 s 4 4@1 s s@5 s [ s y ] s@8
12 Heartbeat 0 4 4 s 4 s s@3
13 LeaveGroup 0 5 4 s s@-2 [ s s s@5 ]@3
14 SyncGroup 0 5 4 s 4 s s@3 s@5 s@5 [ s y ]
15 DescribeGroups 0 6 5 ( s ) 1@3
16 ListGroups 0 5 3 ( s )@4 ( s )@5
18 ApiVersions 0 4 3 s@3 s@3
19 CreateTopics 2 7 5 [ s 4 2 [ 4 ( 4 ) ] [ s s ] ] 4 1
20 DeleteTopics 1 6 4 [ s 16 ]@6 ( s )@-5 4
21 DeleteRecords 0 2 2 [ s [ 4 8 ] ] 4
22 InitProducerId 0 5 2 s 4 8@3 2@3
23 OffsetForLeaderEpoch 2 4 4 4@3 [ s [ 4 4 4 ] ]
24 AddPartitionsToTxn 0 5 3 [ s 8 2 1 [ s ( 4 ) ] ]@4 s@-3 8@-3 2@-3 [ s ( 4 ) ]@-3
25 AddOffsetsToTxn 0 4 3 s 8 2 s
26 EndTxn 0 5 3 s 8 2 1
28 TxnOffsetCommit 0 5 3 s s 8 2 4@3 s@3 s@3 [ s [ 4 8 4@2 s ] ]
32 DescribeConfigs 1 4 4 [ 1 s ( s ) ] 1 1@3
33 AlterConfigs 0 2 2 [ 1 s [ s s ] ] 1
37 CreatePartitions 0 3 2 [ s 4 [ ( 4 ) ] ] 4 1
42 DeleteGroups 0 2 2 ( s )
44 IncrementalAlterConfigs 0 1 1 [ 1 s [ s 1 s ] ] 1
47 OffsetDelete 0 0 99 s [ s [ 4 ] ]
60 DescribeCluster 0 2 0 1 1@1 1@2
61 DescribeProducers 0 0 0 [ s ( 4 ) ]
65 DescribeTransactions 0 0 0 ( s )
66 ListTransactions 0 2 0 ( s ) ( 8 ) 8@1 s@2
";

/// Why a frame is not the request that it says it is.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum ShapeError {
    #[error("it ends in the middle")]
    Truncated,
    #[error("a length is negative")]
    NegativeLength,
    #[error("it has more than {ELEMENTS_MAX} elements")]
    TooManyElements,
    #[error("a tagged field does not have the size it says it has")]
    TaggedSize,
    #[error("a varint has more than five bytes")]
    LongVarint,
    #[error("{0} bytes follow after its end")]
    Trailing(usize),
}

/// The shapes of all requests that are understood, by API key.
#[derive(Debug)]
pub(super) struct Shapes(BTreeMap<i16, Shape>);

#[derive(Debug)]
struct Shape {
    name: &'static str,
    first: i16,
    last: i16,
    flexible: i16,
    fields: Vec<Field>,
}

#[derive(Debug)]
struct Field {
    first: i16,
    last: i16,
    tag: Option<u32>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Fixed(usize),
    String,
    Bytes,
    Struct(Vec<Field>),
    Structs(Vec<Field>),
    Values(Box<Kind>),
}

impl Shapes {
    /// Reads the table.
    pub(super) fn new() -> Self {
        let rows = SHAPES.lines().filter(|line| !line.is_empty());
        Self(rows.map(Shape::parse).collect())
    }

    /// The name of an API that is understood.
    pub(super) fn name(&self, api: i16) -> Option<&'static str> {
        self.0.get(&api).map(|shape| shape.name)
    }

    /// Whether requests of this version can be read.
    pub(super) fn knows(&self, api: i16, version: i16) -> bool {
        self.0.get(&api).is_some_and(|shape| (shape.first..=shape.last).contains(&version))
    }

    /// Checks the body of a request, after the header, of a version that is known.
    pub(super) fn check(&self, api: i16, version: i16, body: &[u8]) -> Result<(), ShapeError> {
        let Some(shape) = self.0.get(&api) else { return Ok(()) };
        let flexible = version >= shape.flexible;
        let mut walk = Walk { rest: body, version, flexible, elements: 0 };
        walk.fields(&shape.fields)?;
        if walk.rest.is_empty() { Ok(()) } else { Err(ShapeError::Trailing(walk.rest.len())) }
    }
}

impl Shape {
    fn parse(row: &'static str) -> (i16, Self) {
        let mut words = row.split_ascii_whitespace();
        let key = number(words.next());
        let name = words.next().expect("the table of shapes has names");
        let first = number(words.next());
        let last = number(words.next());
        let flexible = number(words.next());
        (key, Self { name, first, last, flexible, fields: fields(&mut words).0 })
    }
}

fn number(word: Option<&str>) -> i16 {
    word.and_then(|word| word.parse().ok()).expect("the table of shapes has a number here")
}

/// Reads fields up to a closing bracket; returns them and what is behind the bracket.
fn fields<'a>(words: &mut impl Iterator<Item = &'a str>) -> (Vec<Field>, &'a str) {
    let mut read = Vec::new();
    while let Some(word) = words.next() {
        if let Some(behind) = word.strip_prefix([']', ')', '}']) {
            return (read, behind);
        }
        let (tag, word) = match word.strip_prefix('#').and_then(|rest| rest.split_once(':')) {
            Some((tag, rest)) => (Some(tag.parse().expect("a tag is a number")), rest),
            None => (None, word),
        };
        let (kind, versions) = match word {
            "[" => {
                let (inner, behind) = fields(words);
                (Kind::Structs(inner), behind)
            }
            "{" => {
                let (inner, behind) = fields(words);
                (Kind::Struct(inner), behind)
            }
            "(" => {
                let (mut inner, behind) = fields(words);
                let value = inner.pop().expect("an array of values says of which");
                (Kind::Values(Box::new(value.kind)), behind)
            }
            value => {
                let end = value.find('@').unwrap_or(value.len());
                (plain(&value[..end]), &value[end..])
            }
        };
        let (first, last) = range(versions);
        read.push(Field { first, last, tag, kind });
    }
    (read, "")
}

fn plain(word: &str) -> Kind {
    match word {
        "s" => Kind::String,
        "y" => Kind::Bytes,
        size => Kind::Fixed(size.parse().expect("a field has a size")),
    }
}

/// Reads `@3`, `@-3`, `@3-5` or nothing.
fn range(versions: &str) -> (i16, i16) {
    let Some(versions) = versions.strip_prefix('@') else { return (0, i16::MAX) };
    let (first, last) = versions.split_once('-').unwrap_or((versions, "32767"));
    (if first.is_empty() { 0 } else { number(Some(first)) }, number(Some(last)))
}

/// A walk through the bytes of one request.
struct Walk<'a> {
    rest: &'a [u8],
    version: i16,
    flexible: bool,
    elements: usize,
}

impl Walk<'_> {
    fn fields(&mut self, fields: &[Field]) -> Result<(), ShapeError> {
        let version = self.version;
        let here = |field: &&Field| (field.first..=field.last).contains(&version);
        for field in fields.iter().filter(here).filter(|field| field.tag.is_none()) {
            self.value(&field.kind)?;
        }
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.varint()? {
            self.element()?;
            let (tag, size) = (self.varint()?, self.varint()? as usize);
            let end = self.rest.len().checked_sub(size).ok_or(ShapeError::Truncated)?;
            match fields.iter().filter(here).find(|field| field.tag == Some(tag)) {
                Some(known) => self.value(&known.kind)?,
                None => self.skip(size)?,
            }
            // the codecs do not look at the size of a field that they know
            if self.rest.len() != end {
                return Err(ShapeError::TaggedSize);
            }
        }
        Ok(())
    }

    fn value(&mut self, kind: &Kind) -> Result<(), ShapeError> {
        match kind {
            Kind::Fixed(size) => self.skip(*size),
            Kind::String => {
                let length = if self.flexible { self.compact()? } else { self.short()? };
                self.skip(length)
            }
            Kind::Bytes => {
                let length = if self.flexible { self.compact()? } else { self.int()? };
                self.skip(length)
            }
            Kind::Struct(fields) => self.fields(fields),
            Kind::Structs(fields) => {
                for _ in 0..self.count()? {
                    self.element()?;
                    self.fields(fields)?;
                }
                Ok(())
            }
            Kind::Values(kind) => {
                for _ in 0..self.count()? {
                    self.element()?;
                    self.value(kind)?;
                }
                Ok(())
            }
        }
    }

    fn element(&mut self) -> Result<(), ShapeError> {
        self.elements += 1;
        if self.elements > ELEMENTS_MAX { Err(ShapeError::TooManyElements) } else { Ok(()) }
    }

    fn count(&mut self) -> Result<usize, ShapeError> {
        if self.flexible { self.compact() } else { self.int() }
    }

    /// A length plus one; 0 is null.
    fn compact(&mut self) -> Result<usize, ShapeError> {
        Ok(self.varint()?.saturating_sub(1) as usize)
    }

    /// A length of four bytes; -1 is null.
    fn int(&mut self) -> Result<usize, ShapeError> {
        let bytes = self.take()?;
        length(i32::from_be_bytes(bytes))
    }

    /// A length of two bytes; -1 is null.
    fn short(&mut self) -> Result<usize, ShapeError> {
        let bytes = self.take()?;
        length(i16::from_be_bytes(bytes).into())
    }

    fn varint(&mut self) -> Result<u32, ShapeError> {
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.take()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(ShapeError::LongVarint)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], ShapeError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(ShapeError::Truncated)?;
        self.rest = rest;
        Ok(*bytes)
    }

    fn skip(&mut self, size: usize) -> Result<(), ShapeError> {
        self.rest = self.rest.get(size..).ok_or(ShapeError::Truncated)?;
        Ok(())
    }
}

fn length(length: i32) -> Result<usize, ShapeError> {
    match length {
        -1 => Ok(0),
        length => usize::try_from(length).map_err(|_| ShapeError::NegativeLength),
    }
}

#[cfg(test)]
pub(super) mod tests;
