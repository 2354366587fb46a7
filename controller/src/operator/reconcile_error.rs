//! Errors of a reconcile.

use crate::engine::start::StartError;
use crate::kubernetes::objects::ClusterError;

/// A reason in CamelCase, which is stable, and a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReconcileError(pub(crate) &'static str, pub(crate) String);

impl From<ClusterError> for ReconcileError {
    fn from(error: ClusterError) -> Self {
        Self(error.reason(), error.to_string())
    }
}

impl From<StartError> for ReconcileError {
    fn from(error: StartError) -> Self {
        Self(error.reason(), error.to_string())
    }
}

/// The specification can't be carried out.
pub(crate) fn invalid(reason: impl ToString) -> ReconcileError {
    ReconcileError("SpecInvalid", reason.to_string())
}
