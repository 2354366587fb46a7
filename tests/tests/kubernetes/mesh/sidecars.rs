//! The behaviour of a sidecar under Istio's objects.

use serde_json::json;
use serin_tests::Call;

use super::world::{Bookinfo, only, sidecar, subsets, virtual_service, weights};

#[tokio::test(flavor = "multi_thread")]
async fn weights_move_traffic() {
    let Some(world) = Bookinfo::new(sidecar()).await else { return };
    // Without a VirtualService a Service has all its pods, of any version.
    world.until_split(20..=80).await;
    world.server.create(&subsets()).await;
    let object = world.server.create(&virtual_service(json!([{ "route": weights(90, 10) }]))).await;
    world.until_split(1..=25).await;
    world.change(&object, json!({ "http": [{ "route": weights(10, 90) }] })).await;
    world.until_split(75..=99).await;
    world.change(&object, json!({ "http": [{ "route": weights(100, 0) }] })).await;
    world.until_split(0..=0).await;
    // A subset without a DestinationRule is a missing cluster.
    world.change(&object, json!({ "http": [{ "route": only("v3") }] })).await;
    world.until_answered(|call| call, 503, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_route_that_matches_counts() {
    let Some(world) = Bookinfo::new(sidecar()).await else { return };
    world.server.create(&subsets()).await;
    let object = virtual_service(json!([
        { "match": [{ "headers": { "x-serin-version": { "exact": "v2" } } }], "route": only("v2") },
        {
            "match": [
                { "uri": { "prefix": "/new" }, "method": { "exact": "GET" } },
                { "headers": { "x-beta": {} }, "withoutHeaders": { "x-internal": {} } },
                { "queryParams": { "v": { "regex": "[2-9]" } } },
            ],
            "route": only("v2"),
        },
        { "route": only("v1") },
    ]));
    let object = world.server.create(&object).await;
    let header = |name, value| move |call: Call| call.header(name, value);
    world.until_answered(header("x-serin-version", "v2"), 200, Some("v2")).await;
    world.until_answered(header("x-serin-version", "v1"), 200, Some("v1")).await;
    world.until_answered(|call| call.path("/newer"), 200, Some("v2")).await;
    let post = |call: Call| call.path("/newer").method(hyper::Method::POST);
    world.until_answered(post, 200, Some("v1")).await;
    world.until_answered(header("x-beta", "1"), 200, Some("v2")).await;
    let internal = |call: Call| call.header("x-beta", "1").header("x-internal", "1");
    world.until_answered(internal, 200, Some("v1")).await;
    world.until_answered(|call| call.path("/?v=2"), 200, Some("v2")).await;
    world.until_answered(|call| call.path("/?v=22"), 200, Some("v1")).await;
    // All names of the Service, with a port or without, mean one host.
    let full = |call: Call| call.authority("reviews.bookinfo.svc.cluster.local:9080").path("/new");
    world.until_answered(full, 200, Some("v2")).await;

    // The double rejects an unsupported object as a whole.
    let mirrored =
        json!([{ "route": only("v2"), "mirror": { "host": "reviews", "subset": "v1" } }]);
    world.change(&object, json!({ "http": mirrored })).await;
    world.until_split(20..=80).await;
    let refused = world.mesh.refused();
    let why = &refused["VirtualService bookinfo/reviews"];
    assert!(why.contains("unknown field `mirror`"), "{why}");
    // A route of a gateway does not apply to sidecars.
    world
        .change(&object, json!({ "http": [{ "route": only("v2") }], "gateways": ["public"] }))
        .await;
    world.until_split(20..=80).await;
    world.change(&object, json!({ "gateways": ["public", "mesh"] })).await;
    world.until_split(100..=100).await;
    assert!(world.mesh.refused().is_empty());
}
