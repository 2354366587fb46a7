//! A field of an object together with its path, so that an error can name it.

use json_patch::jsonptr::{Pointer, PointerBuf};
use serde_json::Value;
use thiserror::Error;

/// A field has an unusable value. The message begins with the path of the field, such as
/// `spec.http[0].route`, and says how to fix it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{path}: {problem}")]
pub struct FieldError {
    path: String,
    problem: String,
}

/// A field and where it is.
#[derive(Debug, Clone)]
pub(super) struct Field<'o> {
    pub(super) path: PointerBuf,
    pub(super) value: &'o Value,
}

impl<'o> Field<'o> {
    /// The object itself.
    pub(super) fn root(object: &'o Value) -> Self {
        Self { path: PointerBuf::new(), value: object }
    }

    /// A field of this one; `None` if absent. Kubernetes treats null as absent.
    pub(super) fn get(&self, name: &str) -> Option<Self> {
        let value = self.value.get(name).filter(|value| !value.is_null())?;
        Some(Self { path: self.path.with_trailing_token(name), value })
    }

    /// A required field of this one.
    pub(super) fn required(&self, name: &str) -> Result<Self, FieldError> {
        let missing = || fault(&self.path.with_trailing_token(name), "missing");
        self.get(name).ok_or_else(missing)
    }

    /// The entries of a list.
    pub(super) fn list(&self) -> Result<Vec<Self>, FieldError> {
        let entries = self.value.as_array().ok_or_else(|| self.fault("not a list"))?;
        let entries = entries.iter().enumerate();
        Ok(entries
            .map(|(index, value)| Self { path: self.path.with_trailing_token(index), value })
            .collect())
    }

    pub(super) fn text(&self) -> Result<&'o str, FieldError> {
        self.value.as_str().ok_or_else(|| self.fault("not a string"))
    }

    /// A whole number that is not negative.
    pub(super) fn number(&self) -> Result<u32, FieldError> {
        let number = self.value.as_u64().and_then(|number| u32::try_from(number).ok());
        number.ok_or_else(|| self.fault("not a whole number from 0 on"))
    }

    /// An error about this field.
    pub(super) fn fault(&self, problem: impl Into<String>) -> FieldError {
        fault(&self.path, problem)
    }
}

fn fault(path: &Pointer, problem: impl Into<String>) -> FieldError {
    FieldError { path: user_message(path), problem: problem.into() }
}

/// A path as people write it: `spec.http[0].route`.
pub(super) fn user_message(path: &Pointer) -> String {
    let mut words = String::new();
    for token in path.tokens() {
        let token = token.decoded();
        if token.bytes().all(|byte| byte.is_ascii_digit()) {
            words.push_str(&format!("[{token}]"));
        } else {
            words.push_str(if words.is_empty() { "" } else { "." });
            words.push_str(&token);
        }
    }
    words
}
