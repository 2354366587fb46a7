//! What a write means that the server has refused because the object is not what it was. Pure.

use crate::kubernetes::status::WriterStamp;

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConflictResolution {
    /// Somebody has changed something else; the status is still the one that was written here: to write once more, on the object as it is now.
    Retry,
    /// The write had arrived, and only its answer was lost.
    AlreadyWritten,
    /// Another operator has written the status. What is known here is out of date: to stop, and to start again from what is stored.
    Superseded,
}

/// Decides it from who has written the status that is stored now. `known` is the status that this operator read or wrote last, and
/// `refused` the one that it could not write.
#[must_use]
pub(crate) fn resolve(
    stored: Option<&WriterStamp>,
    known: Option<&WriterStamp>,
    refused: &WriterStamp,
) -> ConflictResolution {
    // A write whose answer was lost, and that was given up for a later one, is this operator's too.
    let own = stored.is_some_and(|stamp| stamp.identity == refused.identity);
    match stored {
        Some(stamp) if stamp == refused => ConflictResolution::AlreadyWritten,
        _ if stored == known || own => ConflictResolution::Retry,
        _ => ConflictResolution::Superseded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(identity: &str, sequence: u64) -> WriterStamp {
        WriterStamp { identity: identity.to_owned(), sequence }
    }

    #[test]
    fn only_the_word_of_another_operator_ends_ones_own() {
        let (old, known, refused) = (stamp("a", 6), stamp("a", 7), stamp("b", 1));
        // Taken over from a, which has not written since.
        assert_eq!(resolve(Some(&known), Some(&known), &refused), ConflictResolution::Retry);
        assert_eq!(
            resolve(Some(&refused), Some(&known), &refused),
            ConflictResolution::AlreadyWritten
        );
        // a was not dead.
        assert_eq!(
            resolve(Some(&stamp("a", 8)), Some(&known), &refused),
            ConflictResolution::Superseded
        );
        assert_eq!(resolve(Some(&old), Some(&known), &refused), ConflictResolution::Superseded);
        // Somebody has emptied the status.
        assert_eq!(resolve(None, Some(&known), &refused), ConflictResolution::Superseded);
        assert_eq!(resolve(None, None, &refused), ConflictResolution::Retry);
    }

    #[test]
    fn an_own_write_whose_answer_was_lost_is_ones_own() {
        let (acknowledged, lost, next) = (stamp("a", 6), stamp("a", 7), stamp("a", 8));
        assert_eq!(resolve(Some(&lost), Some(&acknowledged), &next), ConflictResolution::Retry);
    }
}
