//! Why something is not done.

use crate::kubernetes::objects::ClusterError;

/// A reason, as a word, which stays what it is, and as a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stuck(pub(crate) &'static str, pub(crate) String);

impl From<ClusterError> for Stuck {
    fn from(error: ClusterError) -> Self {
        Self(error.word(), error.to_string())
    }
}

/// What the specification says can't be done.
pub(crate) fn invalid(why: impl ToString) -> Stuck {
    Stuck("SpecInvalid", why.to_string())
}
