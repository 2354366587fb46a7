//! Objects of the API server, and its errors.

use std::fmt::Debug;
use std::time::Duration;

use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use kube::{Api, Client, Error, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use serin_core::spec::KIND;
use thiserror::Error;
use tokio::time::timeout;

use super::crd::{PLURAL, group_and_version};
use super::fence::{Fence, LeaseLost};
use crate::kubernetes::patches::wasm_plugin::PluginError;
use crate::kubernetes::patches::{Edits, FieldError};

/// Timeout of a request. A write may still arrive later; it carries the version that it was
/// decided on.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

/// The most attempts to write an object that another writer keeps changing.
const MAX_ATTEMPTS: usize = 10;

/// An error of a read or a write.
#[derive(Debug, Error)]
#[allow(missing_docs)] // the messages say it
pub enum ClusterError {
    #[error("{what} does not exist")]
    Missing { what: String },
    #[error("the cluster has no kind {kind}: install its definition")]
    NoKind { kind: String },
    #[error("{what}: the operator's account may not read or write it: {reason}")]
    Forbidden { what: String, reason: String },
    #[error("{what}: another writer keeps changing it")]
    Contended { what: String },
    #[error("{what}: {reason}")]
    Rejected { what: String, reason: String },
    #[error("{what}: no answer from the API server within {} s", TIMEOUT.as_secs())]
    Timeout { what: String },
    #[error("{what}: {cause}")]
    Field { what: String, cause: FieldError },
    #[error("{what}: {cause}")]
    Plugin { what: String, cause: PluginError },
    #[error("{reason}")]
    DestinationMissing { reason: String },
    #[error(transparent)]
    LeaseLost(#[from] LeaseLost),
}

/// A kind of object.
#[must_use]
pub(crate) fn api_resource(group: &str, version: &str, kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

/// The kind ServiceRollout.
#[must_use]
pub(crate) fn rollouts() -> ApiResource {
    let (group, version) = group_and_version();
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, KIND), PLURAL)
}

/// One object that serin reads and patches.
#[derive(Debug, Clone)]
pub(crate) struct ManagedObject {
    api: Api<DynamicObject>,
    kind: String,
    name: String,
    /// The subresource to read and patch; the object if absent.
    subresource: Option<&'static str>,
    fence: Fence,
}

impl ManagedObject {
    /// The object of this kind and name.
    #[must_use]
    pub(crate) fn new(
        client: Client,
        resource: &ApiResource,
        namespace: &str,
        name: &str,
        fence: Fence,
    ) -> Self {
        let api = Api::namespaced_with(client, namespace, resource);
        let (kind, name) = (resource.kind.clone(), name.to_owned());
        Self { api, kind, name, subresource: None, fence }
    }

    /// The subresource of this name.
    #[must_use]
    pub(crate) fn subresource(self, name: &'static str) -> Self {
        Self { subresource: Some(name), ..self }
    }

    /// Its kind and name.
    #[must_use]
    pub(crate) fn describe(&self) -> String {
        format!("{} {}", self.kind, self.name)
    }

    /// All objects of its kind in its namespace, to be watched.
    #[must_use]
    pub(crate) fn api(&self) -> (Api<DynamicObject>, &str) {
        (self.api.clone(), &self.name)
    }

    /// Reads it.
    ///
    /// # Errors
    /// The object does not exist, or can't be read.
    pub(crate) async fn read(&self) -> Result<Value, ClusterError> {
        let object = match self.subresource {
            Some(part) => self.with_timeout(self.api.get_subresource(part, &self.name)).await,
            None => self.with_timeout(self.api.get(&self.name)).await,
        };
        Ok(json!(object?))
    }

    /// Applies the edits that `decide` returns for the object; decides again if another writer was
    /// first. Returns the object.
    ///
    /// # Errors
    /// The object is unchanged.
    pub(crate) async fn change<E>(
        &self,
        decide: impl Fn(&Value) -> Result<Edits, E>,
    ) -> Result<Value, ClusterError>
    where
        ClusterError: From<(String, E)>,
    {
        let mut refused: Option<(Value, String)> = None;
        for _ in 0..MAX_ATTEMPTS {
            let object = self.read().await?;
            if let Some((before, reason)) = refused.take()
                && version(&before) == version(&object)
            {
                // The object is unchanged: the server rejects the edits.
                return Err(ClusterError::Rejected { what: self.describe(), reason });
            }
            let edits = decide(&object).map_err(|error| (self.describe(), error))?;
            if edits.is_empty() {
                return Ok(object);
            }
            self.fence.check()?;
            match timeout(TIMEOUT, self.patch(&edits)).await {
                Ok(Ok(object)) => return Ok(json!(object)),
                Ok(Err(Error::Api(status))) if [409, 422].contains(&status.code) => {
                    refused = Some((object, status.message.clone()));
                }
                Ok(Err(error)) => return Err(self.error(error)),
                Err(_) => return Err(ClusterError::Timeout { what: self.describe() }),
            }
        }
        Err(ClusterError::Contended { what: self.describe() })
    }

    async fn patch(&self, edits: &Edits) -> Result<DynamicObject, Error> {
        let patch: Patch<()> = Patch::Json(edits.patch());
        let params = PatchParams::default();
        match self.subresource {
            Some(part) => self.api.patch_subresource(part, &self.name, &params, &patch).await,
            None => self.api.patch(&self.name, &params, &patch).await,
        }
    }

    async fn with_timeout<T>(
        &self,
        request: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, ClusterError> {
        with_timeout(&self.describe(), &self.kind, request).await
    }

    fn error(&self, error: Error) -> ClusterError {
        classify(&self.describe(), &self.kind, error)
    }
}

fn version(object: &Value) -> Option<&Value> {
    object.pointer("/metadata/resourceVersion")
}

/// Sends a request about `what`.
async fn with_timeout<T>(
    what: &str,
    kind: &str,
    request: impl Future<Output = Result<T, Error>>,
) -> Result<T, ClusterError> {
    match timeout(TIMEOUT, request).await {
        Ok(answer) => answer.map_err(|error| classify(what, kind, error)),
        Err(_) => Err(ClusterError::Timeout { what: what.to_owned() }),
    }
}

/// Classifies an error of the client.
pub(crate) fn classify(what: &str, kind: &str, error: Error) -> ClusterError {
    let what = what.to_owned();
    match error {
        // The answer for a missing object has a name; the answer for a missing kind has none.
        Error::Api(status) if status.code == 404 => {
            let named = status.details.as_ref().is_some_and(|details| !details.name.is_empty());
            match named {
                true => ClusterError::Missing { what },
                false => ClusterError::NoKind { kind: kind.to_owned() },
            }
        }
        Error::Api(status) if [401, 403].contains(&status.code) => {
            ClusterError::Forbidden { what, reason: status.message.clone() }
        }
        Error::Api(status) => ClusterError::Rejected { what, reason: status.message.clone() },
        other => ClusterError::Rejected { what, reason: root(&other) },
    }
}

fn root(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => root(cause),
        None => error.to_string(),
    }
}

impl ClusterError {
    /// The reason in CamelCase, which is stable.
    #[must_use]
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "ObjectMissing",
            Self::NoKind { .. } => "CRDNotInstalled",
            Self::Forbidden { .. } => "Forbidden",
            Self::Contended { .. } => "Contended",
            Self::Rejected { .. } | Self::Timeout { .. } => "ApiServer",
            Self::Field { .. } | Self::Plugin { .. } => "ObjectInvalid",
            Self::DestinationMissing { .. } => "DestinationMissing",
            Self::LeaseLost(_) => "NotLeading",
        }
    }
}

impl From<(String, PluginError)> for ClusterError {
    fn from((what, cause): (String, PluginError)) -> Self {
        Self::Plugin { what, cause }
    }
}

impl From<(String, FieldError)> for ClusterError {
    fn from((what, cause): (String, FieldError)) -> Self {
        Self::Field { what, cause }
    }
}

/// All objects of a kind in a namespace.
///
/// # Errors
/// The list can't be read.
pub(crate) async fn list<K>(api: &Api<K>, kind: &str) -> Result<Vec<K>, ClusterError>
where
    K: Clone + DeserializeOwned + Debug,
{
    let what = format!("the list of {kind}s");
    Ok(with_timeout(&what, kind, api.list(&ListParams::default())).await?.items)
}

/// Sets the finalizers of a ServiceRollout.
///
/// # Errors
/// The server rejects the change, perhaps because the object has changed.
pub(crate) async fn finalize(
    api: &Api<DynamicObject>,
    object: &DynamicObject,
    finalizers: Vec<String>,
    fence: &Fence,
) -> Result<DynamicObject, ClusterError> {
    fence.check()?;
    let what = format!("{KIND} {}", object.name_any());
    let patch = Patch::Merge(json!({ "metadata": {
        "resourceVersion": object.metadata.resource_version,
        "finalizers": finalizers,
    } }));
    let params = PatchParams::default();
    let name = object.name_any();
    let request = async {
        match api.patch(&name, &params, &patch).await {
            Err(Error::Api(status)) if status.code == 409 => Ok(None),
            answer => answer.map(Some),
        }
    };
    with_timeout(&what, KIND, request).await?.ok_or(ClusterError::Contended { what })
}
