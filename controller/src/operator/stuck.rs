//! Why something is not done.

use super::cluster::ClusterError;

/// A reason, as a word, which stays what it is, and as a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stuck(pub(super) &'static str, pub(super) String);

impl From<ClusterError> for Stuck {
    fn from(error: ClusterError) -> Self {
        Self(error.word(), error.to_string())
    }
}

/// What the specification says can't be done.
pub(super) fn invalid(why: impl ToString) -> Stuck {
    Stuck("SpecInvalid", why.to_string())
}
