//! Fingerprints of states: equal for equal states, whoever folded them.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// A checksum (122 bits of SHA-1) over the JSON of a value, with the members of objects in the
/// order of their names. It guards against mistakes, not against an attacker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(Uuid);

impl Fingerprint {
    /// Computes it.
    ///
    /// # Errors
    /// If the value has no JSON form.
    pub fn of<T: Serialize>(value: &T) -> Result<Self, serde_json::Error> {
        let mut bytes = Vec::new();
        write(&serde_json::to_value(value)?, &mut bytes)?;
        Ok(Self(Uuid::new_v5(&Uuid::nil(), &bytes)))
    }

    /// The fingerprint of nothing: where a sum begins.
    pub const ZERO: Self = Self(Uuid::nil());

    /// Adds another one, in any order: for the fingerprint of a set.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(Uuid::from_u128(self.0.as_u128().wrapping_add(other.0.as_u128())))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.simple().fmt(f)
    }
}

fn write(value: &Value, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    match value {
        Value::Array(items) => {
            out.push(b'[');
            for item in items {
                write(item, out)?;
                out.push(b',');
            }
            out.push(b']');
        }
        Value::Object(members) => {
            // whether a map is sorted is a feature that any crate may turn on
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            out.push(b'{');
            for (name, member) in members {
                serde_json::to_writer(&mut *out, name)?;
                write(member, out)?;
            }
            out.push(b'}');
        }
        plain => serde_json::to_writer(out, plain)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn equal_states_have_equal_fingerprints_whatever_order_their_maps_have() {
        let states: Vec<HashMap<String, i64>> =
            (0..20).map(|_| (0..50).map(|n| (format!("sku-{n}"), n)).collect()).collect();
        let first = Fingerprint::of(&states[0]).unwrap();
        assert!(states.iter().all(|state| Fingerprint::of(state).unwrap() == first));
        let mut other = states[0].clone();
        other.insert("sku-7".to_owned(), 8);
        assert_ne!(Fingerprint::of(&other).unwrap(), first);
        assert_ne!(Fingerprint::of(&[[1], [2]]).unwrap(), Fingerprint::of(&[[1, 2]]).unwrap());
    }

    #[test]
    fn a_sum_does_not_depend_on_the_order() {
        let [a, b] = ["a", "b"].map(|text| Fingerprint::of(&text).unwrap());
        assert_eq!(a.plus(b), b.plus(a));
        assert_ne!(a.plus(b), a);
        assert_eq!(a.plus(Fingerprint::ZERO), a);
    }
}
