//! Rollouts from their first step to their end, in each kind of mesh.

use serde_json::{Value, json};
use serin_tests::{Fault, Proxy};

use super::world::{
    ROLLOUT, World, by_weights, cluster, condition, observed, phase, plugin, rollout, subset,
};
use crate::mesh::world::{only, sidecar, virtual_service, weights};

/// A mesh that splits by a VirtualService, with all traffic at v1.
async fn weighted() -> Option<(World, Value)> {
    let world = World::new(sidecar()).await?;
    world.server().create(&plugin(observed(cluster))).await;
    let routes = virtual_service(json!([{ "route": weights(100, 0) }]));
    let routes = world.server().create(&routes).await;
    Some((world, routes))
}

#[tokio::test(flavor = "multi_thread")]
async fn by_weights_of_a_virtual_service_to_promotion_and_on() {
    let Some((world, routes)) = weighted().await else { return };
    let load = world.load(150);
    let _operator = world.operator("a");
    let object = world.server().create(&by_weights("v1")).await;
    let resting = world.until(ROLLOUT, "nothing to do", &object, phase("Stable")).await;
    assert_eq!(resting["status"]["stable"], "v1");
    assert_eq!(world.weights(&routes).await, [100, 0]);

    // As a commit does it.
    world.change(&object, json!({ "spec": { "candidate": "v2" } })).await;
    let stable = |object: &Value| object["status"]["stable"] == "v2";
    let promoted = world.until(ROLLOUT, "v2 is promoted", &object, stable).await;
    assert_eq!(promoted["status"]["phase"], "Stable");
    assert_eq!(world.weights(&routes).await, [0, 100]);
    assert_eq!(condition(&promoted, "Ready"), ["True", "Stable"]);
    assert_eq!(condition(&promoted, "Degraded"), ["False", "AsExpected"]);
    assert_eq!(promoted["status"]["history"][0]["verdict"], "Promoted");
    assert_eq!(promoted["status"]["underWay"], Value::Null);
    assert_eq!(promoted["status"]["observedGeneration"], promoted["metadata"]["generation"]);
    world.bookinfo.until_split(100..=100).await;

    // What was promoted is the baseline now.
    world.change(&object, json!({ "spec": { "candidate": "v1" } })).await;
    let back = |object: &Value| object["status"]["stable"] == "v1";
    world.until(ROLLOUT, "v1 is promoted", &object, back).await;
    assert_eq!(world.weights(&routes).await, [100, 0]);
    assert_eq!(load.stop().await.total().failures, 0);
    let reasons = world.reasons(&object).await;
    for reason in ["Started", "Shifting", "Live", "GateOpened", "Promoted"] {
        assert!(reasons.iter().any(|known| known == reason), "{reason}: {reasons:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_candidate_is_taken_back_and_not_tried_again() {
    let Some((world, routes)) = weighted().await else { return };
    let _load = world.load(150);
    world.bookinfo.version("v2").set_faults([Fault::errors(0.5)]);
    let _operator = world.operator("a");
    let object = world.server().create(&by_weights("v2")).await;
    let taken_back = world.until(ROLLOUT, "v2 is taken back", &object, phase("RolledBack")).await;
    assert_eq!(world.weights(&routes).await, [100, 0]);
    let status = &taken_back["status"];
    assert_eq!((&status["stable"], &status["rejected"]), (&json!("v1"), &json!("v2")));
    assert_eq!(condition(&taken_back, "Degraded"), ["True", "RolledBack"]);
    let why = status["history"][0]["reason"].as_str().expect("a reason");
    assert!(why.contains("of v2's requests failed"), "{why}");

    // Somebody orders it once more, and it is good by now.
    world.bookinfo.version("v2").set_faults([]);
    world.order(&object, "retry why=fixed").await;
    let stable = |object: &Value| object["status"]["stable"] == "v2";
    world.until(ROLLOUT, "v2 is promoted", &object, stable).await;
    assert_eq!(world.weights(&routes).await, [0, 100]);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_the_filter_that_a_plugin_configures() {
    let Some(world) = World::new(sidecar()).await else { return };
    let object = world.server().create(&plugin(json!([]))).await;
    let routes = virtual_service(json!([
        { "match": [{ "headers": { "x-serin-version": { "exact": "v2" } } }], "route": only("v2") },
        { "route": only("v1") },
    ]));
    let routes = world.server().create(&routes).await;
    let load = world.load(150);
    let _operator = world.operator("a");
    let mesh = json!({
        "sticky": [{ "header": "x-user-id" }],
        "istio": { "mode": "filter", "port": 9080, "proxies": { "matchLabels": { "app": "productpage" } } },
    });
    let rolled = world.server().create(&rollout("v2", subset, mesh)).await;
    let stable = |object: &Value| object["status"]["stable"] == "v2";
    world.until(ROLLOUT, "v2 is promoted", &rolled, stable).await;
    let carried = crate::world::read(&world.admin(), &object).await;
    let service = &carried["spec"]["pluginConfig"]["services"][0];
    assert_eq!(service["buckets"], json!([{ "version": "v2", "count": 1_000_000 }]));
    assert_eq!(carried["spec"]["url"], object["spec"]["url"]);
    let untouched = crate::world::read(&world.admin(), &routes).await;
    assert_eq!(untouched["metadata"]["resourceVersion"], routes["metadata"]["resourceVersion"]);
    assert_eq!(load.stop().await.total().failures, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_weights_of_a_route_of_the_gateway_api() {
    let Some(world) = World::new(Proxy::sidecar("bookinfo", &[("app", "productpage")])).await
    else {
        return;
    };
    let backend = |name: &str| format!("outbound|9080||reviews-{name}.bookinfo.svc.cluster.local");
    world.server().create(&plugin(observed(backend))).await;
    let share = |name: &str, weight: u32| json!({ "name": format!("reviews-{name}"), "port": 9080, "weight": weight });
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": { "name": "reviews", "namespace": "bookinfo" },
        "spec": {
            "parentRefs": [{ "group": "", "kind": "Service", "name": "reviews", "port": 9080 }],
            "rules": [{ "backendRefs": [share("v1", 100), share("v2", 0)] }],
        },
    });
    let route = world.server().create(&route).await;
    let load = world.load(150);
    let _operator = world.operator("a");
    let target = |name: &str| json!({ "name": name, "backend": { "name": format!("reviews-{name}"), "port": 9080 } });
    let mesh = json!({ "gatewayApi": {
        "route": { "name": "reviews" },
        "proxies": { "matchLabels": { "app": "productpage" } },
    } });
    let object = world.server().create(&rollout("v2", target, mesh)).await;
    let stable = |object: &Value| object["status"]["stable"] == "v2";
    world.until(ROLLOUT, "v2 is promoted", &object, stable).await;
    assert_eq!(world.weights(&route).await, [0, 100]);
    assert_eq!(load.stop().await.total().failures, 0);
}
