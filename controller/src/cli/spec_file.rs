//! A specification in a file.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serin_core::spec::{MAX_BYTES, Spec, SpecError};

use super::CliError;

/// Reads and checks the file at `path`.
///
/// # Errors
/// The file can't be read, or the specification is not valid.
pub(super) fn read(path: &Path) -> Result<Spec, CliError> {
    let spec = text(path).and_then(|text| Spec::parse(&text));
    spec.map_err(|error| CliError::invalid(format!("{}: {error}", path.display())))
}

fn text(path: &Path) -> Result<String, SpecError> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text));
    match read {
        Ok(length) if length as u64 > MAX_BYTES => {
            Err(SpecError::unreadable(format!("longer than {MAX_BYTES} bytes: not a rollout")))
        }
        Ok(_) => Ok(text),
        Err(error) => Err(SpecError::unreadable(error.to_string())),
    }
}
