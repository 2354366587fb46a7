//! The configuration inside the filter's file: one string field of the shipped
//! `envoy/filter.json`.

use serde_json::Value;

/// Reads the configuration from the file's text.
pub(super) fn configuration(file: &str) -> String {
    let file: Value = serde_json::from_str(file).expect("the filter's file is JSON");
    file.pointer(FIELD).and_then(Value::as_str).expect("the configuration's text").to_owned()
}

/// Replaces the configuration in the file's text.
pub(super) fn with_configuration(file: &str, configuration: &str) -> String {
    let mut file: Value = serde_json::from_str(file).expect("the filter's file is JSON");
    *file.pointer_mut(FIELD).expect("the configuration's text") = configuration.into();
    file.to_string()
}

const FIELD: &str = "/resources/0/typed_config/config/configuration/value";
