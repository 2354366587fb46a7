//! Rollouts from Deployment to Deployment. The server has no controllers: the tests make pods
//! ready.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use serin_tests::kube::{manifests, objects};
use serin_tests::until;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::objects::{by_weights, plugin, rollout, subset};
use super::world::{ROLLOUT, SOON, World, kill, live, phase};
use crate::mesh::world::only;
use crate::tutorial::file;
use crate::world::read;

/// A Deployment of a version of `reviews`, with this number of replicas.
fn deployment(version: &str, replicas: u32) -> Value {
    let labels = json!({ "app": "reviews", "version": version });
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": format!("reviews-{version}"), "namespace": "bookinfo" },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{ "name": "reviews", "image": "registry.example/reviews" }] },
            },
        },
    })
}

/// The autoscaler of a version's Deployment.
fn autoscaler(version: &str) -> Value {
    let name = format!("reviews-{version}");
    json!({
        "apiVersion": "autoscaling/v1",
        "kind": "HorizontalPodAutoscaler",
        "metadata": { "name": name, "namespace": "bookinfo" },
        "spec": {
            "maxReplicas": 9,
            "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": name },
        },
    })
}

/// A ServiceRollout from Deployment to Deployment.
fn scaled(mut object: Value) -> Value {
    for version in object["spec"]["versions"].as_array_mut().expect("versions") {
        let name = version["name"].as_str().expect("a name").to_owned();
        version["deployment"] = format!("reviews-{name}").into();
    }
    object["spec"]["scale"] = true.into();
    object
}

/// The same, by weights, waiting for approval at its first step.
fn waiting() -> Value {
    let mut object = scaled(by_weights("v2"));
    object["spec"]["strategy"]["trafficShifting"]["steps"][0]["approval"] = true.into();
    object
}

/// A mesh that splits by a VirtualService, and Deployments: v1 has four ready replicas, v2 has
/// none.
struct Shop {
    world: World,
    routes: Value,
}

impl Shop {
    async fn new() -> Option<Self> {
        let (world, routes) = World::weighted().await?;
        for (version, replicas) in [("v1", 4), ("v2", 0)] {
            world.server().create(&deployment(version, replicas)).await;
        }
        let shop = Self { world, routes };
        shop.become_ready("v1", 4).await;
        Some(shop)
    }

    async fn create(&self, object: &Value) -> Value {
        self.world.server().create(object).await
    }

    async fn weights(&self) -> [u64; 2] {
        self.world.weights(&self.routes).await
    }

    /// The desired replicas of a version's Deployment.
    async fn replicas(&self, version: &str) -> u64 {
        let now = read(&self.world.admin(), &deployment(version, 0)).await;
        now["spec"]["replicas"].as_u64().expect("a number")
    }

    async fn until_replicas(&self, version: &str, expected: u64) {
        until(SOON, &format!("{expected} replicas of {version}"), async || {
            let replicas = self.replicas(version).await;
            if replicas == expected { Ok(()) } else { Err((replicas, self.world.said())) }
        })
        .await;
    }

    async fn become_ready(&self, version: &str, ready: u64) {
        let api = objects(&self.world.admin(), &deployment(version, 0));
        become_ready(&api, version, ready).await;
    }

    /// Waits until the ServiceRollout waits for replicas with this message.
    async fn until_waiting(&self, object: &Value, words: &str) {
        let waits = |object: &Value| {
            let message = object["status"]["message"].as_str().unwrap_or_default();
            message.contains(words)
        };
        self.world.until(SOON, words, object, waits).await;
    }

    /// Makes all desired pods ready, as quickly as a cluster can.
    fn cluster(&self) -> Cluster {
        let admin = self.world.admin();
        Cluster(tokio::spawn(async move {
            loop {
                for version in ["v1", "v2"] {
                    let object = read(&admin, &deployment(version, 0)).await;
                    let expected = object["spec"]["replicas"].as_u64().expect("a number");
                    become_ready(&objects(&admin, &object), version, expected).await;
                }
                sleep(Duration::from_millis(200)).await;
            }
        }))
    }
}

/// A Deployment controller whose pods are always ready.
struct Cluster(JoinHandle<()>);

impl Drop for Cluster {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Writes the status of a Deployment controller, with this number of ready pods.
async fn become_ready(api: &kube::Api<kube::core::DynamicObject>, version: &str, ready: u64) {
    let name = format!("reviews-{version}");
    let now = json!(api.get(&name).await.expect("a Deployment"));
    let status = json!({ "status": {
        "observedGeneration": now["metadata"]["generation"],
        "replicas": now["spec"]["replicas"],
        "updatedReplicas": now["spec"]["replicas"],
        "readyReplicas": ready,
    } });
    let (params, patch) = (PatchParams::default(), Patch::Merge(status));
    api.patch_status(&name, &params, &patch).await.expect("a status");
}

#[tokio::test(flavor = "multi_thread")]
async fn shifts_wait_for_replicas_and_the_baseline_keeps_its_own() {
    let Some(shop) = Shop::new().await else { return };
    let (world, load) = (&shop.world, shop.world.load(150));
    let first = world.operator("first");
    let mut object = waiting();
    object["spec"]["rollbackWindow"] = "10s".into();
    let object = shop.create(&object).await;
    shop.until_replicas("v2", 1).await;
    let words = "Deployment reviews-v2: 0 of 1 replicas for 20 % are ready";
    shop.until_waiting(&object, words).await;
    assert_eq!(shop.weights().await, [100, 0]);
    shop.become_ready("v2", 1).await;
    world.until(ROLLOUT, "the first step is live", &object, live).await;
    assert_eq!(shop.weights().await, [80, 20]);

    world.order(&object, "approve by=ann").await;
    shop.until_replicas("v2", 4).await;
    shop.become_ready("v2", 3).await;
    let words = "Deployment reviews-v2: 3 of 4 replicas for 100 % are ready";
    shop.until_waiting(&object, words).await;
    assert_eq!((shop.weights().await, shop.replicas("v1").await), ([80, 20], 4));

    // Another operator continues.
    kill(first).await;
    let second = world.operator("second");
    shop.become_ready("v2", 4).await;
    world.until(ROLLOUT, "v2 is promoted", &object, phase("Promoted")).await;
    assert_eq!((shop.weights().await, shop.replicas("v1").await), ([0, 100], 4));
    let stable = |object: &Value| object["status"]["stable"] == "v2";
    world.until(ROLLOUT, "the window is over", &object, stable).await;
    shop.until_replicas("v1", 0).await;
    world.until_told(&object, &["ScaledDown"]).await;
    assert_eq!(shop.replicas("v2").await, 4);
    load.stop().await.assert_none_failed();

    // The state after the operator was killed right after it stored the end.
    kill(second).await;
    let retiring = Patch::Merge(json!({ "status": { "pendingScaleDown": { "version": "v1" } } }));
    let api = objects(&world.admin(), &object);
    let scale_up = json!({ "spec": { "replicas": 3 } });
    world.change(&deployment("v1", 0), scale_up.clone()).await;
    api.patch_status("reviews", &PatchParams::default(), &retiring).await.expect("a status");
    let third = world.operator("third");
    shop.until_replicas("v1", 0).await;
    let nothing = |object: &Value| object["status"].get("pendingScaleDown").is_none();
    world.until(SOON, "no scale-down is pending", &object, nothing).await;

    // But not the Deployment of a version that is desired again.
    kill(third).await;
    world.change(&deployment("v1", 0), scale_up).await;
    world.change(&object, json!({ "spec": { "candidate": "v1" } })).await;
    api.patch_status("reviews", &PatchParams::default(), &retiring).await.expect("a status");
    let _fourth = world.operator("fourth");
    let _load = world.load(150);
    shop.until_waiting(&object, "Deployment reviews-v1: 0 of 1 replicas").await;
    assert_eq!(shop.replicas("v1").await, 3);
    world.until(SOON, "nothing is to be scaled down", &object, nothing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_waits_for_no_replica_and_scales_the_candidate_down() {
    let Some(shop) = Shop::new().await else { return };
    let (world, _load) = (&shop.world, shop.world.load(100));
    let _operator = world.operator("a");
    let object = shop.create(&waiting()).await;
    shop.until_replicas("v2", 1).await;
    shop.become_ready("v2", 1).await;
    world.until(ROLLOUT, "the first step is live", &object, live).await;
    // No pod of either version is ready, according to the cluster.
    shop.become_ready("v1", 0).await;
    shop.become_ready("v2", 0).await;
    world.order(&object, "abort by=ann").await;
    world.until(SOON, "v1 has all traffic", &object, phase("Stopped")).await;
    assert_eq!(shop.weights().await, [100, 0]);
    shop.until_replicas("v2", 0).await;
    assert_eq!(shop.replicas("v1").await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_autoscaled_deployment_is_awaited_and_never_written() {
    let Some(shop) = Shop::new().await else { return };
    let (world, _load) = (&shop.world, shop.world.load(100));
    shop.create(&autoscaler("v2")).await;
    let _operator = world.operator("a");
    let object = shop.create(&waiting()).await;
    let words = "0 of 1 replicas for 20 % are ready; HorizontalPodAutoscaler reviews-v2 scales it: raise its minReplicas to 1";
    shop.until_waiting(&object, words).await;
    assert_eq!((shop.replicas("v2").await, shop.weights().await), (0, [100, 0]));
    // The autoscaler's write.
    world.change(&deployment("v2", 0), json!({ "spec": { "replicas": 2 } })).await;
    shop.become_ready("v2", 2).await;
    world.until(ROLLOUT, "the first step is live", &object, live).await;
    world.order(&object, "abort by=ann").await;
    world.until(SOON, "v1 has all traffic", &object, phase("Stopped")).await;
    world.until_told(&object, &["ReplicasKept"]).await;
    assert_eq!(shop.replicas("v2").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_without_scale_are_awaited() {
    let Some(shop) = Shop::new().await else { return };
    let (world, _load) = (&shop.world, shop.world.load(100));
    let _operator = world.operator("a");
    let mut object = waiting();
    object["spec"]["scale"] = false.into();
    let object = shop.create(&object).await;
    let words = "0 of 1 replicas for 20 % are ready; 0 are desired: scale it up, or set spec.scale";
    shop.until_waiting(&object, words).await;
    assert_eq!(shop.replicas("v2").await, 0);
    world.change(&deployment("v2", 0), json!({ "spec": { "replicas": 1 } })).await;
    shop.become_ready("v2", 1).await;
    world.until(ROLLOUT, "the first step is live", &object, live).await;
    world.order(&object, "abort by=ann").await;
    let stopped = world.until(SOON, "v1 has all traffic", &object, phase("Stopped")).await;
    assert_eq!(stopped["status"].get("pendingScaleDown"), None);
    assert_eq!(shop.replicas("v2").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rolling_batches_promote() {
    let Some(shop) = Shop::new().await else { return };
    let (world, load, _cluster) = (&shop.world, shop.world.load(150), shop.cluster());
    // As in the tutorial, with shorter times.
    let mut object = manifests::documents(&file("rolling.yaml")).remove(0);
    let bake = json!({ "time": "2s", "requests": 20 });
    object["spec"]["strategy"]["rolling"]["bake"] = bake;
    object["spec"]["rollbackWindow"] = "5s".into();
    let _operator = world.operator("a");
    let object = shop.create(&object).await;
    let mut splits = vec![[100, 0]];
    until(ROLLOUT, "v2 is promoted", async || {
        let (weights, replicas) = (shop.weights().await, shop.replicas("v2").await);
        // Read after the weights: a replica that became ready since is not missing.
        assert!(replicas >= weights[1] / 25, "{weights:?} with {replicas}");
        if splits.last() != Some(&weights) {
            splits.push(weights);
        }
        let stable = read(&world.admin(), &object).await["status"]["stable"] == "v2";
        if stable { Ok(()) } else { Err(splits.clone()) }
    })
    .await;
    assert_eq!(splits, [[100, 0], [75, 25], [50, 50], [25, 75], [0, 100]]);
    shop.until_replicas("v1", 0).await;
    assert_eq!(shop.replicas("v2").await, 4);
    let report = load.stop().await;
    report.assert_none_failed();
    assert!(["v1", "v2"].into_iter().all(|name| report.tally(Some(name)).requests > 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_has_a_replica() {
    let Some(shop) = Shop::new().await else { return };
    let (world, _load) = (&shop.world, shop.world.load(100));
    let routes = json!([
        { "match": [{ "headers": { "x-serin-version": { "exact": "v2" } } }], "route": only("v2") },
        { "route": only("v1") },
    ]);
    world.change(&shop.routes, json!({ "spec": { "http": routes } })).await;
    let mesh = json!({
        "override": { "header": "x-version" },
        "trust": { "sources": ["10.0.0.0/8"] },
        "istio": { "mode": "filter", "port": 9080, "proxies": { "matchLabels": { "app": "productpage" } } },
    });
    let mut object = scaled(rollout("v2", subset, mesh));
    object["spec"]["strategy"] = json!({ "blueGreen": {} });
    world.change(&plugin(json!([])), json!({ "spec": plugin(json!([]))["spec"] })).await;
    let _operator = world.operator("a");
    let object = shop.create(&object).await;
    shop.until_replicas("v2", 1).await;
    shop.until_waiting(&object, "0 of 1 replicas for a preview are ready").await;
    shop.become_ready("v2", 1).await;
    world.until(ROLLOUT, "the preview is live", &object, live).await;
    world.order(&object, "abort by=ann").await;
    world.until(SOON, "v1 stays", &object, phase("Stopped")).await;
    shop.until_replicas("v2", 0).await;
}
