//! Envoy's configuration in JSON, shared by several kinds of objects.

use std::net::SocketAddr;

use serde_json::{Value, json};

/// The prefix of a type name.
const TYPE: &str = "type.googleapis.com/envoy";

pub(super) fn socket(address: SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip(), "port_value": address.port() } })
}

/// The network filter with these settings.
pub(super) fn connection_manager(mut settings: Value) -> Value {
    let kind =
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager".to_owned();
    settings["@type"] = format!("{TYPE}.{kind}").into();
    json!({ "name": "envoy.filters.network.http_connection_manager", "typed_config": settings })
}

/// The last filter of a listener.
pub(super) fn router() -> Value {
    json!({
        "name": "envoy.filters.http.router",
        "typed_config": { "@type": format!("{TYPE}.extensions.filters.http.router.v3.Router") },
    })
}

/// A cluster of these endpoints, in the protocol of the client.
pub(super) fn cluster(name: &str, endpoints: &[SocketAddr]) -> Value {
    let endpoint = |address| json!({ "endpoint": { "address": socket(address) } });
    let endpoints: Vec<_> = endpoints.iter().copied().map(endpoint).collect();
    json!({
        "name": name,
        "connect_timeout": "10s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": format!("{TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions"),
                "use_downstream_protocol_config":
                    { "http_protocol_options": {}, "http2_protocol_options": {} },
            },
        },
        "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": endpoints }] },
    })
}

/// A resource of one of the discovery services.
pub(super) fn resource(kind: &str, mut resource: Value) -> Value {
    resource["@type"] = format!("{TYPE}.{kind}").into();
    resource
}

/// The conditions of a route on a request, in Envoy's format.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Match {
    /// `prefix`, `path`, `path_separated_prefix` or `safe_regex`, with its value.
    pub(super) path: (&'static str, Value),
    pub(super) headers: Vec<Value>,
    pub(super) query: Vec<Value>,
}

impl Match {
    /// Every request.
    pub(super) fn all() -> Self {
        Self { path: ("prefix", "/".into()), headers: Vec::new(), query: Vec::new() }
    }

    pub(super) fn envoy(&self) -> Value {
        let (kind, value) = &self.path;
        let mut all = json!({ "headers": self.headers, "query_parameters": self.query });
        all[*kind] = value.clone();
        all
    }
}

/// Matches this exact text.
pub(super) fn exact(name: &str, value: &str) -> Value {
    json!({ "name": name, "string_match": { "exact": value } })
}

/// Matches the whole text against this expression.
pub(super) fn regex(name: &str, regex: &str) -> Value {
    json!({ "name": name, "string_match": { "safe_regex": { "regex": regex } } })
}

/// The weighted clusters of a route. As in Istio, a weight of 0 is omitted, and a route without
/// weights responds with an error.
pub(super) fn action(clusters: &[(String, u32)]) -> Value {
    let served: Vec<_> = clusters.iter().filter(|(_, weight)| *weight > 0).collect();
    match served.as_slice() {
        [] => json!({}),
        [(cluster, _)] => json!({ "cluster": cluster }),
        several => {
            let entry = |(name, weight): &&(String, u32)| json!({ "name": name, "weight": weight });
            let clusters: Vec<_> = several.iter().map(entry).collect();
            json!({ "weighted_clusters": { "clusters": clusters } })
        }
    }
}
