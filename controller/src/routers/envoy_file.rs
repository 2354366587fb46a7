//! The filter's configuration as a file that Envoy follows (ECDS, `path_config_source`).
//!
//! The file is the user's: which module, how it fails, its name. serin owns the configuration text in it, and in that text the services
//! of its rollouts; everything else is kept as it is found. A new file is moved onto the old one, never written in place: Envoy
//! follows moves only, and a reader sees a whole file.
//!
//! Several rollouts share a file. Each counts generations for itself, the file for all of them; its `version_info` tells which
//! generation of each rollout it carries: `12 shop=12 cart=7`.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};

use serde_json::Value;
use serin_filter::config::{Config, ConfigError, wire};
use serin_filter::names::{Generation, ServiceName};
use thiserror::Error;

use super::RouteError;
use crate::files;
use crate::routers::sink::{ConfigSink, generations_text, parse_generations};

/// Where in the file the extension's name is (JSON pointer).
const NAME: &str = "/resources/0/name";
/// The field of the file that tells its version.
const VERSION: &str = "version_info";
/// Where in the file the filter's configuration text is.
const TEXT: &str = "/resources/0/typed_config/config/configuration/value";

/// The size limit of the file, in bytes.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Why the file can't be used or written.
#[derive(Debug, Error)]
#[allow(missing_docs)] // the messages say it
pub enum FileError {
    #[error("{path}: {cause}")]
    Io { path: PathBuf, cause: std::io::Error },
    #[error("{path}: not JSON: {cause}")]
    Json { path: PathBuf, cause: serde_json::Error },
    #[error(
        "{path}: no text at {pointer}; it has to be a discovery response with the serin filter (envoy/filter.json is one)"
    )]
    Shape { path: PathBuf, pointer: &'static str },
    #[error("{path}: the filter's configuration in it is not valid: {cause}")]
    Config { path: PathBuf, cause: ConfigError },
    #[error("{path}: another serin has a rollout under way in this file ({lock} is locked)", lock = lock.display())]
    Locked { path: PathBuf, lock: PathBuf },
}

/// What such a file says.
#[derive(Debug)]
pub(crate) struct Contents {
    /// The whole file.
    document: Value,
    config: wire::Config,
}

impl Contents {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// It is not there, or not what it has to be.
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
        Ok(Self { document, config })
    }

    /// Name of the filter's configuration, by which listeners and statistics call it.
    pub(crate) fn filter(&self) -> &str {
        self.document.pointer(NAME).and_then(Value::as_str).unwrap_or_default()
    }

    /// The filter's configuration.
    pub(crate) fn config(&self) -> &wire::Config {
        &self.config
    }

    fn version(&self) -> &str {
        self.document.get(VERSION).and_then(Value::as_str).unwrap_or_default()
    }
}

/// The file of one Envoy.
#[derive(Debug)]
pub(super) struct EnvoyFile {
    path: PathBuf,
    /// As it was last read or written.
    contents: Contents,
    /// The generation of each rollout that it carries, by service.
    generations: BTreeMap<String, Generation>,
    /// Held for as long as the file is ours.
    _lock: File,
}

impl EnvoyFile {
    /// Opens the file at `path`, and keeps other processes out of it. Nothing is written to it.
    ///
    /// # Errors
    /// The file is not there (Envoy needs it to start), is not what it has to be, or another serin has it.
    pub(super) fn open(path: &Path) -> Result<Self, FileError> {
        let lock = lock(path)?;
        let contents = Contents::read(path)?;
        let generations = parse_generations(contents.version());
        Ok(Self { path: path.to_owned(), contents, generations, _lock: lock })
    }

    /// Moves a file with this configuration into its place, which carries these generations.
    fn write(
        &mut self,
        config: wire::Config,
        carried: BTreeMap<String, Generation>,
    ) -> Result<(), FileError> {
        let json = |cause| FileError::Json { path: self.path.clone(), cause };
        let text = serde_json::to_string(&config).map_err(json)?;
        let mut document = self.contents.document.clone();
        if let Some(place) = document.pointer_mut(TEXT) {
            *place = Value::String(text);
        }
        if let Some(document) = document.as_object_mut() {
            let version = generations_text(config.generation, &carried);
            document.insert(VERSION.to_owned(), Value::String(version));
        }
        let mut text = serde_json::to_vec_pretty(&document).map_err(json)?;
        text.push(b'\n');
        move_into_place(&self.path, &text)
            .map_err(|cause| FileError::Io { path: self.path.clone(), cause })?;
        (self.contents, self.generations) = (Contents { document, config }, carried);
        Ok(())
    }
}

impl ConfigSink for EnvoyFile {
    fn filter(&self) -> &str {
        self.contents.filter()
    }

    fn config(&self) -> &wire::Config {
        self.contents.config()
    }

    fn generations(&self) -> &BTreeMap<String, Generation> {
        &self.generations
    }

    fn put(
        &mut self,
        config: wire::Config,
        service: &ServiceName,
        generation: Generation,
    ) -> Result<(), RouteError> {
        let mut carried = self.generations.clone();
        carried.insert(service.to_string(), generation);
        Ok(self.write(config, carried)?)
    }
}

/// Keeps other rollouts out of the file for as long as the result lives.
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

/// Writes beside the file and renames, so that the file is whole at any time, whatever happens.
fn move_into_place(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut file = tempfile::NamedTempFile::new_in(directory.unwrap_or(Path::new(".")))?;
    file.write_all(text)?;
    // The proxy may run as another user: who could read the old file can read the new one.
    let (old, new) = (std::fs::metadata(path)?, file.as_file().metadata()?);
    if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
        fchown(file.as_file(), Some(old.uid()), Some(old.gid()))?;
    }
    file.as_file().set_permissions(old.permissions())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
