//! The filter's configuration as a file that Envoy follows (ECDS, `path_config_source`).
//!
//! The user owns the file: the Wasm module, its failure policy, its name. serin owns the
//! configuration text, and in that text the services of its rollouts; it keeps all other content.
//! serin renames a new file onto the old one and never writes in place: Envoy follows renames
//! only, and a reader always sees a complete file.
//!
//! Several rollouts share a file. Each rollout counts its own generations, and the file counts one
//! for all of them. Its `version_info` lists both: `12 cart=7 shop=12`.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};

use serde_json::Value;
use serin_filter::config::{Config, ConfigError, wire};
use thiserror::Error;

use super::RouteError;
use crate::files;
use crate::routers::sink::{ConfigSink, SinkConfig};

/// The JSON pointer to the extension's name.
const NAME: &str = "/resources/0/name";
/// The field with the file's version.
const VERSION: &str = "version_info";
/// The JSON pointer to the filter's configuration text.
const TEXT: &str = "/resources/0/typed_config/config/configuration/value";

/// The size limit of the file, in bytes.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// The file can't be read or written.
#[derive(Debug, Error)]
#[allow(missing_docs)] // the messages say it
pub enum FileError {
    #[error("{path}: {cause}")]
    Io { path: PathBuf, cause: std::io::Error },
    #[error("{path}: not JSON: {cause}")]
    Json { path: PathBuf, cause: serde_json::Error },
    #[error(
        "{path}: no string at {pointer}; expected a discovery response with the serin filter, such as envoy/filter.json"
    )]
    Shape { path: PathBuf, pointer: &'static str },
    #[error("{path}: invalid filter configuration: {cause}")]
    Config { path: PathBuf, cause: ConfigError },
    #[error("{path}: another serin has a rollout under way in this file ({lock} is locked)", lock = lock.display())]
    Locked { path: PathBuf, lock: PathBuf },
}

/// The contents of such a file.
#[derive(Debug)]
pub(crate) struct Contents {
    /// The whole file.
    document: Value,
    present: SinkConfig,
}

impl Contents {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// The file is missing or invalid.
    pub(crate) fn read(path: &Path) -> Result<Self, FileError> {
        let io = |cause| FileError::Io { path: path.to_owned(), cause };
        let text = files::read(path, MAX_FILE_BYTES).map_err(io)?;
        let document: Value = serde_json::from_slice(&text)
            .map_err(|cause| FileError::Json { path: path.to_owned(), cause })?;
        string(path, &document, NAME)?;
        let text = string(path, &document, TEXT)?.as_bytes();
        let invalid = |cause| FileError::Config { path: path.to_owned(), cause };
        Config::parse(text).map_err(invalid)?;
        let config = serde_json::from_slice(text).map_err(|cause| invalid(cause.into()))?;
        let version = document.get(VERSION).and_then(Value::as_str).unwrap_or_default();
        let present = SinkConfig::new(config, version);
        Ok(Self { document, present })
    }

    /// The name of the filter's configuration in listeners and statistics.
    pub(crate) fn filter(&self) -> &str {
        self.document.pointer(NAME).and_then(Value::as_str).unwrap_or_default()
    }

    /// The filter's configuration.
    pub(crate) fn config(&self) -> &wire::Config {
        &self.present.config
    }
}

/// The file of one Envoy.
#[derive(Debug)]
pub(super) struct EnvoyFile {
    path: PathBuf,
    /// The contents as last read or written.
    contents: Contents,
    /// Keeps other processes out of the file.
    _lock: File,
}

impl EnvoyFile {
    /// Opens the file at `path` and locks it against other processes. Writes nothing.
    ///
    /// # Errors
    /// The file is missing (Envoy needs it to start) or invalid, or another process has locked it.
    pub(super) fn open(path: &Path) -> Result<Self, FileError> {
        let lock = lock(path)?;
        let contents = Contents::read(path)?;
        Ok(Self { path: path.to_owned(), contents, _lock: lock })
    }

    /// Replaces the file by one with this configuration.
    fn write(&mut self, next: SinkConfig) -> Result<(), FileError> {
        let json = |cause| FileError::Json { path: self.path.clone(), cause };
        let text = serde_json::to_string(&next.config).map_err(json)?;
        let mut document = self.contents.document.clone();
        if let Some(value) = document.pointer_mut(TEXT) {
            *value = Value::String(text);
        }
        if let Some(document) = document.as_object_mut() {
            document.insert(VERSION.to_owned(), Value::String(next.generations_text()));
        }
        let mut text = serde_json::to_vec_pretty(&document).map_err(json)?;
        text.push(b'\n');
        replace_file(&self.path, &text)
            .map_err(|cause| FileError::Io { path: self.path.clone(), cause })?;
        self.contents = Contents { document, present: next };
        Ok(())
    }
}

impl ConfigSink for EnvoyFile {
    fn filter(&self) -> &str {
        self.contents.filter()
    }

    fn present(&self) -> &SinkConfig {
        &self.contents.present
    }

    fn put(&mut self, config: SinkConfig) -> Result<(), RouteError> {
        Ok(self.write(config)?)
    }
}

/// Keeps other processes out of the file while the result lives.
fn lock(path: &Path) -> Result<File, FileError> {
    let mut lock = path.as_os_str().to_owned();
    lock.push(".lock");
    let lock = PathBuf::from(lock);
    let io = |cause| FileError::Io { path: lock.clone(), cause };
    let file = File::options().create(true).append(true).open(&lock).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::Error(cause)) => Err(io(cause)),
        Err(TryLockError::WouldBlock) => Err(FileError::Locked { path: path.to_owned(), lock }),
    }
}

fn string<'d>(
    path: &Path,
    document: &'d Value,
    pointer: &'static str,
) -> Result<&'d str, FileError> {
    let text = document.pointer(pointer).and_then(Value::as_str);
    text.ok_or_else(|| FileError::Shape { path: path.to_owned(), pointer })
}

/// Writes a file in the same directory and renames it, so that a crash leaves a complete file.
fn replace_file(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut file = tempfile::NamedTempFile::new_in(directory.unwrap_or(Path::new(".")))?;
    file.write_all(text)?;
    // The proxy may run as another user: the new file keeps the owner and rights of the old one.
    let (old, new) = (std::fs::metadata(path)?, file.as_file().metadata()?);
    if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
        fchown(file.as_file(), Some(old.uid()), Some(old.gid()))?;
    }
    file.as_file().set_permissions(old.permissions())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
