//! How much processes hold of what has a bound (INV-11).

use std::collections::BTreeMap;

/// The most that was held of each kind, and the first that was too much.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    /// In percent of the bound.
    most: BTreeMap<&'static str, u64>,
    exceeded: Option<String>,
}

impl Bounds {
    pub(super) fn note(&mut self, what: &'static str, held: usize, bound: usize) {
        let percent = u64::try_from(held.saturating_mul(100) / bound.max(1)).unwrap_or(u64::MAX);
        let most = self.most.entry(what).or_default();
        *most = percent.max(*most);
        if held > bound && self.exceeded.is_none() {
            self.exceeded = Some(format!("INV-11: {what}: {held} are held, {bound} may be"));
        }
    }

    /// Fails with the first that was too much.
    pub(super) fn check(&self) -> Result<(), String> {
        self.exceeded.clone().map_or(Ok(()), Err)
    }

    /// The most that was held of each kind, in percent of its bound.
    pub(super) fn most(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.most.iter().map(|(what, percent)| (*what, *percent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inv_11_the_first_that_is_too_much_is_told() {
        let mut bounds = Bounds::default();
        bounds.note("records", 5, 10);
        bounds.note("records", 10, 10);
        assert_eq!(bounds.check(), Ok(()));
        bounds.note("bytes", 11, 10);
        bounds.note("records", 12, 10);
        let error = bounds.check().unwrap_err();
        assert_eq!(error, "INV-11: bytes: 11 are held, 10 may be");
        assert_eq!(bounds.most().collect::<Vec<_>>(), [("bytes", 110), ("records", 120)]);
    }
}
