//! HTTPRoutes and GRPCRoutes: route requests for a gateway's host names, or for a Service, by
//! matches and weights to Services.

mod matches;

use serde::Deserialize;
use serde_json::{Value, json};

use self::matches::{GrpcMatch, HttpMatch};
use super::http::{self, Match};
use super::object::Object;
use super::registry::Registry;
use super::{Proxy, name};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", bound = "M: Deserialize<'de>")]
pub(super) struct RouteSpec<M> {
    #[serde(default)]
    parent_refs: Vec<ParentRef>,
    #[serde(default)]
    hostnames: Vec<String>,
    #[serde(default)]
    rules: Vec<Rule<M>>,
}

pub(super) type HttpRoute = Object<RouteSpec<HttpMatch>>;
pub(super) type GrpcRoute = Object<RouteSpec<GrpcMatch>>;

/// A gateway, or a Service of the mesh. The status repeats the reference unchanged.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ParentRef {
    group: Option<String>,
    kind: Option<String>,
    namespace: Option<String>,
    name: String,
    section_name: Option<String>,
    port: Option<u16>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", bound = "M: Deserialize<'de>")]
struct Rule<M> {
    #[serde(rename = "name")]
    _name: Option<String>,
    #[serde(default)]
    matches: Vec<M>,
    #[serde(default)]
    backend_refs: Vec<BackendRef>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BackendRef {
    #[serde(default)]
    group: String,
    #[serde(default = "service_kind")]
    kind: String,
    namespace: Option<String>,
    name: String,
    port: Option<u16>,
    #[serde(default = "one")]
    weight: u32,
}

fn service_kind() -> String {
    "Service".to_owned()
}

fn one() -> u32 {
    1
}

/// Specificity of a match: the most specific match applies, in any order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Precision {
    exact: bool,
    path: usize,
    method: bool,
    headers: usize,
    query: usize,
}

/// The conditions that a kind of route supports.
pub(super) trait RequestMatch: Default {
    /// In Envoy's format.
    fn envoy(&self) -> Match;
    /// Among others.
    fn precision(&self) -> Precision;
}

/// A route of one host, to be sorted with those of other objects.
pub(super) struct HostRoute {
    /// By full name.
    pub(super) host: String,
    pub(super) precision: Precision,
    pub(super) route: Value,
}

/// The status of a route for one parent.
pub(super) struct Verdict {
    /// The reference to the parent, unchanged.
    pub(super) parent: Value,
    /// The problem of a backend, if any.
    pub(super) unresolved: Option<Unresolved>,
}

/// A missing backend: its share gets status 500.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Unresolved {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// The object's routes for this proxy, and a verdict for each parent that the proxy represents.
pub(super) fn routes<M: RequestMatch>(
    object: &Object<RouteSpec<M>>,
    proxy: &Proxy,
    registry: &Registry,
) -> (Vec<HostRoute>, Vec<Verdict>) {
    let spec = &object.spec;
    let parents: Vec<_> =
        spec.parent_refs.iter().filter(|parent| parent.is(proxy, &object.namespace)).collect();
    let backends = || spec.rules.iter().flat_map(|rule| &rule.backend_refs);
    let unresolved = backends().find_map(|backend| backend.flaw(&object.namespace, registry));
    let verdict =
        |parent: &&ParentRef| Verdict { parent: parent.said(), unresolved: unresolved.clone() };
    let verdicts = parents.iter().map(verdict).collect();
    let mut routes = Vec::new();
    for parent in parents {
        for host in parent.hosts(object) {
            for rule in &spec.rules {
                let action = rule.action(&object.namespace);
                let anything = [M::default()];
                let matches = match rule.matches.as_slice() {
                    [] => &anything[..],
                    some => some,
                };
                routes.extend(matches.iter().map(|matched| HostRoute {
                    host: host.clone(),
                    precision: matched.precision(),
                    route: with_match(&action, matched.envoy()),
                }));
            }
        }
    }
    (routes, verdicts)
}

fn with_match(action: &Value, matched: Match) -> Value {
    let mut route = action.clone();
    route["match"] = matched.envoy();
    route
}

impl ParentRef {
    /// Whether the proxy represents this parent.
    fn is(&self, proxy: &Proxy, namespace: &str) -> bool {
        match (self.kind.as_deref().unwrap_or("Gateway"), &proxy.gateway) {
            ("Service", None) => self.group.as_deref() == Some(""),
            ("Gateway", Some(gateway)) => {
                self.name == *gateway
                    && self.namespace.as_deref().unwrap_or(namespace) == proxy.namespace
            }
            _ => false,
        }
    }

    fn hosts<M>(&self, object: &Object<RouteSpec<M>>) -> Vec<String> {
        if self.kind.as_deref() == Some("Service") {
            let namespace = self.namespace.as_deref().unwrap_or(&object.namespace);
            return vec![name::service(&self.name, namespace)];
        }
        match object.spec.hostnames.as_slice() {
            [] => vec!["*".to_owned()],
            some => some.to_vec(),
        }
    }

    fn said(&self) -> Value {
        let mut reference = json!({ "name": self.name });
        let texts = [
            ("group", &self.group),
            ("kind", &self.kind),
            ("namespace", &self.namespace),
            ("sectionName", &self.section_name),
        ];
        for (field, value) in texts {
            if let Some(value) = value {
                reference[field] = value.as_str().into();
            }
        }
        if let Some(port) = self.port {
            reference["port"] = port.into();
        }
        reference
    }
}

impl<M> Rule<M> {
    fn action(&self, namespace: &str) -> Value {
        let share = |backend: &BackendRef| (backend.cluster(namespace), backend.weight);
        let shares: Vec<_> = self.backend_refs.iter().map(share).collect();
        let mut action = http::action(&shares);
        if action == json!({}) {
            return json!({ "direct_response": { "status": 500 } });
        }
        action["timeout"] = "0s".into();
        // The share of a missing backend fails, and no other backend gets it.
        action["cluster_not_found_response_code"] = "INTERNAL_SERVER_ERROR".into();
        json!({ "route": action })
    }
}

impl BackendRef {
    fn host(&self, namespace: &str) -> String {
        name::service(&self.name, self.namespace.as_deref().unwrap_or(namespace))
    }

    /// Subsets are specific to Istio: here each version is a Service.
    fn cluster(&self, namespace: &str) -> String {
        name::cluster(self.port.unwrap_or_default(), None, &self.host(namespace))
    }

    fn flaw(&self, namespace: &str, registry: &Registry) -> Option<Unresolved> {
        if !self.group.is_empty() || self.kind != "Service" {
            let message = format!("{} {} is no Service", self.kind, self.name);
            return Some(Unresolved { reason: "InvalidKind", message });
        }
        let host = self.host(namespace);
        if self.port.is_some_and(|port| registry.serves(&host, port)) {
            return None;
        }
        let port = self.port.unwrap_or_default();
        let message = format!("backend({host}:{port}) not found");
        Some(Unresolved { reason: "BackendNotFound", message })
    }
}
