//! The objects of these rollouts: plugins, routes and ServiceRollouts.

use serde_json::{Value, json};

use crate::mesh::world::wasm_plugin;

/// The plugin that loads the filter into the callers' proxies, with these services in its
/// configuration.
pub(crate) fn plugin(services: Value) -> Value {
    let configuration = json!({ "schema": 1, "generation": 1, "services": services });
    wasm_plugin(json!({ "app": "productpage" }), configuration)
}

/// `reviews` in the configuration of a filter that only observes.
pub(crate) fn observed(cluster: impl Fn(&str) -> String) -> Value {
    let version = |name: &str| json!({ "name": name, "cluster": cluster(name) });
    json!([{
        "name": "reviews",
        "authorities": ["reviews"],
        "split": "mesh",
        "versions": [version("v1"), version("v2")],
    }])
}

/// A ServiceRollout of `reviews` from v1 to this version in two short steps, in this mesh.
pub(crate) fn rollout(candidate: &str, target: impl Fn(&str) -> Value, mesh: Value) -> Value {
    let versions = ["v1", "v2"].map(target);
    let mut spec = json!({
        "service": "reviews",
        "authorities": ["reviews"],
        "versions": versions,
        "baseline": "v1",
        "candidate": candidate,
        "strategy": { "trafficShifting": {
            "bake": { "time": "3s", "requests": 30 },
            "steps": [{ "weight": "20%" }, { "weight": "100%", "bake": { "time": "1s", "requests": 30 } }],
        } },
    });
    let fields = mesh.as_object().expect("fields").clone();
    spec.as_object_mut().expect("fields").extend(fields);
    json!({
        "apiVersion": "serin.dev/v1alpha1",
        "kind": "ServiceRollout",
        "metadata": { "name": "reviews", "namespace": "bookinfo" },
        "spec": spec,
    })
}

/// A ServiceRollout by the weights of the VirtualService `reviews`.
pub(crate) fn by_weights(candidate: &str) -> Value {
    rollout(
        candidate,
        subset,
        json!({ "istio": {
        "mode": "mesh",
        "virtualService": "reviews",
        "port": 9080,
        "proxies": { "matchLabels": { "app": "productpage" } },
    } }),
    )
}

/// A ServiceRollout by the filter.
pub(crate) fn by_filter(candidate: &str) -> Value {
    let mesh = json!({
        "sticky": [{ "header": "x-user-id" }],
        "istio": {
            "mode": "filter",
            "port": 9080,
            "proxies": { "matchLabels": { "app": "productpage" } },
        },
    });
    rollout(candidate, subset, mesh)
}

/// A ServiceRollout by the weights of the HTTPRoute `reviews`.
pub(crate) fn by_route(candidate: &str) -> Value {
    let target = |name: &str| json!({ "name": name, "backend": { "name": format!("reviews-{name}"), "port": 9080 } });
    let mesh = json!({ "gatewayApi": {
        "route": { "name": "reviews" },
        "proxies": { "matchLabels": { "app": "productpage" } },
    } });
    rollout(candidate, target, mesh)
}

/// A route of the Gateway API for the callers of `reviews`, with all traffic at v1.
pub(crate) fn http_route() -> Value {
    let share = |name: &str, weight: u32| json!({ "name": format!("reviews-{name}"), "port": 9080, "weight": weight });
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": { "name": "reviews", "namespace": "bookinfo" },
        "spec": {
            "parentRefs": [{ "group": "", "kind": "Service", "name": "reviews", "port": 9080 }],
            "rules": [{ "backendRefs": [share("v1", 100), share("v2", 0)] }],
        },
    })
}

/// The cluster that a mesh derives from the Service of a version.
pub(crate) fn backend(name: &str) -> String {
    format!("outbound|9080||reviews-{name}.bookinfo.svc.cluster.local")
}

/// A version that is a subset.
pub(crate) fn subset(name: &str) -> Value {
    json!({ "name": name, "destination": { "host": "reviews", "subset": name } })
}

/// The cluster that Istio derives from a subset.
pub(crate) fn cluster(subset: &str) -> String {
    format!("outbound|9080|{subset}|reviews.bookinfo.svc.cluster.local")
}
