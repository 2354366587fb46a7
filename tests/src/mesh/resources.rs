//! The resources of one Envoy, and the files that contain them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::envoy::files::module_path;

/// All resources of an Envoy.
pub(super) struct Resources {
    pub(super) listener: Value,
    pub(super) routes: Value,
    pub(super) clusters: Vec<Value>,
    /// By name.
    pub(super) plugins: BTreeMap<String, Value>,
}

/// The paths of one Envoy's files.
#[derive(Clone, Debug)]
pub(super) struct FilePaths {
    pub(super) directory: PathBuf,
}

impl FilePaths {
    pub(super) fn of(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// The `ConfigSource` of the resources with this name.
    pub(super) fn source(&self, name: &str) -> Value {
        json!({
            "path_config_source": { "path": self.resources(name) },
            "resource_api_version": "V3",
        })
    }

    /// The path of the module.
    pub(super) fn module(&self) -> PathBuf {
        module_path(&self.directory)
    }

    /// A plugin's name contains slashes.
    pub(super) fn resources(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{}.json", name.replace('/', "_")))
    }
}
