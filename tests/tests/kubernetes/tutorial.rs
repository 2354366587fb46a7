//! Follows the tutorial in `envoy/README.md` exactly, except for the long bake: applies its YAML
//! to a real API server, with the shipped manifests and the operator's own account, and sends real
//! requests through the mesh double.

use serde_json::Value;
use serin_tests::kube::manifests;
use serin_tests::{Load, LoadPlan, Proxy, serin};

use crate::mesh::world::sidecar;
use crate::operator::world::{ROLLOUT, World};

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

/// Follows the tutorial with this rollout, and these files before it, until the new version runs.
async fn promotes(rollout: &str, before: &[&str], proxy: Proxy, host: &'static str) {
    let Some(world) = World::bare(proxy).await else { return };
    let text = file(rollout).replace("time: 60s", "time: 3s");
    assert_ne!(text, file(rollout), "the bake of {rollout}");
    let once = init(&text).await;
    for object in before.iter().flat_map(|name| manifests::documents(&file(name))).chain(once) {
        world.server().create(&object).await;
    }
    world.bookinfo.until_answered(|call| call.authority(host), 200, Some("v1")).await;

    let load = Load::start(LoadPlan {
        host: Some(host),
        ..LoadPlan::new(world.bookinfo.mesh.listener(), 150)
    });
    let _operator = world.operator("a");
    let object = manifests::documents(&text).remove(0);
    world.server().create(&object).await;
    let stable = |object: &Value| object["status"]["stable"] == "v2";
    world.until(ROLLOUT, "v2 is promoted", &object, stable).await;
    world.bookinfo.until_answered(|call| call.authority(host), 200, Some("v2")).await;
    let report = load.stop().await;
    report.assert_none_failed();
    assert!(["v1", "v2"].into_iter().all(|name| report.tally(Some(name)).requests > 0));
}

/// The output of `serin init istio` for a rollout.
async fn init(rollout: &str) -> Vec<Value> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("rollout.yaml");
    std::fs::write(&path, rollout).expect("a file");
    let mut command = serin();
    command.args(["init", "istio"]).arg(path);
    command.args(["--module", "oci://registry.example/serin-filter:0.1.0"]);
    let output = command.output().await.expect("serin init");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    manifests::documents(&String::from_utf8(output.stdout).expect("text"))
}

/// A file of the tutorial: the block whose first line is its name.
pub(crate) fn file(name: &str) -> String {
    let tutorial = include_str!("../../../envoy/README.md");
    let begin = format!("```yaml\n# {name}\n");
    let (_, rest) = tutorial.split_once(&begin).unwrap_or_else(|| panic!("no {name}"));
    rest.split_once("```").expect("the end of the block").0.to_owned()
}
