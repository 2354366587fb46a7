//! Classification of write conflicts on a status. Pure.

use crate::kubernetes::status::WriterStamp;

/// The resolution of a write conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConflictResolution {
    /// Another field of the object changed, and the stored status is unchanged: write again on
    /// the present object.
    Retry,
    /// The write succeeded, but its response was lost.
    AlreadyWritten,
    /// Another operator wrote the status. The local state is outdated: stop, and restart from the
    /// stored status.
    Superseded,
}

/// Decides from the writer of the stored status. `known` is the status that this operator read or
/// wrote last; `refused` is the one whose write failed.
#[must_use]
pub(crate) fn resolve(
    stored: Option<&WriterStamp>,
    known: Option<&WriterStamp>,
    refused: &WriterStamp,
) -> ConflictResolution {
    // The stored status may also be an earlier write of this operator whose response was lost.
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
    fn only_a_write_of_another_operator_supersedes() {
        let (old, known, refused) = (stamp("a", 6), stamp("a", 7), stamp("b", 1));
        // This operator took over from a, which has not written since.
        assert_eq!(resolve(Some(&known), Some(&known), &refused), ConflictResolution::Retry);
        assert_eq!(
            resolve(Some(&refused), Some(&known), &refused),
            ConflictResolution::AlreadyWritten
        );
        // Operator a still writes.
        assert_eq!(
            resolve(Some(&stamp("a", 8)), Some(&known), &refused),
            ConflictResolution::Superseded
        );
        assert_eq!(resolve(Some(&old), Some(&known), &refused), ConflictResolution::Superseded);
        // The stored status was deleted.
        assert_eq!(resolve(None, Some(&known), &refused), ConflictResolution::Superseded);
        assert_eq!(resolve(None, None, &refused), ConflictResolution::Retry);
    }

    #[test]
    fn a_write_whose_response_was_lost_is_recognized() {
        let (acknowledged, lost, next) = (stamp("a", 6), stamp("a", 7), stamp("a", 8));
        assert_eq!(resolve(Some(&lost), Some(&acknowledged), &next), ConflictResolution::Retry);
    }
}
