//! The OpenAPI document is valid and complete.

use serde_json::Value;
use serin::server::api::openapi::document;

const SCHEMA: &str = include_str!("openapi/schema-3.1.json");

/// Each value within a value, and the value itself.
fn parts(value: &Value) -> Vec<&Value> {
    let within: Vec<&Value> = match value {
        Value::Object(fields) => fields.values().collect(),
        Value::Array(values) => values.iter().collect(),
        _ => Vec::new(),
    };
    [vec![value], within.into_iter().flat_map(parts).collect()].concat()
}

#[test]
fn the_document_is_valid_openapi() {
    let schema = serde_json::from_str(SCHEMA).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let document = document();
    let errors: Vec<_> = validator
        .iter_errors(&document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
    let mut broken = document;
    broken["paths"]["/v1/rollouts"]["get"]["responses"]["200"]["description"] = Value::Null;
    assert!(!validator.is_valid(&broken), "the schema accepts a broken document");
}

#[test]
fn every_schema_is_valid() {
    let document = document();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        assert!(jsonschema::meta::is_valid(schema), "{name}");
    }
}

#[test]
fn every_reference_resolves_and_every_schema_is_used() {
    let document = document();
    let references: Vec<_> =
        parts(&document).into_iter().filter_map(|part| part.get("$ref")?.as_str()).collect();
    assert!(references.len() > 20, "{references:?}");
    for reference in &references {
        let pointer = reference.strip_prefix('#').expect(reference);
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    for name in document["components"]["schemas"].as_object().unwrap().keys() {
        let reference = format!("#/components/schemas/{name}");
        assert!(references.contains(&reference.as_str()), "{name} is unused");
    }
}

#[test]
fn descriptions_have_no_markup() {
    let document = document();
    for part in parts(&document) {
        let Some(description) = part.get("description").and_then(Value::as_str) else { continue };
        assert!(!description.contains('\n') && !description.contains("[`"), "{description}");
    }
}

#[test]
fn routes_document_their_tokens() {
    let document = document();
    let mut open = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let refusals =
                ["401", "403"].map(|status| operation["responses"].get(status).is_some());
            match (operation.get("security").is_some(), method.as_str()) {
                (false, _) => open.push(path.as_str()),
                (true, "get") => assert_eq!(refusals, [true, false], "{method} {path}"),
                (true, _) => assert_eq!(refusals, [true, true], "{method} {path}"),
            }
        }
    }
    assert_eq!(open, ["/healthz", "/readyz", "/openapi.json"]);
}
