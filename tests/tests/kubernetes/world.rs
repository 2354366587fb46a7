//! A server with the kinds of the meshes.

use kube::api::{Patch, PatchParams};
use kube::{Client, Error};
use serde_json::{Value, json};
use serin::kubernetes::patches::Edits;
use serin_tests::kube::{ApiServer, objects};

/// `None` without an API server.
pub(crate) async fn world() -> Option<ApiServer> {
    let server = ApiServer::start().await?;
    server.define_mesh().await;
    Some(server)
}

/// Applies edits as a JSON patch; returns the object on the server.
pub(crate) async fn patch(client: &Client, object: &Value, edits: &Edits) -> Result<Value, Error> {
    let patch: Patch<()> = Patch::Json(edits.patch());
    let api = objects(client, object);
    let patched = api.patch(name(object), &PatchParams::default(), &patch).await;
    patched.map(|object| json!(object))
}

/// The present object on the server.
pub(crate) async fn read(client: &Client, object: &Value) -> Value {
    json!(objects(client, object).get(name(object)).await.expect("the object exists"))
}

/// Another client's write: merges this into the object.
pub(crate) async fn merge(client: &Client, object: &Value, change: Value) {
    let patch = Patch::Merge(change);
    let api = objects(client, object);
    api.patch(name(object), &PatchParams::default(), &patch).await.expect("the server merges");
}

/// Whether the server rejected a write to a changed object.
pub(crate) fn stale(error: &Error) -> bool {
    matches!(error, Error::Api(status) if [409, 422].contains(&status.code))
}

pub(crate) fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().expect("an object has a name")
}
