//! The open sinks of a process, one for each location.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serin_core::config::sink::SinkLocation;

use super::RouteError;
use super::envoy_file::{EnvoyFile, FileError};
use super::sink::SharedSink;
use super::xds_group::{XdsGroup, XdsGroups};

/// The open sinks of this process.
#[derive(Debug, Clone, Default)]
pub struct ConfigSinks {
    files: Arc<Mutex<BTreeMap<PathBuf, Weak<Mutex<EnvoyFile>>>>>,
    groups: Option<Arc<XdsGroups>>,
}

impl ConfigSinks {
    /// Sinks with an xDS server for groups of proxies.
    #[must_use]
    pub fn with_groups(groups: XdsGroups) -> Self {
        Self { groups: Some(Arc::new(groups)), ..Self::default() }
    }

    pub(super) fn open(&self, location: &SinkLocation) -> Result<SharedSink, RouteError> {
        match location {
            SinkLocation::File(path) => Ok(self.file(path)?),
            SinkLocation::Group(group) => match &self.groups {
                Some(groups) => Ok(groups.open(group)? as Arc<Mutex<XdsGroup>>),
                None => Err(RouteError::NoXdsServer),
            },
        }
    }

    fn file(&self, path: &Path) -> Result<Arc<Mutex<EnvoyFile>>, FileError> {
        // The target of a link is replaced, not the link.
        let path = std::fs::canonicalize(path)
            .map_err(|cause| FileError::Io { path: path.to_owned(), cause })?;
        let mut open = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, file| file.strong_count() > 0);
        if let Some(file) = open.get(&path).and_then(Weak::upgrade) {
            return Ok(file);
        }
        let file = Arc::new(Mutex::new(EnvoyFile::open(&path)?));
        open.insert(path, Arc::downgrade(&file));
        Ok(file)
    }
}
