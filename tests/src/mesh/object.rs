//! An object on the server, with its specification in a type of the mesh double.

use std::sync::Arc;

use kube::api::DynamicObject;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// An object whose specification the double supports.
#[derive(Debug)]
pub(super) struct Object<S> {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) generation: i64,
    /// The object as the server stores it, for writes.
    pub(super) source: Arc<DynamicObject>,
    pub(super) spec: S,
}

impl<S: DeserializeOwned> Object<S> {
    /// # Errors
    /// The field that is unknown or invalid.
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

/// The name of an object in messages.
pub(super) fn title(object: &DynamicObject) -> String {
    let kind = object.types.as_ref().map_or("object", |types| &types.kind);
    let metadata = &object.metadata;
    let [namespace, name] =
        [&metadata.namespace, &metadata.name].map(|part| part.as_deref().unwrap_or_default());
    format!("{kind} {namespace}/{name}")
}
