//! The cluster lacks something that a rollout needs.

use serde_json::{Value, json};

use super::objects::{backend, by_route, by_weights, cluster, http_route, observed, plugin};
use super::world::{ROLLOUT, SOON, World, condition, degraded, live, promoted};
use crate::mesh::world::{service, sidecar, virtual_service, weights};

#[tokio::test(flavor = "multi_thread")]
async fn istio_works_without_the_kinds_of_the_gateway_api() {
    let Some((world, routes)) = World::weighted().await else { return };
    let _load = world.load(150);
    undefine(&world, "httproutes.gateway.networking.k8s.io").await;
    undefine(&world, "grpcroutes.gateway.networking.k8s.io").await;
    let _operator = world.operator("a");
    let other = world.server().create(&named("other", by_route("v2"))).await;
    let object = world.server().create(&by_weights("v2")).await;
    assert_no_kind(&world, &other, "HTTPRoute").await;
    world.until(ROLLOUT, "v2 is promoted", &object, promoted).await;
    assert_eq!(world.weights(&routes).await, [0, 100]);
    assert_eq!(
        condition(&crate::world::read(&world.admin(), &other).await, "Degraded"),
        ["True", "CRDNotInstalled"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_api_works_without_the_kinds_of_istio() {
    let Some(world) = World::bare(sidecar()).await else { return };
    // The configuration that an agent other than Istio's would have applied.
    world.server().create(&plugin(observed(backend))).await;
    let route = world.server().create(&http_route()).await;
    let _load = world.load(150);
    world.bookinfo.until_split(0..=0).await;
    undefine(&world, "virtualservices.networking.istio.io").await;
    undefine(&world, "destinationrules.networking.istio.io").await;
    let _operator = world.operator("a");
    let other = world.server().create(&named("other", by_weights("v2"))).await;
    let object = world.server().create(&by_route("v2")).await;
    assert_no_kind(&world, &other, "VirtualService").await;
    world.until(ROLLOUT, "v2 is promoted", &object, promoted).await;
    assert_eq!(world.weights(&route).await, [0, 100]);
}

/// The cluster does not have this kind, and the ServiceRollout reports it.
async fn assert_no_kind(world: &World, object: &Value, kind: &str) {
    let current =
        world.until(SOON, "the status has the reason", object, degraded("CRDNotInstalled")).await;
    let message = current["status"]["message"].as_str().expect("a message");
    let expected = format!("the cluster has no kind {kind}: install its definition");
    assert!(message.contains(&expected), "{message}");
    assert_eq!(current["status"]["phase"], "Pending");
    world.until_told(object, &["CRDNotInstalled"]).await;
}

async fn undefine(world: &World, name: &str) {
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": name },
    });
    world.delete(&definition).await;
    world.until_gone(&definition).await;
}

/// The same for another service.
fn named(name: &str, mut object: Value) -> Value {
    object["metadata"]["name"] = name.into();
    object["spec"]["service"] = name.into();
    object["spec"]["authorities"] = json!([name]);
    object
}

/// Waits until the status reports what the candidate lacks.
async fn until_missed(world: &World, object: &Value, what: &str) {
    let current = world
        .until(SOON, "the status has the reason", object, degraded("DestinationMissing"))
        .await;
    let message = current["status"]["message"].as_str().expect("a message");
    assert!(message.contains(what), "{message}");
    world.until_told(object, &["DestinationMissing"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_without_its_service_gets_no_requests() {
    let Some(world) = World::bare(sidecar()).await else { return };
    world.server().create(&plugin(observed(backend))).await;
    let candidate = service("reviews-v2", json!({ "app": "reviews", "version": "v2" }));
    world.delete(&candidate).await;
    let route = world.server().create(&http_route()).await;
    world.bookinfo.until_split(0..=0).await;
    let load = world.load(150);
    let _operator = world.operator("a");
    let object = world.server().create(&by_route("v2")).await;
    until_missed(&world, &object, "Service reviews-v2 does not exist").await;
    assert_eq!(world.weights(&route).await, [100, 0]);

    world.server().create(&candidate).await;
    world.until(ROLLOUT, "v2 is promoted", &object, promoted).await;
    load.stop().await.assert_none_failed();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_without_its_subset_gets_no_requests() {
    let Some(world) = World::bare(sidecar()).await else { return };
    world.server().create(&plugin(observed(cluster))).await;
    let mut rule = crate::mesh::world::subsets();
    let both = rule["spec"]["subsets"].clone();
    rule["spec"]["subsets"] = json!([both[0]]);
    let rule = world.server().create(&rule).await;
    let routes = virtual_service(json!([{ "route": weights(100, 0) }]));
    let routes = world.server().create(&routes).await;
    world.bookinfo.until_split(0..=0).await;
    let load = world.load(150);
    let _operator = world.operator("a");
    let object = world.server().create(&by_weights("v2")).await;
    until_missed(&world, &object, "no DestinationRule defines the subset v2").await;
    assert_eq!(world.weights(&routes).await, [100, 0]);

    world.change(&rule, json!({ "spec": { "subsets": both } })).await;
    world.until(ROLLOUT, "v2 is promoted", &object, promoted).await;
    load.stop().await.assert_none_failed();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_loses_its_service_does_not_advance() {
    let Some(world) = World::bare(sidecar()).await else { return };
    world.server().create(&plugin(observed(backend))).await;
    let route = world.server().create(&http_route()).await;
    world.bookinfo.until_split(0..=0).await;
    let _load = world.load(150);
    let _operator = world.operator("a");
    let mut object = by_route("v2");
    object["spec"]["strategy"]["trafficShifting"]["steps"][0]["approval"] = true.into();
    let object = world.server().create(&object).await;
    world.until(ROLLOUT, "the first step is live", &object, live).await;
    let candidate = service("reviews-v2", json!({ "app": "reviews", "version": "v2" }));
    world.delete(&candidate).await;
    world.until(SOON, "the status has the reason", &object, degraded("NotRunning")).await;
    world.until_told(&object, &["Warning", "Blocked"]).await;
    world.order(&object, "approve").await;
    assert_eq!(world.weights(&route).await, [80, 20]);

    world.server().create(&candidate).await;
    world.until(ROLLOUT, "v2 is promoted", &object, promoted).await;
}
