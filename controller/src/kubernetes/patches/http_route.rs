//! The Gateway API's HTTPRoute and GRPCRoute: weights of their rules' backends.
//!
//! A patch changes only `spec.rules[].backendRefs[].weight`. The object's status reports whether a
//! gateway follows: [`super::acceptance`].

use serde_json::Value;
use serin_core::config::mesh::{Backend, RouteWeights, Versions};
use serin_filter::table::Weight;

use super::field::Field;
use super::find::{WeightedBackend, find_routes};
use super::{FieldError, RolloutRoutes};

/// The weights that give the candidate this share: of 100 for a whole percentage, which reads
/// well, or else of the 1,000,000 that the Gateway API allows.
#[must_use]
pub fn route_weights(candidate: Weight) -> RouteWeights {
    RouteWeights::percent(candidate).unwrap_or_else(|_| RouteWeights::ppm(candidate))
}

/// The rules of an HTTPRoute or GRPCRoute that belong to a rollout.
///
/// # Errors
/// No rule matches, a rule has a third backend, or the object is not of the Gateway API; with the
/// path.
pub fn routes(object: &Value, versions: &Versions<Backend>) -> Result<RolloutRoutes, FieldError> {
    find_routes(object, versions)
}

impl WeightedBackend for Backend {
    const GROUP: &'static str = "gateway.networking.k8s.io";
    const KINDS: &'static [&'static str] = &["HTTPRoute", "GRPCRoute"];
    const ROUTES: &'static str = "rules";
    const ENTRIES: &'static str = "backendRefs";
    const DEFAULT_WEIGHT: u32 = 1;

    fn matches(&self, entry: &Field<'_>, namespace: Option<&str>) -> Result<bool, FieldError> {
        let text = |name| entry.get(name).map(|field| field.text()).transpose();
        let port = entry.get("port").map(|port| port.number()).transpose()?;
        let its = text("namespace")?.or(namespace);
        let ours = self.namespace.as_deref().or(namespace);
        Ok(text("group")?.is_none_or(str::is_empty)
            && text("kind")?.is_none_or(|kind| kind == "Service")
            && entry.required("name")?.text()? == self.name
            && its == ours
            && self.port.is_none_or(|expected| port == Some(expected.into())))
    }
}
