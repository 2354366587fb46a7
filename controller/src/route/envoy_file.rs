//! The filter's configuration as a file that Envoy follows (ECDS, `path_config_source`).
//!
//! The file is the user's: which module, how it fails, its name. serin owns the configuration text in it, and in that text one
//! service; everything else is kept as it is found. A new file is moved onto the old one, never written in place: Envoy follows moves
//! only, and whoever reads sees a whole file.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};

use serde_json::Value;
use serin_filter::config::{Config, ConfigError, wire};
use serin_filter::names::Generation;
use serin_filter::table::{Run, Table, TableError, Weight};
use thiserror::Error;

use super::{Router, Split, Users};

/// Where in the file the extension's name is (JSON pointer).
const NAME: &str = "/resources/0/name";
/// Where in the file the filter's configuration text is.
const TEXT: &str = "/resources/0/typed_config/config/configuration/value";

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
    #[error("{path}: the filter's configuration for this rollout would not be valid: {cause}")]
    Wanted { path: PathBuf, cause: ConfigError },
    #[error("{path}: another serin has a rollout under way in this file ({lock} is locked)", lock = lock.display())]
    Locked { path: PathBuf, lock: PathBuf },
    #[error(transparent)]
    Table(#[from] TableError),
}

/// The file of one Envoy, for the service of one rollout.
#[derive(Debug)]
pub struct EnvoyFile {
    path: PathBuf,
    /// The whole file as it was last read or written.
    document: Value,
    config: wire::Config,
    service: wire::Service,
    /// What may be watched.
    watch: Option<wire::Watch>,
    table: Table,
    /// Users of versions that take no part in the rollout, which counts them as the baseline's.
    others: Weight,
    /// Held for as long as the file is ours.
    _lock: File,
}

impl EnvoyFile {
    /// Opens the file at `path` for a rollout of `service`, and keeps other rollouts out of it. Nothing is written to it.
    ///
    /// # Errors
    /// The file is not there (Envoy needs it to start), is not what it has to be, or another rollout has it.
    pub fn open(path: &Path, service: &wire::Service) -> Result<Self, FileError> {
        let io = |cause| FileError::Io { path: path.to_owned(), cause };
        // What a link points to is replaced, not the link.
        let path = std::fs::canonicalize(path).map_err(io)?;
        let lock = lock(&path)?;
        let io = |cause| FileError::Io { path: path.clone(), cause };
        let text = std::fs::read(&path).map_err(io)?;
        let document: Value = serde_json::from_slice(&text)
            .map_err(|cause| FileError::Json { path: path.clone(), cause })?;
        string(&path, &document, NAME)?;
        let config = string(&path, &document, TEXT)?.as_bytes();
        let invalid = |cause| FileError::Config { path: path.clone(), cause };
        let checked = Config::parse(config).map_err(invalid)?;
        let config: wire::Config =
            serde_json::from_slice(config).map_err(|cause| invalid(cause.into()))?;
        let (table, others) = present_table(&checked, service)?;
        let mut service = service.clone();
        let present = config.services.iter().find(|present| present.name == service.name);
        if let Some(present) = present
            && table.weight(1) > Weight::ZERO
        {
            // Another salt would give the candidate other users.
            service.salt.clone_from(&present.salt);
        }
        let watch = None;
        let mut file = Self { path, document, config, service, watch, table, others, _lock: lock };
        file.put_in(&file.table.clone(), file.generation(), Users::Usual)?;
        Ok(file)
    }

    /// Lets splits ask for this to be watched.
    ///
    /// # Errors
    /// The filter would not take it.
    pub fn allow(&mut self, watch: wire::Watch) -> Result<(), FileError> {
        self.watch = Some(watch);
        self.put_in(&self.table.clone(), self.generation(), Users::Watched)
    }

    /// The candidate's present weight.
    #[must_use]
    pub fn candidate(&self) -> Weight {
        self.table.weight(1)
    }

    /// The present weight of versions that take no part in the rollout.
    #[must_use]
    pub fn others(&self) -> Weight {
        self.others
    }

    /// Name of the filter's configuration, by which Envoy's statistics call it.
    #[must_use]
    pub fn filter(&self) -> &str {
        self.document.pointer(NAME).and_then(Value::as_str).unwrap_or_default()
    }

    /// The generation that the file holds.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.config.generation
    }

    /// Puts a split in force, with the least movement of users. To apply the same split again changes nothing but makes Envoy look again.
    ///
    /// # Errors
    /// The file could not be written; the old one is still there.
    pub fn put(&mut self, split: Split) -> Result<(), FileError> {
        let table = self.table.shifted(&[split.candidate.rest(), split.candidate])?;
        self.put_in(&table, split.generation, split.users)?;
        self.write()?;
        self.table = table;
        Ok(())
    }

    /// Puts the service with this table into the configuration, and makes sure that the filter will take it.
    fn put_in(
        &mut self,
        table: &Table,
        generation: Generation,
        users: Users,
    ) -> Result<(), FileError> {
        let name = |run: &Run| self.service.versions.get(run.version).map(|v| v.name.clone());
        let buckets = |run| Some(wire::Buckets { version: name(run)?, count: run.buckets });
        let buckets = table.runs().iter().filter_map(buckets).collect();
        let mut service = wire::Service { buckets, ..self.service.clone() };
        match (users, &self.watch) {
            (Users::Watched, watch) => service.watch.clone_from(watch),
            (Users::Salted(index), Some(watch)) => {
                service.salt.clone_from(watch.salts.get(index).unwrap_or(&self.service.salt))
            }
            _ => {}
        }
        let mut config = wire::Config { generation, ..self.config.clone() };
        config.services.retain(|present| present.name != service.name);
        config.services.push(service);
        Config::try_from(config.clone())
            .map_err(|cause| FileError::Wanted { path: self.path.clone(), cause })?;
        self.config = config;
        Ok(())
    }

    fn write(&mut self) -> Result<(), FileError> {
        let json = |cause| FileError::Json { path: self.path.clone(), cause };
        let config = serde_json::to_string(&self.config).map_err(json)?;
        if let Some(text) = self.document.pointer_mut(TEXT) {
            *text = Value::String(config);
        }
        if let Some(version) = self.document.get_mut("version_info") {
            *version = Value::String(self.config.generation.to_string());
        }
        let mut text = serde_json::to_vec_pretty(&self.document).map_err(json)?;
        text.push(b'\n');
        move_into_place(&self.path, &text)
            .map_err(|cause| FileError::Io { path: self.path.clone(), cause })
    }
}

impl Router for EnvoyFile {
    async fn apply(&mut self, split: Split) -> Result<(), String> {
        self.put(split).map_err(|error| error.to_string())
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

/// The present division of users between baseline and candidate, and the weight of versions that take no part in this rollout: their users
/// count as the baseline's.
fn present_table(config: &Config, service: &wire::Service) -> Result<(Table, Weight), TableError> {
    let Some(present) = config.services.iter().find(|present| present.name == service.name) else {
        return Ok((Table::all(0), Weight::ZERO));
    };
    let mut others = 0;
    let Some(present_table) = present.table() else { return Ok((Table::all(0), Weight::ZERO)) };
    let table = Table::new(present_table.runs().iter().map(|run| {
        let name = present.versions.get(run.version).map(|version| &version.name);
        let version = service.versions.iter().position(|version| Some(&version.name) == name);
        others += if version.is_none() { run.buckets } else { 0 };
        Run { version: version.unwrap_or(0), buckets: run.buckets }
    }))?;
    Ok((table, Weight::from_ppm(others).unwrap_or(Weight::ALL)))
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

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../../envoy/filter.json");

    fn service(name: &str, authority: &str, candidate: &str) -> wire::Service {
        let version = |name| serde_json::json!({"name": name, "cluster": format!("shop-{name}")});
        let service = serde_json::json!({
            "name": name, "authorities": [authority], "sticky": [{"header": "x-user-id"}], "salt": "s",
            "versions": [version("v1"), version(candidate)]});
        serde_json::from_value(service).unwrap()
    }

    fn open(path: &Path, name: &str, candidate: &str) -> Result<EnvoyFile, FileError> {
        let authority = if name == "shop" { "*" } else { name };
        EnvoyFile::open(path, &service(name, authority, candidate))
    }

    fn split(generation: u64, ppm: u32) -> Split {
        let candidate = Weight::from_ppm(ppm).unwrap();
        Split { generation: Generation(generation), candidate, users: Users::Usual }
    }

    fn config(path: &Path) -> Config {
        let document: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        Config::parse(document.pointer(TEXT).unwrap().as_str().unwrap().as_bytes()).unwrap()
    }

    fn shipped() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("filter.json");
        std::fs::write(&path, SHIPPED).unwrap();
        (directory, path)
    }

    #[test]
    fn what_is_written_is_what_the_filter_reads() {
        let (_directory, path) = shipped();
        let mut file = open(&path, "shop", "v2").unwrap();
        assert_eq!((file.filter(), file.generation()), ("serin", Generation(0)));
        file.put(split(1, 10_000)).unwrap();
        file.put(split(2, 50_000)).unwrap();
        let config = config(&path);
        assert_eq!(config.generation, Generation(2));
        assert_eq!(config.services[0].table().unwrap().weight(1).ppm(), 50_000);
    }

    #[test]
    fn other_services_and_the_users_fields_are_kept() {
        let (_directory, path) = shipped();
        let changed = SHIPPED.replace("0.05s", "0.07s");
        std::fs::write(&path, changed).unwrap();
        open(&path, "cart", "v9").unwrap().put(split(1, 5)).unwrap();
        open(&path, "shop", "v2").unwrap().put(split(2, 10_000)).unwrap();
        let config = config(&path);
        let names: Vec<_> = config.services.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["cart", "shop"]);
        assert_eq!(config.services[0].table().unwrap().weight(1).ppm(), 5);
        assert!(std::fs::read_to_string(&path).unwrap().contains("0.07s"));
    }

    #[test]
    fn a_new_controller_goes_on_from_the_table_it_finds() {
        let (_directory, path) = shipped();
        let mut first = open(&path, "shop", "v2").unwrap();
        for (generation, ppm) in [(1, 600_000), (2, 100_000), (3, 300_000)] {
            first.put(split(generation, ppm)).unwrap();
        }
        let table = first.table.clone();
        drop(first);
        let second = open(&path, "shop", "v2").unwrap();
        assert_eq!(
            (&second.table, second.candidate().ppm(), second.others()),
            (&table, 300_000, Weight::ZERO)
        );
        drop(second);
        // Another candidate: the old one's users count as the baseline's.
        let third = open(&path, "shop", "v3").unwrap();
        assert_eq!((third.table, third.others.ppm()), (Table::all(0), 300_000));
    }

    #[test]
    fn users_are_watched_and_then_assigned_by_the_salt_chosen() {
        let (_directory, path) = shipped();
        let mut file = open(&path, "shop", "v2").unwrap();
        let salts = ["s".to_owned(), "t".to_owned()].to_vec();
        file.allow(wire::Watch { salts, slices: vec![10_000] }).unwrap();
        file.put(Split { users: Users::Watched, ..split(1, 0) }).unwrap();
        assert_eq!(config(&path).services[0].watch.as_ref().unwrap().salts.len(), 2);
        file.put(Split { users: Users::Salted(1), ..split(2, 10_000) }).unwrap();
        let salted = |path| {
            let service = config(path).services.remove(0);
            assert_eq!(service.watch, None);
            service.bucketing
        };
        let chosen = serin_filter::bucket::Bucketing::new("t");
        assert_eq!(salted(&path), chosen);
        // Who goes on from there keeps it, as long as there are users to keep.
        drop(file);
        let mut next = open(&path, "shop", "v2").unwrap();
        next.put(split(3, 50_000)).unwrap();
        assert_eq!(salted(&path), chosen);
        next.put(split(4, 0)).unwrap();
        drop(next);
        open(&path, "shop", "v2").unwrap().put(split(5, 10_000)).unwrap();
        assert_eq!(salted(&path), serin_filter::bucket::Bucketing::new("s"));
    }

    #[test]
    fn a_file_has_one_rollout_at_a_time() {
        let (_directory, path) = shipped();
        let first = open(&path, "shop", "v2").unwrap();
        let second = open(&path, "cart", "v2").unwrap_err().to_string();
        assert!(second.contains("another serin has a rollout under way in this file"), "{second}");
        drop(first);
        open(&path, "cart", "v2").unwrap();
    }

    #[test]
    fn a_service_is_not_hidden_by_one_that_takes_every_request() {
        let (_directory, path) = shipped();
        open(&path, "shop", "v2").unwrap().put(split(1, 5)).unwrap();
        open(&path, "cart", "v9").unwrap().put(split(2, 10_000)).unwrap();
        let config = config(&path);
        let owner = |authority: &'static [u8]| {
            config.services[config.service(|| Some(authority.to_vec())).unwrap()].name.as_str()
        };
        assert_eq!([owner(b"cart:80"), owner(b"anything")], ["cart", "shop"]);
        let error = EnvoyFile::open(&path, &service("other", "*", "v2")).unwrap_err().to_string();
        assert!(error.contains("\"*\" is service shop's already"), "{error}");
    }

    #[test]
    fn owner_rights_and_links_stay() {
        let (directory, path) = shipped();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o640))
            .unwrap();
        // Only root can give a file away.
        let given = std::os::unix::fs::chown(&path, Some(65_534), Some(65_534)).is_ok();
        let link = directory.path().join("link.json");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        open(&link, "shop", "v2").unwrap().put(split(1, 5)).unwrap();
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!(metadata.mode() & 0o777, 0o640);
        assert_eq!(metadata.uid() == 65_534, given);
        assert!(link.is_symlink());
        assert_eq!(config(&path).generation, Generation(1));
    }

    #[test]
    fn a_file_that_is_not_ours_is_refused_and_left_alone() {
        let (directory, path) = shipped();
        for (text, expected) in [
            ("", "not JSON"),
            ("{}", "no text at /resources/0/name"),
            (&SHIPPED.replace("\\\"schema\\\":1", "\\\"schema\\\":2"), "schema 2 is not the one"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = open(&path, "shop", "v2").unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), *text);
        }
        let missing = open(&directory.path().join("none.json"), "shop", "v2").unwrap_err();
        assert!(missing.to_string().contains("No such file"), "{missing}");
    }
}
