//! The path of a field, and the first error of a configuration.
//!
//! After an error, decoding and validation continue with a default value and report the first
//! error. An early return at each of a hundred places would add a third to the Wasm module.

use std::fmt;

use super::ConfigError;

/// The path of a field. A linked list on the stack, formatted only for an error.
#[derive(Clone, Copy)]
pub(super) struct Path<'p> {
    parent: Option<&'p Path<'p>>,
    step: Step<'p>,
}

#[derive(Clone, Copy)]
enum Step<'p> {
    Root,
    Field(&'p str),
    Index(usize),
}

impl<'p> Path<'p> {
    pub(super) const ROOT: Self = Self { parent: None, step: Step::Root };

    pub(super) fn field(&'p self, name: &'p str) -> Self {
        Self { parent: Some(self), step: Step::Field(name) }
    }

    pub(super) fn index(&'p self, index: usize) -> Self {
        Self { parent: Some(self), step: Step::Index(index) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parent) = self.parent else { return Ok(()) };
        parent.fmt(f)?;
        match self.step {
            Step::Root => Ok(()),
            Step::Field(name) if parent.parent.is_none() => f.write_str(name),
            Step::Field(name) => write!(f, ".{name}"),
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// The first error of a configuration.
#[derive(Default)]
pub(super) struct FirstError(Option<ConfigError>);

impl FirstError {
    /// Records an error at `path`, unless there is an earlier one.
    #[cold]
    #[inline(never)]
    pub(super) fn record(&mut self, path: &Path<'_>, error: impl FnOnce(String) -> ConfigError) {
        if self.0.is_none() {
            self.0 = Some(error(path.to_string()));
        }
    }

    /// `value`, or the recorded error.
    pub(super) fn into_result<T>(self, value: T) -> Result<T, ConfigError> {
        self.0.map_or(Ok(value), Err)
    }
}
