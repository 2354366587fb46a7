//! The status of a route that an implementation of the Gateway API writes.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client, Error};
use serde_json::{Value, json};

use super::gateway_api::Verdict;
use super::object::title;

/// The name of this controller. Entries of other controllers in the same status stay.
const CONTROLLER: &str = "serin.dev/mesh-double";

/// A route with the conditions of its parents.
pub(super) struct Statement {
    pub(super) object: Arc<DynamicObject>,
    pub(super) generation: i64,
    pub(super) verdicts: Vec<Verdict>,
}

/// Writes the conditions that changed.
///
/// # Errors
/// The object whose status could not be written, with the error. A deleted route is no error.
pub(super) async fn say(client: &Client, statement: &Statement) -> Result<(), String> {
    let object = &statement.object;
    let present = object.data.pointer("/status/parents").and_then(Value::as_array);
    let present = present.map(Vec::as_slice).unwrap_or_default();
    let (ours, others): (Vec<_>, Vec<_>) =
        present.iter().cloned().partition(|parent| parent["controllerName"] == CONTROLLER);
    let parents: Vec<_> = statement
        .verdicts
        .iter()
        .map(|verdict| parent(verdict, statement.generation, &ours))
        .collect();
    if parents == ours {
        return Ok(());
    }
    let (Some(types), Some(name)) = (&object.types, &object.metadata.name) else { return Ok(()) };
    let kind = GroupVersionKind::try_from(types).map_err(|error| error.to_string())?;
    let resource = ApiResource::from_gvk(&kind);
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &resource);
    let parents: Vec<_> = others.into_iter().chain(parents).collect();
    let status = Patch::Merge(json!({ "status": { "parents": parents } }));
    match api.patch_status(name, &PatchParams::default(), &status).await {
        Ok(_) => Ok(()),
        Err(Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(format!("{}: {error}", title(object))),
    }
}

fn parent(verdict: &Verdict, generation: i64, before: &[Value]) -> Value {
    let before = before.iter().find(|said| said["parentRef"] == verdict.parent);
    let before = before.and_then(|said| said["conditions"].as_array());
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        let same = before
            .into_iter()
            .flatten()
            .find(|condition| condition["type"] == kind && condition["status"] == status);
        // `lastTransitionTime` is that of the last change of the status, not of the last write.
        let since = same.map(|condition| condition["lastTransitionTime"].clone());
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "observedGeneration": generation,
            "lastTransitionTime": since.unwrap_or_else(now),
        })
    };
    let resolved = match &verdict.unresolved {
        None => condition("ResolvedRefs", "True", "ResolvedRefs", "All references resolved"),
        Some(flaw) => condition("ResolvedRefs", "False", flaw.reason, &flaw.message),
    };
    json!({
        "parentRef": verdict.parent,
        "controllerName": CONTROLLER,
        "conditions": [condition("Accepted", "True", "Accepted", "Route was valid"), resolved],
    })
}

/// In whole seconds, as Kubernetes writes times.
fn now() -> Value {
    let seconds = Timestamp::from_second(Timestamp::now().as_second());
    seconds.map_or(Value::Null, |now| now.to_string().into())
}
