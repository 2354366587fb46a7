//! Where in a configuration something is, and what is wrong there.
//!
//! Reading and checking go on after an error, with a default in place of what is wrong, and the first error counts: code that returns at
//! each of a hundred possible errors, dropping what it has built so far, would be a third of the module.

use std::fmt;

use super::ConfigError;

/// A place in a configuration. Lives on the stack; made into text only in an error.
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

/// The first error, if there is one.
#[derive(Default)]
pub(super) struct Errors(Option<ConfigError>);

impl Errors {
    /// Something is wrong at `path`.
    #[cold]
    #[inline(never)]
    pub(super) fn add(&mut self, path: &Path<'_>, error: impl FnOnce(String) -> ConfigError) {
        if self.0.is_none() {
            self.0 = Some(error(path.to_string()));
        }
    }

    /// What was read, if nothing was wrong.
    pub(super) fn or<T>(self, value: T) -> Result<T, ConfigError> {
        self.0.map_or(Ok(value), Err)
    }
}
