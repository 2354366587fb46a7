//! An object as the server has it, with its specification in a type of the double's own.

use std::sync::Arc;

use kube::api::DynamicObject;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// An object whose specification can be obeyed.
#[derive(Debug)]
pub(super) struct Object<S> {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) generation: i64,
    /// What the server has, to be written to.
    pub(super) source: Arc<DynamicObject>,
    pub(super) spec: S,
}

impl<S: DeserializeOwned> Object<S> {
    /// # Errors
    /// What in the specification is not known, or is wrong.
    pub(super) fn read(source: &Arc<DynamicObject>) -> Result<Self, String> {
        let spec = source.data.get("spec").cloned().unwrap_or(Value::Null);
        Ok(Self {
            name: source.metadata.name.clone().unwrap_or_default(),
            namespace: source.metadata.namespace.clone().unwrap_or_default(),
            generation: source.metadata.generation.unwrap_or_default(),
            source: source.clone(),
            spec: serde_json::from_value(spec).map_err(|error| error.to_string())?,
        })
    }
}

/// What an object is called in a message.
pub(super) fn title(object: &DynamicObject) -> String {
    let kind = object.types.as_ref().map_or("object", |types| &types.kind);
    let metadata = &object.metadata;
    let [namespace, name] =
        [&metadata.namespace, &metadata.name].map(|part| part.as_deref().unwrap_or_default());
    format!("{kind} {namespace}/{name}")
}
