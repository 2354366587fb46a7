//! The manifests in `envoy/kubernetes`, as `kubectl apply -k` applies them.
//!
//! The kustomization only lists files and sets an image, so this module reads it directly.

use std::path::Path;

use kube::api::{Patch, PatchParams};
use serde_json::Value;

use super::{ApiServer, crds, objects, root};

const DIRECTORY: &str = "envoy/kubernetes";

/// All objects, in the order of the kustomization.
///
/// # Panics
/// A file is missing or is not YAML.
pub fn all() -> Vec<Value> {
    let directory = root().join(DIRECTORY);
    let kustomization = file(&directory.join("kustomization.yaml"));
    let resources = kustomization[0]["resources"].as_array().expect("a list of files");
    let path = |name: &Value| directory.join(name.as_str().expect("a file's name"));
    resources.iter().flat_map(|name| file(&path(name))).collect()
}

impl ApiServer {
    /// Applies all objects, and returns the stored objects. The server then serves their kinds.
    ///
    /// # Panics
    /// The server rejects an object, or does not know a field.
    pub async fn install(&self) -> Vec<Value> {
        let mut installed = Vec::new();
        for object in all() {
            let api = objects(&self.admin(), &object);
            let name = object["metadata"]["name"].as_str().expect("a name");
            let strict = PatchParams::apply("serin-tests").validation_strict();
            let applied = api.patch(name, &strict, &Patch::Apply(&object)).await;
            let applied = applied.unwrap_or_else(|error| panic!("{object}: {error}"));
            if object["kind"] == "CustomResourceDefinition" {
                crds::until_served(&self.admin, &object).await;
            }
            installed.push(serde_json::to_value(applied).expect("JSON"));
        }
        installed
    }
}

/// The documents in a text.
///
/// # Panics
/// The text is not YAML.
pub fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error} in\n{text}"))
}

fn file(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path);
    documents(&text.unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}
