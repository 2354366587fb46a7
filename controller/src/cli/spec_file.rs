//! A specification in a file.

use std::path::Path;

use serin_core::spec::{MAX_BYTES, Spec, SpecError};

use super::CliError;
use crate::files;

/// Reads and checks the file at `path`.
///
/// # Errors
/// The file can't be read, or the specification is not valid.
pub(super) fn read(path: &Path) -> Result<Spec, CliError> {
    let spec = text(path).and_then(|text| Spec::parse(&text));
    spec.map_err(|error| CliError::invalid(format!("{}: {error}", path.display())))
}

fn text(path: &Path) -> Result<String, SpecError> {
    files::read_text(path, MAX_BYTES).map_err(|error| SpecError::unreadable(error.to_string()))
}
