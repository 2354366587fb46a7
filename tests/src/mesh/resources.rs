//! What one Envoy is given, and the files that it comes from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::envoy::files::module_path;

/// Everything that Envoy is given.
pub(super) struct Resources {
    pub(super) listener: Value,
    pub(super) routes: Value,
    pub(super) clusters: Vec<Value>,
    /// By name.
    pub(super) plugins: BTreeMap<String, Value>,
}

/// The paths of the files that one Envoy follows.
#[derive(Clone, Debug)]
pub(super) struct FilePaths {
    pub(super) directory: PathBuf,
}

impl FilePaths {
    pub(super) fn of(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// How Envoy follows the resources of this name.
    pub(super) fn source(&self, name: &str) -> Value {
        json!({
            "path_config_source": { "path": self.resources(name) },
            "resource_api_version": "V3",
        })
    }

    /// Where the module is.
    pub(super) fn module(&self) -> PathBuf {
        module_path(&self.directory)
    }

    /// A plugin's name has slashes in it.
    pub(super) fn resources(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{}.json", name.replace('/', "_")))
    }
}
