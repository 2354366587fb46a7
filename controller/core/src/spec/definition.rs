//! The schema of `spec` in a CustomResourceDefinition: a structural schema of OpenAPI 3.0.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::document::Body;

/// Keywords that a structural schema does not use. Unknown fields are pruned without
/// `additionalProperties`. A default filled in by the API server would make the object differ from
/// the one in a repository.
const UNSUPPORTED_KEYWORDS: [&str; 5] =
    ["$schema", "title", "default", "additionalProperties", "format"];

/// The schema of `spec`.
#[must_use]
pub fn schema() -> Value {
    structural_schema::<Body>()
}

/// The structural schema of a type.
#[must_use]
pub fn structural_schema<T: schemars::JsonSchema>() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let mut schema = Value::from(settings.into_generator().into_root_schema_for::<T>());
    structural(&mut schema);
    schema
}

/// Converts a schema and all schemas within it.
fn structural(schema: &mut Value) {
    let Value::Object(fields) = schema else {
        // `true` accepts any value.
        *schema = json!({ "x-kubernetes-preserve-unknown-fields": true });
        return;
    };
    let values_of_a_map = fields.get("additionalProperties").filter(|values| values.is_object());
    let values_of_a_map = values_of_a_map.cloned();
    fields.retain(|name, _| !UNSUPPORTED_KEYWORDS.contains(&name.as_str()));
    fields.extend(values_of_a_map.map(|values| ("additionalProperties".to_owned(), values)));
    not_null(fields);
    one_of_several(fields);
    if let Some(value) = fields.remove("const") {
        fields.insert("enum".to_owned(), json!([value]));
    }
    if let Some(Value::String(text)) = fields.get_mut("description") {
        // Line breaks and links of the source have no meaning here.
        *text = text.replace('\n', " ").replace(['`', '[', ']'], "");
    }
    let properties = fields.get_mut("properties").and_then(Value::as_object_mut);
    properties.into_iter().flat_map(Map::values_mut).for_each(structural);
    for within in ["items", "additionalProperties"] {
        fields.get_mut(within).into_iter().for_each(structural);
    }
}

/// Removes `null`: an optional field is absent instead.
fn not_null(fields: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = fields.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = &types[..] {
            let only = only.clone();
            fields.insert("type".to_owned(), only);
        }
    }
    let is_null = |schema: &Value| schema.get("type").is_some_and(|name| name == "null");
    if let Some(Value::Array(all)) = fields.get("anyOf")
        && let [one, null] = &all[..]
        && is_null(null)
        && let Value::Object(one) = one.clone()
    {
        fields.remove("anyOf");
        for (name, value) in one {
            fields.entry(name).or_insert(value);
        }
    }
    if let Some(Value::Array(values)) = fields.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
}

/// Converts a value of several forms. Words become an enumeration; an integer or a string is marked
/// as such; other forms are left to the operator, because a structural schema cannot express them.
fn one_of_several(fields: &mut Map<String, Value>) {
    let Some(Value::Array(forms)) = fields.remove("oneOf").or_else(|| fields.remove("anyOf"))
    else {
        return;
    };
    let of_type = |form: &Value| form.get("type").and_then(Value::as_str).map(str::to_owned);
    let words = |form: &Value| match (form.get("const"), form.get("enum")) {
        (Some(word), _) => Some(vec![word.clone()]),
        (None, Some(Value::Array(words))) => Some(words.clone()),
        _ => None,
    };
    if let Some(words) = forms.iter().map(words).collect::<Option<Vec<_>>>() {
        fields.insert("type".to_owned(), json!("string"));
        fields.insert("enum".to_owned(), words.concat().into());
        return;
    }
    let types: Vec<_> = forms.iter().filter_map(of_type).collect();
    let mark = match types.iter().all(|name| name == "integer" || name == "string") {
        true => "x-kubernetes-int-or-string",
        false => "x-kubernetes-preserve-unknown-fields",
    };
    fields.remove("type");
    fields.remove("properties");
    fields.insert(mark.to_owned(), json!(true));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every schema in a schema.
    fn all(schema: &Value) -> Vec<&Value> {
        let properties = schema.get("properties").and_then(Value::as_object);
        let within = properties.into_iter().flat_map(Map::values);
        let within = within.chain(schema.get("items")).chain(schema.get("additionalProperties"));
        [vec![schema], within.flat_map(all).collect()].concat()
    }

    #[test]
    fn every_schema_has_a_type_or_a_marker() {
        let schema = schema();
        let parts = all(&schema);
        assert!(parts.len() > 80, "{}", parts.len());
        for part in parts {
            let marks = ["x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields"];
            let marked = marks.iter().any(|mark| part.get(*mark) == Some(&json!(true)));
            assert!(part.get("type").is_some_and(Value::is_string) != marked, "{part}");
            for keyword in ["$ref", "oneOf", "anyOf", "allOf", "const", "$schema", "default"] {
                assert!(part.get(keyword).is_none(), "{keyword}: {part}");
            }
        }
    }

    #[test]
    fn every_field_has_a_description() {
        let schema = schema();
        for part in all(&schema) {
            let properties = part.get("properties").and_then(Value::as_object);
            for (name, field) in properties.into_iter().flatten() {
                let text = field.get("description").and_then(Value::as_str).unwrap_or_default();
                assert!(!text.is_empty() && !text.contains(['\n', '`', '[']), "{name}: {field}");
            }
        }
    }

    #[test]
    fn the_kind_has_meshes_and_no_envoys() {
        let schema = schema();
        let fields = schema["properties"].as_object().unwrap();
        assert!(fields.contains_key("istio") && fields.contains_key("gatewayApi"));
        assert!(!fields.contains_key("envoy"));
        assert_eq!(fields["candidate"]["type"], "string");
        assert_eq!(fields["istio"]["properties"]["mode"]["enum"], json!(["filter", "mesh"]));
        let required = schema["required"].as_array().unwrap();
        let names: Vec<_> = required.iter().filter_map(Value::as_str).collect();
        assert_eq!(names, ["service", "versions", "baseline", "candidate", "strategy"]);
    }
}
