//! The tutorial's service and its callers, in their own namespace.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::{Value, json};
use serin_tests::cluster::Cluster;
use serin_tests::kube::manifests;
use serin_tests::{Call, Load, LoadPlan, Protocol, serin, until};

/// The limit from an object's creation to the end of its rollout, on a busy machine.
const ROLLOUT: Duration = Duration::from_secs(240);

/// The limit from a change of an object to its effect on traffic, on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// Two versions of `reviews`, and the address for requests to it.
pub(crate) struct World {
    cluster: Cluster,
    namespace: &'static str,
    versions: [IpAddr; 2],
    entry: SocketAddr,
    host: &'static str,
    rollout: Value,
}

impl World {
    /// Follows the tutorial in this namespace up to the rollout itself, with callers whose sidecar
    /// has the filter. `None` without a cluster.
    pub(crate) async fn sidecar(namespace: &'static str, rollout: &str) -> Option<Self> {
        let cluster = Cluster::named().await?;
        let versions = deploy(&cluster, namespace).await;
        cluster.deploy(namespace, "productpage", &[("app", "productpage")], &["caller"]).await;
        let rollout = tutorial(rollout, namespace);
        for object in init(&rollout, &cluster.module()).await {
            cluster.apply(&object).await;
        }
        let caller = cluster.address(namespace, "app=productpage").await;
        let entry = (caller, 8080).into();
        Self {
            cluster,
            namespace,
            versions,
            entry,
            host: "reviews:9080",
            rollout: object(&rollout),
        }
        .ready()
        .await
    }

    /// The same with the tutorial's route, behind a gateway of Istio.
    pub(crate) async fn gateway(namespace: &'static str) -> Option<Self> {
        let cluster = Cluster::named().await?;
        let versions = deploy(&cluster, namespace).await;
        cluster.apply(&gateway(namespace)).await;
        let rollout = tutorial("gateway-api.yaml", namespace);
        let route = object(&tutorial("route.yaml", namespace));
        for object in init(&rollout, &cluster.module()).await.iter().chain([&route]) {
            cluster.apply(object).await;
        }
        let label = "gateway.networking.k8s.io/gateway-name=public";
        let entry = (cluster.address(namespace, label).await, 80).into();
        let host = "reviews.example.com";
        Self { cluster, namespace, versions, entry, host, rollout: object(&rollout) }.ready().await
    }

    /// Waits until requests arrive at v1.
    async fn ready(self) -> Option<Self> {
        until(SOON, "v1 responds", async || {
            let answer = Call::new(self.entry, Protocol::Http1).authority(self.host).send().await?;
            match (answer.status, answer.version.as_deref()) {
                (200, Some("v1")) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        Some(self)
    }

    pub(crate) fn load(&self) -> Load {
        Load::start(LoadPlan { host: Some(self.host), ..LoadPlan::new(self.entry, 150) })
    }

    /// Applies the ServiceRollout with this candidate.
    pub(crate) async fn roll_out(&self, candidate: &str) {
        let mut object = self.rollout.clone();
        object["spec"]["candidate"] = candidate.into();
        self.cluster.apply(&object).await;
    }

    /// Sets the faults of v1 or v2, such as `errors=0.2`.
    pub(crate) async fn set_faults(&self, version: &str, faults: &str) {
        self.cluster.set_faults(self.version(version), faults).await;
    }

    /// The number of requests of v1 or v2 that hit a fault.
    pub(crate) async fn faults(&self, version: &str) -> usize {
        let [_, faults] = self.cluster.stats(self.version(version)).await;
        usize::try_from(faults).expect("a small number")
    }

    fn version(&self, name: &str) -> IpAddr {
        let [v1, v2] = self.versions;
        if name == "v1" { v1 } else { v2 }
    }

    /// Waits until the rollout's status matches.
    pub(crate) async fn until(&self, what: &str, like: impl Fn(&Value) -> bool) -> Value {
        until(ROLLOUT, what, async || {
            let status = self.cluster.read(&self.rollout).await["status"].clone();
            if like(&status) { Ok(status) } else { Err(brief(&status)) }
        })
        .await
    }

    /// Waits until this version serves all of fifty requests.
    pub(crate) async fn until_all_by(&self, version: &str) {
        until(SOON, &format!("{version} serves all"), async || {
            for _ in 0..50 {
                let call = Call::new(self.entry, Protocol::Http1).authority(self.host);
                let answer = call.send().await?;
                if (answer.status, answer.version.as_deref()) != (200, Some(version)) {
                    return Err(format!("{answer:?}"));
                }
            }
            Ok(())
        })
        .await;
    }

    pub(crate) async fn end(self) {
        self.cluster.delete_namespace(self.namespace).await;
    }
}

fn brief(status: &Value) -> String {
    ["phase", "step", "weight", "message", "stable", "rejected"]
        .map(|field| format!("{field}: {}", status[field]))
        .join(", ")
}

async fn deploy(cluster: &Cluster, namespace: &str) -> [IpAddr; 2] {
    cluster.namespace(namespace).await;
    let service = |name: &str, selector: Value| {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": name, "namespace": namespace },
            "spec": { "selector": selector, "ports": [{ "name": "http", "port": 9080 }] },
        })
    };
    cluster.apply(&service("reviews", json!({ "app": "reviews" }))).await;
    for version in ["v1", "v2"] {
        let name = format!("reviews-{version}");
        let labels = [("app", "reviews"), ("version", version)];
        cluster.apply(&service(&name, json!({ "app": "reviews", "version": version }))).await;
        cluster.deploy(namespace, &name, &labels, &["version", version]).await;
    }
    let v1 = cluster.address(namespace, "version=v1").await;
    [v1, cluster.address(namespace, "version=v2").await]
}

fn gateway(namespace: &str) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": { "name": "public", "namespace": namespace },
        "spec": {
            "gatewayClassName": "istio",
            "listeners": [{ "name": "http", "port": 80, "protocol": "HTTP" }],
        },
    })
}

/// A file of the tutorial with this namespace, and with a bake short enough for a test.
fn tutorial(name: &str, namespace: &str) -> String {
    let text = include_str!("../../../envoy/README.md");
    let begin = format!("```yaml\n# {name}\n");
    let (_, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("no {name}"));
    let (file, _) = rest.split_once("```").expect("the end of the block");
    file.replace("bookinfo", namespace).replace("time: 60s", "time: 5s")
}

fn object(text: &str) -> Value {
    manifests::documents(text).remove(0)
}

/// The output of `serin init istio` for a rollout.
async fn init(rollout: &str, module: &str) -> Vec<Value> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("rollout.yaml");
    std::fs::write(&path, rollout).expect("a file");
    let output =
        serin().args(["init", "istio"]).arg(path).args(["--module", module]).output().await;
    let output = output.expect("serin init");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    manifests::documents(&String::from_utf8(output.stdout).expect("text"))
}
