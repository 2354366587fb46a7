//! A real cluster with a real Istio on this machine, which `tests/cluster/up` started.
//!
//! `SERIN_CLUSTER` is its name. Tests reach its pods and its API server by their addresses. The
//! pods reach a registry in the test, which has the filter's image.

mod registry;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use hyper::Response;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::config::Kubeconfig;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use self::registry::Registry;
use crate::kube::{client, manifests, objects};
use crate::{http, until};

/// The limit from a pod's creation until it is ready with its sidecar, on a busy machine.
const READY: Duration = Duration::from_secs(180);

/// The node's image with serin and the program `pod`.
const POD_IMAGE: &str = "localhost/pod:1";
const SERIN_IMAGE: &str = "localhost/serin:1";

/// A running cluster.
pub struct Cluster {
    admin: Client,
    registry: Registry,
}

impl Cluster {
    /// The cluster that `SERIN_CLUSTER` names, with the operator of `envoy/kubernetes`. Without
    /// the variable, prints a note to standard error and returns `None`: the test is skipped.
    ///
    /// # Panics
    /// The named cluster does not exist.
    pub async fn named() -> Option<Self> {
        let Ok(name) = std::env::var("SERIN_CLUSTER") else {
            // Bypasses the capture of test output, so that a skipped test is visible.
            let note =
                "SKIPPED: no cluster with Istio; `make test-istio` starts one, and needs root\n";
            std::io::stderr().write_all(note.as_bytes()).expect("standard error");
            return None;
        };
        let state = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/clusters").join(name);
        let number = std::fs::read_to_string(state.join("number")).expect("a cluster that runs");
        let number = number.trim().parse().expect("a number");
        let kubeconfig = Kubeconfig::read_from(state.join("kubeconfig")).expect("a kubeconfig");
        let admin = client(kubeconfig).await;
        let registry = Registry::start([198, 18, number, 254].into()).await;
        let cluster = Self { admin, registry };
        cluster.install_operator().await;
        Some(cluster)
    }

    /// A client with all rights.
    pub fn admin(&self) -> Client {
        self.admin.clone()
    }

    /// The URL of the filter's image, for a WasmPlugin.
    pub fn module(&self) -> String {
        format!("oci://{}/serin-filter:0.1.0", self.registry.address())
    }

    /// Applies an object, as `kubectl apply --server-side` does.
    ///
    /// # Panics
    /// The server rejects it.
    pub async fn apply(&self, object: &Value) -> Value {
        let name = object["metadata"]["name"].as_str().expect("a name");
        let params = PatchParams::apply("serin-tests").force();
        let applied =
            objects(&self.admin, object).patch(name, &params, &Patch::Apply(object)).await;
        json!(applied.unwrap_or_else(|error| panic!("{object}: {error}")))
    }

    /// The current state of an object.
    ///
    /// # Panics
    /// The object does not exist.
    pub async fn read(&self, object: &Value) -> Value {
        let name = object["metadata"]["name"].as_str().expect("a name");
        json!(objects(&self.admin, object).get(name).await.expect("the object exists"))
    }

    /// Creates a namespace whose pods get a sidecar.
    ///
    /// # Panics
    /// The server rejects it.
    pub async fn namespace(&self, name: &str) {
        let labels = json!({ "istio-injection": "enabled" });
        self.apply(&json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels },
        }))
        .await;
    }

    /// Deletes a namespace, without waiting for the end of its pods.
    ///
    /// # Panics
    /// The server rejects the request.
    pub async fn delete_namespace(&self, name: &str) {
        let namespaces: Api<Namespace> = Api::all(self.admin());
        namespaces
            .delete(name, &DeleteParams::default())
            .await
            .expect("the server accepts the deletion");
    }

    /// Starts the program `pod` with these arguments, in a Deployment of this name whose pods have
    /// these labels.
    ///
    /// # Panics
    /// The server rejects it.
    pub async fn deploy(
        &self,
        namespace: &str,
        name: &str,
        labels: &[(&str, &str)],
        arguments: &[&str],
    ) {
        let labels: BTreeMap<_, _> = labels.iter().copied().collect();
        self.apply(&json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": name, "namespace": namespace },
            "spec": {
                "replicas": 1,
                "selector": { "matchLabels": labels },
                "template": {
                    "metadata": { "labels": labels, "annotations": {
                        // The test's own requests bypass the mesh.
                        "traffic.sidecar.istio.io/excludeInboundPorts": "8080,9081",
                    } },
                    "spec": {
                        "terminationGracePeriodSeconds": 2,
                        "containers": [{
                            "name": "pod", "image": POD_IMAGE, "imagePullPolicy": "Never", "args": arguments,
                        }],
                    },
                },
            },
        }))
        .await;
    }

    /// Waits until a pod with these labels is ready, and returns its address.
    pub async fn address(&self, namespace: &str, labels: &str) -> IpAddr {
        let pods: Api<Pod> = Api::namespaced(self.admin(), namespace);
        until(READY, &format!("a pod with {labels} is ready"), async || {
            let list = pods.list(&ListParams::default().labels(labels)).await;
            let pods = list.map_err(|error| error.to_string())?.items;
            let ready = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
            let address = ready
                .filter(|pod| is_ready(pod))
                .find_map(|pod| pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok());
            address.ok_or_else(|| {
                pods.iter()
                    .map(|pod| format!("{}: {:?}", pod.name_any(), pod.status))
                    .collect::<String>()
            })
        })
        .await
    }

    /// Sets the faults of a version's pod: `errors=0.1`.
    ///
    /// # Panics
    /// The pod does not respond.
    pub async fn set_faults(&self, pod: IpAddr, faults: &str) {
        control(pod, &format!("/faults?{faults}")).await;
    }

    /// The number of requests of a version's pod, and how many of them hit a fault.
    ///
    /// # Panics
    /// The pod does not respond.
    pub async fn stats(&self, pod: IpAddr) -> [u64; 2] {
        let stats: Value = serde_json::from_slice(&control(pod, "/stats").await).expect("JSON");
        ["requests", "faults"].map(|field| stats[field].as_u64().expect("a count"))
    }

    /// Applies the operator's manifests with the node's image, and waits until both replicas are
    /// ready.
    async fn install_operator(&self) {
        for mut object in manifests::all() {
            if object["kind"] == "Deployment" {
                let container = &mut object["spec"]["template"]["spec"]["containers"][0];
                container["image"] = SERIN_IMAGE.into();
                container["imagePullPolicy"] = "Never".into();
            }
            self.apply(&object).await;
        }
        let deployments: Api<Deployment> = Api::namespaced(self.admin(), "serin-system");
        until(READY, "the operator is up", async || {
            let now = deployments.get("serin-operator").await.map_err(|error| error.to_string())?;
            let status = now.status.unwrap_or_default();
            if status.ready_replicas == Some(2) { Ok(()) } else { Err(format!("{status:?}")) }
        })
        .await;
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
}

async fn control(pod: IpAddr, path: &str) -> Vec<u8> {
    let answer = http::get(SocketAddr::from((pod, 9081)), path).await;
    answer.map(Response::into_body).expect("the pod responds").to_vec()
}
