//! What a write means that the server has refused because the object is not what it was. Pure.

use crate::kubernetes::status::Stamp;

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// Somebody has changed something else; the status is still the one that was written here: to write once more, on the object as it is now.
    Again,
    /// The write had arrived, and only its answer was lost.
    Done,
    /// Another operator has written the status. What is known here is out of date: to stop, and to start again from what is stored.
    Superseded,
}

/// Decides it from who has written the status that is stored now. `known` is the status that this operator read or wrote last, and
/// `refused` the one that it could not write.
#[must_use]
pub(crate) fn resolve(
    stored: Option<&Stamp>,
    known: Option<&Stamp>,
    refused: &Stamp,
) -> Resolution {
    // A write whose answer was lost, and that was given up for a later one, is this operator's too.
    let own = stored.is_some_and(|stamp| stamp.identity == refused.identity);
    match stored {
        Some(stamp) if stamp == refused => Resolution::Done,
        _ if stored == known || own => Resolution::Again,
        _ => Resolution::Superseded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(identity: &str, sequence: u64) -> Stamp {
        Stamp { identity: identity.to_owned(), sequence }
    }

    #[test]
    fn only_the_word_of_another_operator_ends_ones_own() {
        let (old, known, refused) = (stamp("a", 6), stamp("a", 7), stamp("b", 1));
        // Taken over from a, which has not written since.
        assert_eq!(resolve(Some(&known), Some(&known), &refused), Resolution::Again);
        assert_eq!(resolve(Some(&refused), Some(&known), &refused), Resolution::Done);
        // a was not dead.
        assert_eq!(resolve(Some(&stamp("a", 8)), Some(&known), &refused), Resolution::Superseded);
        assert_eq!(resolve(Some(&old), Some(&known), &refused), Resolution::Superseded);
        // Somebody has emptied the status.
        assert_eq!(resolve(None, Some(&known), &refused), Resolution::Superseded);
        assert_eq!(resolve(None, None, &refused), Resolution::Again);
    }

    #[test]
    fn an_own_write_whose_answer_was_lost_is_ones_own() {
        let (acknowledged, lost, next) = (stamp("a", 6), stamp("a", 7), stamp("a", 8));
        assert_eq!(resolve(Some(&lost), Some(&acknowledged), &next), Resolution::Again);
    }
}
