//! Whether a stream's events are 1, 2, 3, .., each once.

use uuid::Uuid;

use super::{Version, VersionError};

/// What a reader of a stream has to remember to notice a gap or a second writer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct VersionCheck {
    /// The last version that came.
    pub last: Version,
    /// The id of that event.
    pub last_id: Uuid,
}

impl VersionCheck {
    /// Takes the next event of a stream. Returns false if it is the last one over again, which a
    /// source that delivers at least once may do.
    ///
    /// # Errors
    /// If it is neither that nor the next one.
    pub fn observe(
        &mut self,
        stream: &str,
        found: Version,
        event_id: Uuid,
    ) -> Result<bool, VersionError> {
        let last = self.last;
        if found.0 > 0 && found == last && event_id == self.last_id {
            return Ok(false);
        }
        if found <= last {
            let stream = stream.to_owned();
            return Err(VersionError::ForeignWrite { stream, last, found, event_id });
        }
        if found != last.next() {
            return Err(VersionError::VersionGap { stream: stream.to_owned(), last, found });
        }
        *self = Self { last: found, last_id: event_id };
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn es8_gaps_and_second_writers_are_told_apart() {
        let id = Uuid::from_u128;
        let mut check = VersionCheck::default();
        for version in 1..=3 {
            assert_eq!(check.observe("s", Version(version), id(version as u128)), Ok(true));
        }
        assert_eq!(check.observe("s", Version(3), id(3)), Ok(false), "delivered again");
        let foreign = |found, event_id| VersionError::ForeignWrite {
            stream: "s".to_owned(),
            last: Version(3),
            found: Version(found),
            event_id: id(event_id),
        };
        assert_eq!(check.observe("s", Version(3), id(9)), Err(foreign(3, 9)));
        assert_eq!(check.observe("s", Version(0), id(9)), Err(foreign(0, 9)));
        let gap = VersionError::VersionGap {
            stream: "s".to_owned(),
            last: Version(3),
            found: Version(5),
        };
        assert_eq!(check.observe("s", Version(5), id(5)), Err(gap));
        assert_eq!(check.observe("s", Version(4), id(4)), Ok(true), "an error changes nothing");
    }
}
