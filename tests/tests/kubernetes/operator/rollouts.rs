//! Rollouts from their first step to their end, in each kind of mesh.

use serde_json::{Value, json};
use serin_tests::Fault;

use super::objects::{backend, by_filter, by_route, by_weights, http_route, observed, plugin};
use super::world::{ROLLOUT, World, condition, phase};
use crate::mesh::world::sidecar;
use crate::world::read;

#[tokio::test(flavor = "multi_thread")]
async fn weights_of_a_virtual_service_promote() {
    let Some((world, routes)) = World::weighted().await else { return };
    let load = world.load(150);
    let _operator = world.operator("a");
    let object = world.server().create(&by_weights("v1")).await;
    let resting = world.until(ROLLOUT, "nothing to do", &object, phase("Stable")).await;
    assert_eq!(resting["status"]["stable"], "v1");
    assert_eq!(world.weights(&routes).await, [100, 0]);

    // As a commit does.
    world.change(&object, json!({ "spec": { "candidate": "v2" } })).await;
    let stable = |object: &Value| object["status"]["stable"] == "v2";
    let promoted = world.until(ROLLOUT, "v2 is promoted", &object, stable).await;
    assert_eq!(promoted["status"]["phase"], "Stable");
    assert_eq!(world.weights(&routes).await, [0, 100]);
    assert_eq!(condition(&promoted, "Ready"), ["True", "Stable"]);
    assert_eq!(condition(&promoted, "Degraded"), ["False", "AsExpected"]);
    assert_eq!(promoted["status"]["history"][0]["verdict"], "Promoted");
    assert_eq!(promoted["status"]["checkpoint"], Value::Null);
    assert_eq!(promoted["status"]["observedGeneration"], promoted["metadata"]["generation"]);
    world.bookinfo.until_split(100..=100).await;

    // The promoted version is the baseline now.
    world.change(&object, json!({ "spec": { "candidate": "v1" } })).await;
    let back = |object: &Value| object["status"]["stable"] == "v1";
    world.until(ROLLOUT, "v1 is promoted", &object, back).await;
    assert_eq!(world.weights(&routes).await, [100, 0]);
    load.stop().await.assert_none_failed();
    let reasons = ["Started", "Shifting", "Live", "GateOpened", "Promoted"];
    world.until_told(&object, &reasons).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_candidate_is_rolled_back_and_not_retried() {
    let Some((world, routes)) = World::weighted().await else { return };
    let _load = world.load(150);
    world.bookinfo.version("v2").set_faults([Fault::errors(0.5)]);
    let _operator = world.operator("a");
    let object = world.server().create(&by_weights("v2")).await;
    let taken_back = world.until(ROLLOUT, "v2 is rolled back", &object, phase("RolledBack")).await;
    assert_eq!(world.weights(&routes).await, [100, 0]);
    let status = &taken_back["status"];
    assert_eq!((&status["stable"], &status["rejected"]), (&json!("v1"), &json!("v2")));
    assert_eq!(condition(&taken_back, "Degraded"), ["True", "RolledBack"]);
    let why = status["history"][0]["reason"].as_str().expect("a reason");
    assert!(why.contains("of v2's requests failed"), "{why}");

    // A command retries it, and the candidate is healthy now.
    world.bookinfo.version("v2").set_faults([]);
    world.order(&object, "retry reason=fixed").await;
    let stable = |object: &Value| object["status"]["stable"] == "v2";
    world.until(ROLLOUT, "v2 is promoted", &object, stable).await;
    assert_eq!(world.weights(&routes).await, [0, 100]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_promotes() {
    let Some((world, carrier, routes)) = World::filtered().await else { return };
    let load = world.load(150);
    let _operator = world.operator("a");
    let object = world.server().create(&by_filter("v2")).await;
    let stable = |object: &Value| object["status"]["stable"] == "v2";
    world.until(ROLLOUT, "v2 is promoted", &object, stable).await;
    let carried = read(&world.admin(), &carrier).await;
    let service = &carried["spec"]["pluginConfig"]["services"][0];
    assert_eq!(service["buckets"], json!([{ "version": "v2", "count": 1_000_000 }]));
    assert_eq!(carried["spec"]["url"], carrier["spec"]["url"]);
    assert_eq!(version(&read(&world.admin(), &routes).await), version(&routes));
    load.stop().await.assert_none_failed();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_rolls_back_a_bad_candidate() {
    let Some((world, carrier, routes)) = World::filtered().await else { return };
    let _load = world.load(150);
    taken_back(&world, &by_filter("v2")).await;
    let carried = read(&world.admin(), &carrier).await;
    let service = &carried["spec"]["pluginConfig"]["services"][0];
    assert_eq!(service["buckets"], json!([{ "version": "v1", "count": 1_000_000 }]));
    assert_eq!(version(&read(&world.admin(), &routes).await), version(&routes));
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_of_a_gateway_api_route_promote() {
    let Some((world, route)) = routed().await else { return };
    let load = world.load(150);
    let _operator = world.operator("a");
    let object = world.server().create(&by_route("v2")).await;
    let stable = |object: &Value| object["status"]["stable"] == "v2";
    world.until(ROLLOUT, "v2 is promoted", &object, stable).await;
    assert_eq!(world.weights(&route).await, [0, 100]);
    load.stop().await.assert_none_failed();
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_of_a_route_roll_back_a_bad_candidate() {
    let Some((world, route)) = routed().await else { return };
    let _load = world.load(150);
    taken_back(&world, &by_route("v2")).await;
    assert_eq!(world.weights(&route).await, [100, 0]);
}

/// Half of v2's requests fail: it gets some traffic, and then none.
pub(super) async fn taken_back(world: &World, object: &Value) {
    world.bookinfo.version("v2").set_faults([Fault::errors(0.5)]);
    let _operator = world.operator("a");
    let object = world.server().create(object).await;
    let ended = world.until(ROLLOUT, "v2 is rolled back", &object, phase("RolledBack")).await;
    let status = &ended["status"];
    assert_eq!((&status["stable"], &status["rejected"]), (&json!("v1"), &json!("v2")));
    let past = &status["history"][0];
    assert_eq!((&past["verdict"], &past["confirmed"]), (&json!("RolledBack"), &json!(true)));
    let why = past["reason"].as_str().expect("a reason");
    assert!(why.contains("of v2's requests failed"), "{why}");
    assert_eq!(condition(&ended, "Ready"), ["False", "RolledBack"]);
    assert_eq!(condition(&ended, "Degraded"), ["True", "RolledBack"]);
    world.until_told(&object, &["Started", "Live", "RollingBack", "RolledBack"]).await;
    world.bookinfo.until_split(0..=0).await;
}

fn version(object: &Value) -> &Value {
    &object["metadata"]["resourceVersion"]
}

/// A mesh that splits by an HTTPRoute, with all traffic at v1.
async fn routed() -> Option<(World, Value)> {
    let world = World::new(sidecar()).await?;
    world.server().create(&plugin(observed(backend))).await;
    let route = world.server().create(&http_route()).await;
    world.bookinfo.until_split(0..=0).await;
    Some((world, route))
}
