//! The kinds of Istio and the Gateway API.

use std::path::Path;
use std::time::Duration;

use kube::Client;
use kube::api::PostParams;
use serde_json::{Value, json};

use super::{dynamic, objects};
use crate::until;

/// The limit from a kind's definition until the server serves it.
const SERVED: Duration = Duration::from_secs(30);

/// The parameters of a permissive definition.
struct Kind {
    group: &'static str,
    /// The storage version.
    versions: &'static [&'static str],
    kind: &'static str,
    plural: &'static str,
}

const KINDS: [Kind; 5] = [
    Kind {
        group: "networking.istio.io",
        versions: &["v1", "v1beta1", "v1alpha3"],
        kind: "VirtualService",
        plural: "virtualservices",
    },
    Kind {
        group: "networking.istio.io",
        versions: &["v1", "v1beta1", "v1alpha3"],
        kind: "DestinationRule",
        plural: "destinationrules",
    },
    Kind {
        group: "extensions.istio.io",
        versions: &["v1alpha1"],
        kind: "WasmPlugin",
        plural: "wasmplugins",
    },
    Kind {
        group: "gateway.networking.k8s.io",
        versions: &["v1", "v1beta1"],
        kind: "HTTPRoute",
        plural: "httproutes",
    },
    Kind {
        group: "gateway.networking.k8s.io",
        versions: &["v1"],
        kind: "GRPCRoute",
        plural: "grpcroutes",
    },
];

/// Defines all kinds, and waits until the server serves them.
pub(super) async fn define(client: &Client) {
    let published = std::env::var_os("SERIN_CRDS").map(|path| published(Path::new(&path)));
    for kind in &KINDS {
        let name = kind.name();
        let published = published.iter().flatten();
        let mut named = published.filter(|definition| definition["metadata"]["name"] == *name);
        let definition = named.next().cloned().unwrap_or_else(|| kind.permissive());
        let api = objects(client, &definition);
        let made = api.create(&PostParams::default(), &dynamic(&definition)).await;
        made.unwrap_or_else(|error| panic!("{name}: {error}"));
        until_served(client, &definition).await;
    }
}

/// Waits until the server serves the defined kind.
pub(super) async fn until_served(client: &Client, definition: &Value) {
    let name = definition["metadata"]["name"].as_str().expect("a definition has a name");
    let api = objects(client, definition);
    until(SERVED, &format!("{name} is served"), async || {
        let present = api.get(name).await.map_err(|error| error.to_string())?;
        let conditions = &present.data["status"]["conditions"];
        let holds =
            |condition: &Value| condition["type"] == "Established" && condition["status"] == "True";
        let established = conditions.as_array().is_some_and(|list| list.iter().any(holds));
        established.then_some(()).ok_or_else(|| conditions.to_string())
    })
    .await;
}

/// The definitions in the files of a directory.
fn published(directory: &Path) -> Vec<Value> {
    let entries = std::fs::read_dir(directory)
        .unwrap_or_else(|error| panic!("SERIN_CRDS: {}: {error}", directory.display()));
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let yaml = paths.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    let definition = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(&path).expect("a file");
        serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    yaml.map(definition).collect()
}

impl Kind {
    fn name(&self) -> String {
        format!("{}.{}", self.plural, self.group)
    }

    fn permissive(&self) -> Value {
        let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let version = |(index, name): (usize, &&str)| {
            json!({
                "name": name, "served": true, "storage": index == 0,
                "schema": {"openAPIV3Schema": anything},
                "subresources": {"status": {}},
            })
        };
        let versions: Vec<_> = self.versions.iter().enumerate().map(version).collect();
        let singular = self.kind.to_lowercase();
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {
                "name": self.name(),
                // Kubernetes requires this annotation in its own groups.
                "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"},
            },
            "spec": {
                "group": self.group,
                "scope": "Namespaced",
                "names": {"kind": self.kind, "plural": self.plural, "singular": singular},
                "versions": versions,
            },
        })
    }
}
