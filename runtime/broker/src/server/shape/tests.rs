//! The table against the codecs: bytes made by the one are read by the other.

use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, RequestKind};
use proptest::prelude::*;

use super::*;
use crate::fault::Random;

/// Writes a request that has the shape, with random contents.
struct Writer<'a> {
    random: &'a mut Random,
    out: Vec<u8>,
    version: i16,
    flexible: bool,
}

impl Writer<'_> {
    fn fields(&mut self, fields: &[Field]) {
        let version = self.version;
        let here = |field: &&Field| (field.first..=field.last).contains(&version);
        for field in fields.iter().filter(here).filter(|field| field.tag.is_none()) {
            self.value(&field.kind);
        }
        if !self.flexible {
            return;
        }
        let mut tagged = Vec::new();
        for field in fields.iter().filter(here) {
            let Some(tag) = field.tag else { continue };
            let outer = std::mem::take(&mut self.out);
            self.value(&field.kind);
            tagged.push((tag, std::mem::replace(&mut self.out, outer)));
        }
        if self.random.below(2) == 0 {
            tagged.push((77, b"unknown".to_vec()));
        }
        self.varint(tagged.len());
        for (tag, bytes) in tagged {
            self.varint(tag as usize);
            self.varint(bytes.len());
            self.out.extend(bytes);
        }
    }

    fn value(&mut self, kind: &Kind) {
        match kind {
            Kind::Fixed(size) => {
                // 0 and -1 mean something almost everywhere
                match self.random.below(4) {
                    0 | 1 => self.out.extend(std::iter::repeat_n(0, *size)),
                    2 => self.out.extend(std::iter::repeat_n(0xff, *size)),
                    _ => (0..*size).for_each(|_| self.out.push(self.random.below(256) as u8)),
                }
            }
            Kind::String | Kind::Bytes => {
                let length = self.random.below(8) as usize;
                match kind {
                    _ if self.flexible => self.varint(length + 1),
                    Kind::String => self.out.extend((length as i16).to_be_bytes()),
                    _ => self.out.extend((length as i32).to_be_bytes()),
                }
                self.out.extend(std::iter::repeat_n(b'x', length));
            }
            Kind::Struct(fields) => self.fields(fields),
            Kind::Structs(fields) => self.array(|writer| writer.fields(fields)),
            Kind::Values(kind) => self.array(|writer| writer.value(kind)),
        }
    }

    fn array(&mut self, element: impl Fn(&mut Self)) {
        let count = self.random.below(4) as usize;
        if self.flexible {
            self.varint(count + 1);
        } else {
            self.out.extend((count as i32).to_be_bytes());
        }
        (0..count).for_each(|_| element(self));
    }

    fn varint(&mut self, mut value: usize) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }
}

/// Returns the body of a random request: API, version, bytes.
pub(in crate::server) fn random_body(random: &mut Random) -> (i16, i16, Vec<u8>) {
    let shapes = Shapes::new();
    let index = random.below(shapes.0.len() as u64) as usize;
    let (api, shape) = shapes.0.iter().nth(index).unwrap();
    let span = (shape.last - shape.first + 1) as u64;
    let version = shape.first + random.below(span) as i16;
    (*api, version, body(shape, version, random))
}

fn body(shape: &Shape, version: i16, random: &mut Random) -> Vec<u8> {
    let flexible = version >= shape.flexible;
    let mut writer = Writer { random, out: Vec::new(), version, flexible };
    writer.fields(&shape.fields);
    writer.out
}

#[test]
fn the_codecs_read_exactly_what_the_table_describes() {
    let shapes = Shapes::new();
    let mut random = Random::new(1);
    for (api, shape) in &shapes.0 {
        let key = ApiKey::try_from(*api).unwrap();
        assert_eq!(format!("{key:?}"), shape.name);
        for version in shape.first..=shape.last {
            for _ in 0..20 {
                let body = body(shape, version, &mut random);
                assert_eq!(shapes.check(*api, version, &body), Ok(()), "{key:?} {version}");
                let mut bytes = Bytes::from(body);
                let read = RequestKind::decode(key, &mut bytes, version);
                read.unwrap_or_else(|error| panic!("{key:?} {version}: {error:#}"));
                assert!(bytes.is_empty(), "{key:?} {version}: {} bytes left", bytes.len());
            }
        }
    }
}

#[test]
fn a_count_that_no_bytes_cover_is_refused_before_memory_is_reserved() {
    let shapes = Shapes::new();
    let many = i32::MAX.to_be_bytes();
    assert_eq!(shapes.check(3, 0, &many), Err(ShapeError::Truncated));
    let compact = [0xff, 0xff, 0xff, 0xff, 0x0f];
    assert_eq!(shapes.check(3, 9, &compact), Err(ShapeError::Truncated));
    let minus_two = (-2_i32).to_be_bytes();
    assert_eq!(shapes.check(3, 0, &minus_two), Err(ShapeError::NegativeLength));
    // two million empty names in four megabytes
    let mut names = 2_000_000_i32.to_be_bytes().to_vec();
    names.resize(4 + 2 * 2_000_000, 0);
    assert_eq!(shapes.check(3, 0, &names), Err(ShapeError::TooManyElements));
}

#[test]
fn a_known_tagged_field_of_another_size_than_it_says_is_refused() {
    // Fetch 12: ten fixed fields, no topics, no forgotten ones, no rack, cluster id of 1 in 3
    let mut body = vec![0; 4 + 4 + 4 + 4 + 1 + 4 + 4];
    body.extend([1, 1, 1, 1, 0, 3, 2, b'x', b'y']);
    assert_eq!(Shapes::new().check(1, 12, &body), Err(ShapeError::TaggedSize));
}

proptest! {
    #[test]
    fn what_follows_a_request_is_refused(seed: u64, extra in 1_usize..9) {
        let (api, version, mut body) = random_body(&mut Random::new(seed));
        body.extend(std::iter::repeat_n(0, extra));
        prop_assert_eq!(
            Shapes::new().check(api, version, &body),
            Err(ShapeError::Trailing(extra))
        );
    }
}
