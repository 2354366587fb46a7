//! Reasons why a metric has no value.

use thiserror::Error;

/// A metric has no value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct MetricError {
    /// The kind of the error.
    pub reason: MetricErrorReason,
    /// The message for the user. It names the provider and the query.
    pub message: String,
}

impl MetricError {
    /// An error with its message.
    #[must_use]
    pub fn new(reason: MetricErrorReason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// The kinds of [`MetricError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricErrorReason {
    /// The connection failed.
    Unreachable,
    /// The provider did not answer in time.
    Timeout,
    /// The provider answered with an error status, or refused the query.
    Rejected,
    /// The answer has the wrong format or exceeds the size limit.
    InvalidResponse,
    /// The answer has no value.
    NoValue,
    /// The answer has more than one value.
    SeveralValues,
    /// The value is not a finite number.
    NotANumber,
    /// A secret file can't be read.
    Secret,
    /// The process does not allow the address.
    Forbidden,
}
