//! Reads files that other parties name or write.

use std::fs::{self, File};
use std::io::{Error, ErrorKind, Read, Result};
use std::path::Path;

/// The size limit of a file with a secret, a key or certificates, in bytes.
pub(crate) const MAX_SECRET_BYTES: u64 = 1 << 20;

/// Reads a regular file of at most `limit` bytes.
///
/// # Errors
/// The file can't be read, is longer, or is a device, a pipe or a directory.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    // Opening a pipe would block.
    if !fs::metadata(path)?.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > limit {
        true => Err(Error::new(ErrorKind::FileTooLarge, format!("longer than {limit} bytes"))),
        false => Ok(bytes),
    }
}

/// Reads a regular file of at most `limit` bytes as text.
///
/// # Errors
/// As [`read`], or the file is not UTF-8.
pub(crate) fn read_text(path: &Path, limit: u64) -> Result<String> {
    String::from_utf8(read(path, limit)?)
        .map_err(|error| Error::new(ErrorKind::InvalidData, error.utf8_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_directories_and_long_files_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "1234").unwrap();
        assert_eq!(read_text(&path, 4).unwrap(), "1234");
        assert_eq!(read(&path, 3).unwrap_err().kind(), ErrorKind::FileTooLarge);
        for special in [Path::new("/dev/zero"), directory.path()] {
            assert_eq!(read(special, 4).unwrap_err().to_string(), "not a regular file");
        }
        fs::write(&path, [0xff]).unwrap();
        assert_eq!(read_text(&path, 4).unwrap_err().kind(), ErrorKind::InvalidData);
    }
}
