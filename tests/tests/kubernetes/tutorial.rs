//! The tutorial in `envoy/README.md`, followed to the letter but for what a test can't wait for: its YAML on a real API server, with the shipped
//! manifests and the operator's own account, and with real requests through the double of the mesh.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use serin_tests::kube::{ApiServer, manifests};
use serin_tests::{Load, Mesh, Plan, Proxy, Upstream, Workload, ports, serin, until};
use tempfile::TempDir;
use tokio::process::Child;

use crate::world::{read, world};

/// From the beginning of a rollout to its end, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_on_istio_by_the_filter() {
    promotes("istio-filter.yaml", &[], sidecar(), "reviews").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_on_istio_by_weights() {
    promotes("istio-mesh.yaml", &[], sidecar(), "reviews").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_on_the_gateway_api() {
    let labels = [("gateway.networking.k8s.io/gateway-name", "public")];
    let gateway = Proxy::gateway("bookinfo", "public", &labels);
    promotes("gateway-api.yaml", &["route.yaml"], gateway, "reviews.example.com").await;
}

fn sidecar() -> Proxy {
    Proxy::sidecar("bookinfo", &[("app", "productpage")])
}

/// Follows the tutorial with this rollout, and these files before it, until the new version runs.
async fn promotes(rollout: &str, before: &[&str], proxy: Proxy, host: &'static str) {
    let Some(server) = world().await else { return };
    server.install().await;
    let versions = [Upstream::start("v1").await, Upstream::start("v2").await];
    for service in services() {
        server.create(&service).await;
    }
    let workload = |(version, upstream): (&str, &Upstream)| {
        Workload::new("bookinfo", &[("app", "reviews"), ("version", version)], upstream.address())
    };
    let workloads = ["v1", "v2"].into_iter().zip(&versions).map(workload).collect();
    let mesh = Mesh::start(&server.admin(), proxy, workloads).await;
    let directory = tempfile::tempdir().expect("a directory");
    let _operator = operator(&server, &directory).await;

    let text = file(rollout).replace("time: 60s", "time: 3s");
    assert_ne!(text, file(rollout), "the bake of {rollout}");
    let path = directory.path().join(rollout);
    std::fs::write(&path, &text).expect("a file");
    let once = init(&path).await;
    for object in before.iter().flat_map(|name| manifests::documents(&file(name))).chain(once) {
        server.create(&object).await;
    }
    let plan = Plan { host: Some(host), ..Plan::new(mesh.listener(), 100) };
    until(PATIENCE, "the baseline serves", async || {
        let answer = serin_tests::Call::new(mesh.listener(), plan.protocol).authority(host);
        let answer = answer.send().await?;
        let served = answer.version.as_deref() == Some("v1");
        if served { Ok(()) } else { Err(format!("{answer:?}; {:?}", mesh.refused())) }
    })
    .await;

    let load = Load::start(plan);
    let object = manifests::documents(&text).remove(0);
    server.create(&object).await;
    until(PATIENCE, "the candidate is promoted", async || {
        let status = read(&server.admin(), &object).await["status"].clone();
        let stable = status["stable"] == "v2" && status["phase"] == "Stable";
        if stable { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    until(PATIENCE, "all requests are answered by v2", async || {
        let report = load.so_far();
        let last: Vec<_> = report
            .records()
            .rev()
            .take(100)
            .map(|record| record.version().map(str::to_owned))
            .collect();
        let all = last.iter().all(|version| version.as_deref() == Some("v2"));
        if all { Ok(()) } else { Err(last) }
    })
    .await;
    let report = load.stop().await;
    assert_eq!(report.total().failures, 0);
    assert!(report.tally(Some("v1")).requests > 0);
}

/// The Services of the tutorial.
fn services() -> [Value; 3] {
    let selectors = [
        ("reviews", json!({ "app": "reviews" })),
        ("reviews-v1", json!({ "app": "reviews", "version": "v1" })),
        ("reviews-v2", json!({ "app": "reviews", "version": "v2" })),
    ];
    selectors.map(|(name, selector)| {
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": name, "namespace": "bookinfo" },
            "spec": { "selector": selector, "ports": [{ "name": "http", "port": 9080 }] },
        })
    })
}

/// Runs the operator as its Deployment does, with the account that it has there.
async fn operator(server: &ApiServer, directory: &TempDir) -> Child {
    let kubeconfig = server.login("serin-system", "serin-operator").await;
    let path = directory.path().join("kubeconfig");
    std::fs::write(&path, json!(kubeconfig).to_string()).expect("a file");
    let deployment = manifests::all().into_iter().find(|object| object["kind"] == "Deployment");
    let deployment = deployment.expect("a Deployment");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let arguments = container["args"].as_array().expect("arguments").iter();
    let arguments = arguments.map(|argument| argument.as_str().expect("text"));
    let listen = format!("127.0.0.1:{}", ports::free());
    let arguments = arguments.map(|argument| match argument {
        "0.0.0.0:8080" => &*listen,
        other => other,
    });
    let mut command = serin();
    command.args(arguments).env("KUBECONFIG", &path).env("SERIN_LEASE_NAMESPACE", "serin-system");
    let log = std::fs::File::create(directory.path().join("operator.log")).expect("a log");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command.spawn().expect("the operator starts")
}

/// What `serin init istio` prints for a rollout.
async fn init(rollout: &Path) -> Vec<Value> {
    let mut command = serin();
    command.args(["init", "istio"]).arg(rollout);
    command.args(["--module", "oci://registry.example/serin-filter:0.1.0"]);
    let output = command.output().await.expect("serin init");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    manifests::documents(&String::from_utf8(output.stdout).expect("text"))
}

/// A file of the tutorial: the block whose first line is its name.
fn file(name: &str) -> String {
    let tutorial = include_str!("../../../envoy/README.md");
    let begin = format!("```yaml\n# {name}\n");
    let (_, rest) = tutorial.split_once(&begin).unwrap_or_else(|| panic!("no {name}"));
    rest.split_once("```").expect("the end of the block").0.to_owned()
}
