//! VirtualServices: route requests for hosts, by matches and weights, to subsets of Services.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::http::{self, Match};
use super::object::Object;
use super::registry::Registry;
use super::{Proxy, name};

/// The reserved gateway name for all sidecars.
const MESH: &str = "mesh";

/// Istio's default retry conditions. Istio retries twice unless the object sets another number.
const RETRY_ON: &str = "connect-failure,refused-stream,unavailable,cancelled";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VirtualServiceSpec {
    hosts: Vec<String>,
    #[serde(default)]
    gateways: Vec<String>,
    #[serde(default)]
    http: Vec<Route>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Route {
    #[serde(default)]
    name: String,
    #[serde(default, rename = "match")]
    matches: Vec<RequestMatch>,
    route: Vec<Share>,
    timeout: Option<String>,
    retries: Option<Retries>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RequestMatch {
    #[serde(rename = "name")]
    _name: Option<String>,
    uri: Option<Text>,
    method: Option<Text>,
    authority: Option<Text>,
    #[serde(default)]
    headers: BTreeMap<String, Text>,
    #[serde(default)]
    without_headers: BTreeMap<String, Text>,
    #[serde(default)]
    query_params: BTreeMap<String, Text>,
}

/// A text match. Without a condition it matches any present value.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    exact: Option<String>,
    prefix: Option<String>,
    regex: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Share {
    destination: Destination,
    weight: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Destination {
    host: String,
    subset: Option<String>,
    port: Option<Port>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Port {
    number: u16,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Retries {
    attempts: u32,
    per_try_timeout: Option<String>,
    retry_on: Option<String>,
}

/// The hosts that a VirtualService configures at this proxy, by full name, each with its routes.
pub(super) fn hosts(
    object: &Object<VirtualServiceSpec>,
    proxy: &Proxy,
    registry: &Registry,
) -> Vec<(String, Vec<Value>)> {
    let spec = &object.spec;
    if !speaks_to(object, proxy) {
        return Vec::new();
    }
    let with_routes = |host: &String| {
        let host = name::host(host, &object.namespace);
        let port = registry.port(&host);
        let routes = spec.http.iter().flat_map(|route| {
            let action = route.action(&object.namespace, registry, port);
            let matches: Vec<_> = match route.matches.as_slice() {
                [] => vec![Match::all()],
                some => some.iter().map(RequestMatch::envoy).collect(),
            };
            matches.into_iter().map(move |matched| {
                json!({ "name": route.name, "match": matched.envoy(), "route": action })
            })
        });
        (host, routes.collect())
    };
    spec.hosts.iter().map(with_routes).collect()
}

fn speaks_to(object: &Object<VirtualServiceSpec>, proxy: &Proxy) -> bool {
    let named = &object.spec.gateways;
    match &proxy.gateway {
        None => named.is_empty() || named.iter().any(|name| name == MESH),
        Some(gateway) => named.iter().any(|name| {
            let (namespace, name) = name.split_once('/').unwrap_or((&object.namespace, name));
            namespace == proxy.namespace && name == gateway
        }),
    }
}

impl Route {
    fn action(&self, namespace: &str, registry: &Registry, port: u16) -> Value {
        let alone = self.route.len() == 1;
        let share = |share: &Share| {
            let destination = &share.destination;
            let host = name::host(&destination.host, namespace);
            let port = match &destination.port {
                Some(port) => port.number,
                None if registry.hosts().any(|known| known == host) => registry.port(&host),
                None => port,
            };
            // Clients that write every field write an empty string for an unset field.
            let subset = destination.subset.as_deref().filter(|subset| !subset.is_empty());
            let weight = share.weight.unwrap_or(0);
            (name::cluster(port, subset, &host), if alone { weight.max(1) } else { weight })
        };
        let shares: Vec<_> = self.route.iter().map(share).collect();
        let mut action = http::action(&shares);
        action["timeout"] = self.timeout.as_deref().unwrap_or("0s").into();
        action["retry_policy"] = self.retry_policy();
        action
    }

    fn retry_policy(&self) -> Value {
        let Some(retries) = &self.retries else {
            return json!({ "num_retries": 2, "retry_on": RETRY_ON });
        };
        let mut policy = json!({
            "num_retries": retries.attempts,
            "retry_on": retries.retry_on.as_deref().unwrap_or(RETRY_ON),
        });
        if let Some(timeout) = &retries.per_try_timeout {
            policy["per_try_timeout"] = timeout.as_str().into();
        }
        policy
    }
}

impl RequestMatch {
    fn envoy(&self) -> Match {
        let mut all = Match::all();
        if let Some(uri) = &self.uri {
            all.path = uri.path();
        }
        for (name, text) in [(":method", &self.method), (":authority", &self.authority)] {
            all.headers.extend(text.iter().map(|text| text.matcher(name)));
        }
        all.headers.extend(self.headers.iter().map(|(name, text)| text.matcher(name)));
        all.headers.extend(self.without_headers.iter().map(|(name, text)| {
            let mut matcher = text.matcher(name);
            matcher["invert_match"] = true.into();
            matcher
        }));
        all.query.extend(self.query_params.iter().map(|(name, text)| text.matcher(name)));
        all
    }
}

impl Text {
    fn path(&self) -> (&'static str, Value) {
        match self {
            Self { exact: Some(path), .. } => ("path", path.as_str().into()),
            Self { regex: Some(regex), .. } => ("safe_regex", json!({ "regex": regex })),
            Self { prefix, .. } => ("prefix", prefix.as_deref().unwrap_or("/").into()),
        }
    }

    fn matcher(&self, name: &str) -> Value {
        match self {
            Self { exact: Some(text), .. } => http::exact(name, text),
            Self { regex: Some(regex), .. } => http::regex(name, regex),
            Self { prefix: Some(prefix), .. } => {
                json!({ "name": name, "string_match": { "prefix": prefix } })
            }
            Self { .. } => json!({ "name": name, "present_match": true }),
        }
    }
}
