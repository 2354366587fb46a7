//! Errors of a specification.

use thiserror::Error;

/// An invalid specification. The message begins with the path of the field, if the error has one.
#[derive(Debug, Error)]
#[error("{}{message}", path.as_ref().map_or_else(String::new, |path| format!("{path}: ")))]
pub struct SpecError {
    pub(super) path: Option<String>,
    pub(super) message: String,
}

impl SpecError {
    /// A document that cannot be parsed.
    #[must_use]
    pub fn unreadable(message: impl Into<String>) -> Self {
        Self { path: None, message: message.into() }
    }
}

/// An error at the field `path`.
pub(super) fn at<T>(path: impl Into<String>, message: impl Into<String>) -> Result<T, SpecError> {
    Err(SpecError { path: Some(path.into()), message: message.into() })
}
