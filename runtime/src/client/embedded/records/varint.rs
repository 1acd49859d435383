//! Kafka's variable-length integers: zigzag, seven bits a byte, the lowest first.

use bytes::{Buf, Bytes};

pub(super) fn put(into: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        into.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    into.push(rest.to_le_bytes()[0]);
}

/// Takes one from the front; `None` if there is no whole one.
pub(super) fn take(from: &mut Bytes) -> Option<i64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        if !from.has_remaining() {
            return None;
        }
        let byte = from.get_u8();
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    None
}

/// Takes a length and as many bytes: `Some(None)` for a length of -1, which is null.
pub(super) fn take_bytes(from: &mut Bytes) -> Option<Option<Bytes>> {
    let length = take(from)?;
    if length < 0 {
        return Some(None);
    }
    let length = usize::try_from(length).ok()?;
    (length <= from.len()).then(|| Some(from.split_to(length)))
}

pub(super) fn put_bytes(into: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => put(into, -1),
        Some(bytes) => {
            put(into, i64::try_from(bytes.len()).unwrap_or(i64::MAX));
            into.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_magnitude_comes_back() {
        let mut numbers = vec![0, -1, 1, i64::MIN, i64::MAX];
        numbers.extend((0..63).flat_map(|bit| [1_i64 << bit, -(1_i64 << bit), (1_i64 << bit) - 1]));
        for number in numbers {
            let mut bytes = Vec::new();
            put(&mut bytes, number);
            let mut bytes = Bytes::from(bytes);
            assert_eq!(take(&mut bytes), Some(number));
            assert!(bytes.is_empty());
        }
    }
}
