//! Why something is not done.

use crate::kubernetes::objects::ClusterError;

/// A reason, as a word, which stays what it is, and as a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReconcileError(pub(crate) &'static str, pub(crate) String);

impl From<ClusterError> for ReconcileError {
    fn from(error: ClusterError) -> Self {
        Self(error.reason(), error.to_string())
    }
}

/// What the specification says can't be done.
pub(crate) fn invalid(reason: impl ToString) -> ReconcileError {
    ReconcileError("SpecInvalid", reason.to_string())
}
