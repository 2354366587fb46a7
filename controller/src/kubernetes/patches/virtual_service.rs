//! Istio's VirtualService: weights of its HTTP routes, in whole percent.
//!
//! A patch changes only `spec.http[].route[].weight`. The filter can't classify requests of TCP
//! and TLS routes, and a delegating route has its destinations in another VirtualService.

use serde_json::Value;
use serin_core::config::mesh::{Destination, Versions};

use super::field::Field;
use super::find::{WeightedBackend, find_routes};
use super::{FieldError, RolloutRoutes};

/// The routes of a VirtualService that belong to a rollout.
///
/// # Errors
/// No route matches, a route has a third destination, or Istio would reject the object; with the
/// path.
pub fn routes(
    object: &Value,
    versions: &Versions<Destination>,
) -> Result<RolloutRoutes, FieldError> {
    find_routes(object, versions)
}

impl WeightedBackend for Destination {
    const GROUP: &'static str = "networking.istio.io";
    const KINDS: &'static [&'static str] = &["VirtualService"];
    const ROUTES: &'static str = "http";
    const ENTRIES: &'static str = "route";
    const DEFAULT_WEIGHT: u32 = 0;

    fn matches(&self, entry: &Field<'_>, namespace: Option<&str>) -> Result<bool, FieldError> {
        let destination = entry.required("destination")?;
        let host = destination.required("host")?.text()?;
        let subset = destination.get("subset").map(|subset| subset.text()).transpose()?;
        let port = destination.get("port").and_then(|port| port.get("number"));
        let port = port.map(|port| port.number()).transpose()?;
        // Some clients write an absent field as an empty one.
        Ok(same_host(host, &self.host, namespace)
            && subset.filter(|subset| !subset.is_empty()) == self.subset.as_deref()
            && self.port.is_none_or(|expected| port == Some(expected.into())))
    }
}

/// Whether two names are one host's. Istio completes a name without dots by the namespace of the
/// object.
fn same_host(one: &str, other: &str, namespace: Option<&str>) -> bool {
    let completes = |short: &str, full: &str| {
        let rest = full.strip_prefix(short).and_then(|rest| rest.strip_prefix('.'));
        let rest = rest.and_then(|rest| rest.strip_prefix(namespace?));
        !short.contains('.') && rest.is_some_and(|rest| rest.starts_with(".svc."))
    };
    one == other || completes(one, other) || completes(other, one)
}
