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

/// Decides from the writer of the stored status. `last` is the status that this operator read or
/// wrote last; `rejected` is the one whose write failed.
#[must_use]
pub(crate) fn resolve(
    stored: Option<&WriterStamp>,
    last: Option<&WriterStamp>,
    rejected: &WriterStamp,
) -> ConflictResolution {
    // The stored status may also be an earlier write of this operator whose response was lost.
    let own = stored.is_some_and(|stamp| stamp.identity == rejected.identity);
    match stored {
        Some(stamp) if stamp == rejected => ConflictResolution::AlreadyWritten,
        _ if stored == last || own => ConflictResolution::Retry,
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
        let (old, last, rejected) = (stamp("a", 6), stamp("a", 7), stamp("b", 1));
        // This operator took over from a, which has not written since.
        assert_eq!(resolve(Some(&last), Some(&last), &rejected), ConflictResolution::Retry);
        assert_eq!(
            resolve(Some(&rejected), Some(&last), &rejected),
            ConflictResolution::AlreadyWritten
        );
        // Operator a still writes.
        assert_eq!(
            resolve(Some(&stamp("a", 8)), Some(&last), &rejected),
            ConflictResolution::Superseded
        );
        assert_eq!(resolve(Some(&old), Some(&last), &rejected), ConflictResolution::Superseded);
        // The stored status was deleted.
        assert_eq!(resolve(None, Some(&last), &rejected), ConflictResolution::Superseded);
        assert_eq!(resolve(None, None, &rejected), ConflictResolution::Retry);
    }

    #[test]
    fn a_write_whose_response_was_lost_is_recognized() {
        let (acknowledged, lost, next) = (stamp("a", 6), stamp("a", 7), stamp("a", 8));
        assert_eq!(resolve(Some(&lost), Some(&acknowledged), &next), ConflictResolution::Retry);
    }
}
