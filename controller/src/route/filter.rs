//! A split as a table of buckets in the filter's configuration, for the service of one rollout.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use serin_filter::config::wire;
use serin_filter::names::Generation;
use serin_filter::table::{Run, Table, TableError, Weight};

use super::envoy_file::{EnvoyFile, FileError};
use super::{Router, Split, Users};

/// The files in which rollouts of this process are under way. Those of one file share it.
#[derive(Debug, Clone, Default)]
pub struct Files(Arc<Mutex<BTreeMap<PathBuf, Weak<Mutex<EnvoyFile>>>>>);

impl Files {
    fn open(&self, path: &Path) -> Result<Arc<Mutex<EnvoyFile>>, FileError> {
        // What a link points to is replaced, not the link.
        let path = std::fs::canonicalize(path)
            .map_err(|cause| FileError::Io { path: path.to_owned(), cause })?;
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, file| file.strong_count() > 0);
        if let Some(file) = open.get(&path).and_then(Weak::upgrade) {
            return Ok(file);
        }
        let file = Arc::new(Mutex::new(EnvoyFile::open(&path)?));
        open.insert(path, Arc::downgrade(&file));
        Ok(file)
    }
}

/// The service of one rollout in the filter's configuration.
#[derive(Debug)]
pub struct FilterRouter {
    file: Arc<Mutex<EnvoyFile>>,
    service: wire::Service,
    /// What may be watched.
    watch: Option<wire::Watch>,
    table: Table,
    /// Users of versions that take no part in the rollout, which counts them as the baseline's.
    others: Weight,
    /// The rollout's generation that the file carries.
    generation: Generation,
    /// The file's generation from which on it does.
    since: Generation,
}

impl FilterRouter {
    /// Opens the file at `path` for a rollout of `service`. Nothing is written to it.
    ///
    /// # Errors
    /// The file is not there (Envoy needs it to start), is not what it has to be, or another serin has it; or the filter would not take the
    /// service.
    pub fn open(files: &Files, path: &Path, service: &wire::Service) -> Result<Self, FileError> {
        let file = files.open(path)?;
        let mut service = service.clone();
        let (table, others, since, generation) = {
            let file = lock(&file);
            let present = file.config().services.iter().find(|s| s.name == service.name);
            let (table, others) = match present {
                Some(present) => present_table(present, &service)?,
                None => (Table::all(0), Weight::ZERO),
            };
            if let Some(present) = present
                && table.weight(1) > Weight::ZERO
            {
                // Another salt would give the candidate other users.
                service.salt.clone_from(&present.salt);
            }
            let since = file.config().generation;
            (table, others, since, file.carried(&service.name).unwrap_or(since))
        };
        let router = Self { file, service, watch: None, table, others, generation, since };
        router.check(Users::Usual)?;
        Ok(router)
    }

    /// Lets splits ask for this to be watched.
    ///
    /// # Errors
    /// The filter would not take it.
    pub fn allow(&mut self, watch: wire::Watch) -> Result<(), FileError> {
        self.watch = Some(watch);
        self.check(Users::Watched)
    }

    fn file(&self) -> MutexGuard<'_, EnvoyFile> {
        lock(&self.file)
    }

    fn check(&self, users: Users) -> Result<(), FileError> {
        let file = self.file();
        file.with(self.service_with(&self.table, users), file.config().generation).map(drop)
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
    pub fn filter(&self) -> String {
        self.file().filter().to_owned()
    }

    /// The rollout's generation that the file carries.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The file's own generation.
    #[must_use]
    pub fn file_generation(&self) -> Generation {
        self.file().config().generation
    }

    /// Puts a split in force, with the least movement of users. To apply the same split again changes nothing but makes Envoy look again.
    ///
    /// # Errors
    /// The file could not be written; the old one is still there.
    pub fn put(&mut self, split: Split) -> Result<(), FileError> {
        let table = self.table.shifted(&[split.candidate.rest(), split.candidate])?;
        let service = self.service_with(&table, split.users);
        let mut file = lock(&self.file);
        let (since, written) = match split.generation == self.generation {
            true => (self.since, file.config().generation),
            false => {
                let next = split.generation.max(file.config().generation.next());
                (next, next)
            }
        };
        let config = file.with(service, written)?;
        file.write(config, &self.service.name, split.generation)?;
        drop(file);
        (self.table, self.generation, self.since) = (table, split.generation, since);
        Ok(())
    }

    /// The service with this table.
    fn service_with(&self, table: &Table, users: Users) -> wire::Service {
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
        service
    }
}

impl Router for FilterRouter {
    async fn apply(&mut self, split: Split) -> Result<(), String> {
        self.put(split).map_err(|error| error.to_string())
    }

    /// Any generation of the file carries the rollout's from when it was written on.
    fn generation_at(&self, running: Generation) -> Generation {
        match running {
            foreign if foreign > self.file_generation() => foreign,
            running if running >= self.since => self.generation,
            older => older.min(Generation(self.generation.0.saturating_sub(1))),
        }
    }
}

fn lock(file: &Mutex<EnvoyFile>) -> MutexGuard<'_, EnvoyFile> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The present division of users between baseline and candidate, and the weight of versions that take no part in this rollout: their users
/// count as the baseline's.
fn present_table(
    present: &wire::Service,
    service: &wire::Service,
) -> Result<(Table, Weight), TableError> {
    if present.buckets.is_empty() {
        return Ok((Table::all(0), Weight::ZERO));
    }
    let mut others = 0;
    let table = Table::new(present.buckets.iter().map(|buckets| {
        let version = service.versions.iter().position(|v| v.name == buckets.version);
        others += if version.is_none() { buckets.count } else { 0 };
        Run { version: version.unwrap_or(0), buckets: buckets.count }
    }))?;
    Ok((table, Weight::from_ppm(others).unwrap_or(Weight::ALL)))
}

#[cfg(test)]
mod tests;
