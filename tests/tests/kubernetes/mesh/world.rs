//! Two versions of `reviews` in the namespace `bookinfo`, and a proxy of its callers.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use serin_tests::kube::ApiServer;
use serin_tests::{Call, Mesh, Protocol, Proxy, Upstream, Workload, until};

use crate::world::{merge, world};

/// Timeout from a change of an object to its effect on traffic, on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) struct Bookinfo {
    pub(crate) server: ApiServer,
    pub(crate) mesh: Mesh,
    versions: [Upstream; 2],
}

impl Bookinfo {
    /// `None` without an API server.
    pub(crate) async fn new(proxy: Proxy) -> Option<Self> {
        let server = world().await?;
        server.namespace(proxy.namespace()).await;
        server.create(&service("reviews", json!({ "app": "reviews" }))).await;
        for version in ["v1", "v2"] {
            let selector = json!({ "app": "reviews", "version": version });
            server.create(&service(&format!("reviews-{version}"), selector)).await;
        }
        let versions = [Upstream::start("v1").await, Upstream::start("v2").await];
        let workload = |(version, upstream): (&str, &Upstream)| {
            Workload::new(
                "bookinfo",
                &[("app", "reviews"), ("version", version)],
                upstream.address(),
            )
        };
        let workloads = ["v1", "v2"].into_iter().zip(&versions).map(workload).collect();
        let mesh = Mesh::start(&server.admin(), proxy, workloads).await;
        Some(Self { server, mesh, versions })
    }

    /// The upstream of this version.
    pub(crate) fn version(&self, name: &str) -> &Upstream {
        let [v1, v2] = &self.versions;
        if name == "v1" { v1 } else { v2 }
    }

    pub(crate) fn call(&self, protocol: Protocol) -> Call {
        Call::new(self.mesh.listener(), protocol).authority("reviews")
    }

    /// Waits until a request like this is answered with this status and by this version, if any.
    pub(crate) async fn until_answered(
        &self,
        call: impl Fn(Call) -> Call,
        status: u16,
        version: Option<&str>,
    ) {
        until(TIMEOUT, "the answer", async || {
            let answer = call(self.call(Protocol::Http1)).send().await?;
            match (answer.status, answer.version.as_deref()) == (status, version) {
                true => Ok(()),
                false => Err(format!("{answer:?}; refused: {:?}", self.mesh.refused())),
            }
        })
        .await;
    }

    /// Waits until both versions respond in these proportions. A hundred requests distinguish 10
    /// from 90 %.
    pub(crate) async fn until_split(&self, v2: std::ops::RangeInclusive<usize>) {
        until(TIMEOUT, &format!("{v2:?} of 100 by v2"), async || {
            let mut served = BTreeMap::new();
            for _ in 0..100 {
                let answer = self.call(Protocol::Http1).send().await?;
                *served.entry(answer.version.unwrap_or_default()).or_insert(0_usize) += 1;
            }
            let all = served.values().sum::<usize>() == 100 && !served.contains_key("");
            let fits = v2.contains(served.get("v2").unwrap_or(&0));
            if all && fits { Ok(()) } else { Err(format!("{served:?}")) }
        })
        .await;
    }

    /// Merges a change of the specification into an object.
    pub(crate) async fn change(&self, object: &Value, spec: Value) {
        merge(&self.server.admin(), object, json!({ "spec": spec })).await;
    }

    /// Waits until the object on the server matches; returns the match.
    pub(crate) async fn until_said<T>(
        &self,
        object: &Value,
        found: impl Fn(&Value) -> Option<T>,
    ) -> T {
        until(TIMEOUT, "the status", async || {
            let now = crate::world::read(&self.server.admin(), object).await;
            found(&now).ok_or_else(|| now["status"].clone())
        })
        .await
    }
}

pub(crate) fn sidecar() -> Proxy {
    Proxy::sidecar("bookinfo", &[("app", "productpage")])
}

pub(crate) fn service(name: &str, selector: Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name, "namespace": "bookinfo" },
        "spec": { "selector": selector, "ports": [{ "name": "http", "port": 9080 }] },
    })
}

/// The plugin that loads the filter into proxies of pods with these labels, for the requests that
/// they send.
pub(crate) fn wasm_plugin(labels: Value, configuration: Value) -> Value {
    json!({
        "apiVersion": "extensions.istio.io/v1alpha1",
        "kind": "WasmPlugin",
        "metadata": { "name": "serin", "namespace": "bookinfo" },
        "spec": {
            "url": "oci://registry.example/serin:1.0.0",
            "selector": { "matchLabels": labels },
            "match": [{ "mode": "CLIENT" }],
            "phase": "STATS",
            "failStrategy": "FAIL_OPEN",
            "pluginConfig": configuration,
        },
    })
}

/// The subsets v1 and v2.
pub(crate) fn subsets() -> Value {
    let subset = |version| json!({ "name": version, "labels": { "version": version } });
    json!({
        "apiVersion": "networking.istio.io/v1beta1",
        "kind": "DestinationRule",
        "metadata": { "name": "reviews", "namespace": "bookinfo" },
        "spec": { "host": "reviews", "subsets": [subset("v1"), subset("v2")] },
    })
}

pub(crate) fn virtual_service(http: Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1beta1",
        "kind": "VirtualService",
        "metadata": { "name": "reviews", "namespace": "bookinfo" },
        "spec": { "hosts": ["reviews"], "http": http },
    })
}

/// A route to the subsets with these weights.
pub(crate) fn weights(v1: u32, v2: u32) -> Value {
    let share = |subset, weight: u32| json!({ "destination": { "host": "reviews", "subset": subset }, "weight": weight });
    json!([share("v1", v1), share("v2", v2)])
}

pub(crate) fn only(subset: &str) -> Value {
    json!([{ "destination": { "host": "reviews", "subset": subset } }])
}
