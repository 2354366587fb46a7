//! The Gateway API's HTTPRoute and GRPCRoute: weights of their rules' backends.
//!
//! Only `spec.rules[].backendRefs[].weight` is ever changed. Whether a gateway follows is in the object's status:
//! [`super::acceptance`].

use serde_json::{Map, Value, json};
use serin_core::config::mesh::{Backend, RouteWeights, Versions};
use serin_filter::table::Weight;

use super::field::Field;
use super::find::{WeightedBackend, find_routes};
use super::routes::WEIGHT;
use super::{FieldError, MissingCandidate, RolloutRoutes};

/// The weights by which a candidate gets this share: of 100 if it is a whole percentage, for people read it, or else of the
/// 1,000,000 that the Gateway API allows.
#[must_use]
pub fn route_weights(candidate: Weight) -> RouteWeights {
    RouteWeights::percent(candidate).unwrap_or_else(|_| RouteWeights::ppm(candidate))
}

/// The rules of an HTTPRoute or GRPCRoute that are a rollout's.
///
/// # Errors
/// There is none, or one that has more backends than the two, or the object is none of the Gateway API; with the path.
pub fn routes(
    object: &Value,
    versions: &Versions<Backend>,
    missing: MissingCandidate,
) -> Result<RolloutRoutes, FieldError> {
    find_routes(object, versions, missing)
}

impl WeightedBackend for Backend {
    const GROUP: &'static str = "gateway.networking.k8s.io";
    const KINDS: &'static [&'static str] = &["HTTPRoute", "GRPCRoute"];
    const ROUTES: &'static str = "rules";
    const ENTRIES: &'static str = "backendRefs";
    const DEFAULT_WEIGHT: u32 = 1;
    const COPIED_FIELDS: &'static [&'static str] =
        &["group", "kind", "name", "namespace", "port", "weight"];

    fn matches(&self, entry: &Field<'_>, namespace: Option<&str>) -> Result<bool, FieldError> {
        let text = |name| entry.get(name).map(|field| field.text()).transpose();
        let port = entry.get("port").map(|port| port.number()).transpose()?;
        let its = text("namespace")?.or(namespace);
        let ours = self.namespace.as_deref().or(namespace);
        Ok(text("group")?.is_none_or(str::is_empty)
            && text("kind")?.is_none_or(|kind| kind == "Service")
            && entry.required("name")?.text()? == self.name
            && its == ours
            && self.port.is_none_or(|wanted| port == Some(wanted.into())))
    }

    /// Like the baseline's, so that what a server has filled in there by itself (`group`, `kind`) is not filled in here behind our back.
    fn entry(&self, baseline: &Field<'_>) -> Map<String, Value> {
        let mut entry = baseline.value.as_object().cloned().unwrap_or_default();
        entry.shift_remove(WEIGHT);
        entry.shift_remove("namespace");
        entry.insert("name".to_owned(), json!(self.name));
        entry.extend(self.namespace.iter().map(|name| ("namespace".to_owned(), json!(name))));
        entry.extend(self.port.map(|port| ("port".to_owned(), json!(port))));
        entry
    }
}
