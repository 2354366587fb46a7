//! The definition of the kind `ServiceRollout`, generated from the types that serin reads.

mod rules;

use serde_json::{Value, json};
use serin_core::spec::definition::{schema, structural_schema};
use serin_core::spec::{API_VERSION, KIND};

use super::status::ObjectStatus;

/// The plural by which the kind is called in paths.
pub const PLURAL: &str = "servicerollouts";

/// The kind's group and version.
#[must_use]
pub fn group_and_version() -> (&'static str, &'static str) {
    API_VERSION.split_once('/').unwrap_or(("", API_VERSION))
}

/// The CustomResourceDefinition.
#[must_use]
pub fn definition() -> Value {
    let (group, version) = group_and_version();
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{PLURAL}.{group}") },
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": format!("{KIND}List"),
                "plural": PLURAL,
                "singular": KIND.to_lowercase(),
                "shortNames": ["sro"],
                "categories": ["serin"],
            },
            "versions": [{
                "name": version,
                "served": true,
                "storage": true,
                "subresources": { "status": {} },
                "additionalPrinterColumns": columns(),
                "schema": { "openAPIV3Schema": {
                    "description": "A service's way from one version to the next.",
                    "type": "object",
                    "required": ["spec"],
                    "properties": {
                        "apiVersion": { "type": "string" },
                        "kind": { "type": "string" },
                        "metadata": { "type": "object" },
                        "spec": rules::with_rules(schema()),
                        "status": structural_schema::<ObjectStatus>(),
                    },
                } },
            }],
        },
    })
}

/// What `kubectl get` shows.
fn columns() -> Value {
    let column =
        |name: &str, path: &str| json!({ "name": name, "type": "string", "jsonPath": path });
    json!([
        column("Service", ".spec.service"),
        column("Stable", ".status.stable"),
        column("Candidate", ".spec.candidate"),
        column("Phase", ".status.phase"),
        column("Step", ".status.step"),
        column("Weight", ".status.weight"),
        { "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp" },
        { "name": "Message", "type": "string", "jsonPath": ".status.message", "priority": 1 },
    ])
}

/// The definition as a file has it.
///
/// # Errors
/// It can't be written as YAML.
pub fn yaml() -> Result<String, String> {
    const HEAD: &str = "# Written by `serin crd`. Do not edit: change the types in controller/src and run it again.\n";
    let text = serde_saphyr::to_string(&definition()).map_err(|error| error.to_string())?;
    Ok(format!("{HEAD}{text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_what_the_types_say() {
        let file = include_str!("../../../envoy/kubernetes/crd.yaml");
        assert!(file == yaml().unwrap(), "run: serin crd > envoy/kubernetes/crd.yaml");
        let read: Value = serde_saphyr::from_str(file).unwrap();
        assert_eq!(read, definition());
    }

    #[test]
    fn columns_show_fields_that_are_there() {
        let definition = definition();
        let version = &definition["spec"]["versions"][0];
        let schema = &version["schema"]["openAPIV3Schema"];
        for column in version["additionalPrinterColumns"].as_array().unwrap() {
            let path = column["jsonPath"].as_str().unwrap();
            if path.starts_with(".metadata") {
                continue;
            }
            let pointer = path.replace('.', "/properties/");
            assert!(schema.pointer(&pointer).is_some(), "{path}");
        }
    }
}
