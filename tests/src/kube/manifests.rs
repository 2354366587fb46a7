//! The manifests in `envoy/kubernetes`, as `kubectl apply -k` would apply them.
//!
//! The kustomization does no more than to list files and to name an image, so nothing is lost by reading it here.

use std::path::Path;

use kube::Error;
use kube::api::PostParams;
use serde_json::Value;

use super::{ApiServer, crds, dynamic, objects, root};

const DIRECTORY: &str = "envoy/kubernetes";

/// Kinds that Kubernetes 1.20 does not have in the version that clusters of today want.
pub const TOO_NEW: [(&str, &str); 1] = [("policy/v1", "PodDisruptionBudget")];

/// All objects, in the order of the kustomization.
///
/// # Panics
/// When a file is missing or is not YAML.
pub fn all() -> Vec<Value> {
    let directory = root().join(DIRECTORY);
    let kustomization = file(&directory.join("kustomization.yaml"));
    let resources = kustomization[0]["resources"].as_array().expect("a list of files");
    let path = |name: &Value| directory.join(name.as_str().expect("a file's name"));
    resources.iter().flat_map(|name| file(&path(name))).collect()
}

impl ApiServer {
    /// Applies all that this server can have, and gives it as the server has it. The kinds in it are served then.
    ///
    /// # Panics
    /// When the server refuses an object that is not of [`TOO_NEW`], or takes one that is.
    pub async fn install(&self) -> Vec<Value> {
        let mut installed = Vec::new();
        for object in all() {
            let api = objects(&self.admin(), &object);
            let made = api.create(&PostParams::default(), &dynamic(&object)).await;
            match made {
                Ok(made) => {
                    assert!(!is_too_new(&object), "this server has the kind now: {object}");
                    if object["kind"] == "CustomResourceDefinition" {
                        crds::until_served(&self.admin, &object).await;
                    }
                    installed.push(serde_json::to_value(made).expect("JSON"));
                }
                Err(Error::Api(status)) if status.is_not_found() && is_too_new(&object) => {}
                Err(error) => panic!("{object}: {error}"),
            }
        }
        installed
    }
}

/// Whether an object is of a kind that this server does not have.
pub fn is_too_new(object: &Value) -> bool {
    TOO_NEW
        .iter()
        .any(|(version, kind)| object["apiVersion"] == *version && object["kind"] == *kind)
}

/// The documents in a text.
///
/// # Panics
/// When it is not YAML.
pub fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error} in\n{text}"))
}

fn file(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path);
    documents(&text.unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}
