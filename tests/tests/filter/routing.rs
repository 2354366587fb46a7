//! Routing by the chosen version, routing errors, and splits by the mesh.

use serde_json::{Value, json};
use serin_tests::LoadPlan;

use crate::world::{World, all, identities, only_shop};

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_header_routes_to_the_version() {
    let fields = json!({"route": "clusterHeader"});
    let world =
        World::with(only_shop(fields), |setup| setup.routes("routes-cluster-header.yaml")).await;
    for (user, version) in identities(5) {
        // The filter overwrites the client's header.
        let call = |call: serin_tests::Call| {
            call.header("x-user-id", &user).header("x-serin-cluster", "shop-v2")
        };
        world.assert_version(version, call).await;
    }
    world
        .assert_counts(&[
            ("v1 chosen header", 15),
            ("v1 requests", 15),
            ("v1 responses 2xx", 15),
            ("v2 chosen header", 15),
            ("v2 requests", 15),
            ("v2 responses 2xx", 15),
        ])
        .await;
}

/// The sample routes requests of other services to the baseline.
#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_header_route_defaults_to_the_baseline() {
    let world = World::with(json!([]), |setup| setup.routes("routes-cluster-header.yaml")).await;
    world.assert_version("v1", |call| call.header("x-serin-cluster", "shop-v2")).await;
}

fn mesh(versions: Value) -> Value {
    json!([{"name": "shop", "authorities": ["*"], "split": "mesh", "versions": versions}])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_split_by_the_mesh_is_observed() {
    let versions =
        json!([{"name": "v1", "cluster": "shop-v1"}, {"name": "v2", "cluster": "shop-v2"}]);
    let world = World::with(mesh(versions), |setup| setup.routes("routes-mesh.yaml")).await;
    let report = world.load(200, |plan| plan).await;
    let [v1, v2] = ["v1", "v2"].map(|version| report.tally(Some(version)).requests as u64);
    assert!(v1 > 50 && v2 > 50, "{v1} {v2}");
    let counts = [
        ("v1 requests", v1),
        ("v1 responses 2xx", v1),
        ("v2 requests", v2),
        ("v2 responses 2xx", v2),
    ];
    world.assert_counts(&counts).await;
    assert!(!world.v2.last_headers().contains_key("x-serin-version"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_version_is_observed() {
    let world = World::new(mesh(json!([{"name": "v1", "cluster": "shop-v1"}]))).await;
    world.assert_version("v1", |call| call).await;
    world.v1.set_faults([serin_tests::Fault::errors(1.0)]);
    world.assert_version("v1", |call| call).await;
    assert!(!world.v1.last_headers().contains_key("x-serin-version"));
    world
        .assert_counts(&[
            ("v1 requests", 6),
            ("v1 responses 2xx", 3),
            ("v1 responses 5xx", 3),
            ("v1 failures status", 3),
        ])
        .await;
}

const HEADER_MATCH: &str = "exact: v2";

/// The route for v2 is missing, so v1's cluster serves requests with v2 chosen.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_served_by_another_version_is_misrouted() {
    let world = World::with(only_shop(json!({"buckets": all("v2")})), |setup| {
        setup.replace(HEADER_MATCH, "exact: v9")
    })
    .await;
    world.assert_version("v1", |call| call).await;
    world
        .assert_counts(&[
            ("v2 chosen random", 3),
            ("v2 misrouted", 3),
            ("v1 requests", 3),
            ("v1 responses 2xx", 3),
        ])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_served_by_an_unknown_cluster_is_unmatched() {
    let fields = json!({"buckets": all("v2"), "versions": [
        {"name": "v1", "cluster": "another"}, {"name": "v2", "cluster": "shop-v2"}]});
    let world =
        World::with(only_shop(fields), |setup| setup.replace(HEADER_MATCH, "exact: v9")).await;
    world.assert_version("v1", |call| call).await;
    world.assert_counts(&[("v2 chosen random", 3), ("v2 unmatched", 3)]).await;
}

/// Routes that match the version header ignore the cluster header.
#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_matches_the_other_header_misroutes() {
    let fields = json!({"route": "clusterHeader", "buckets": all("v2")});
    let world = World::new(only_shop(fields)).await;
    let report = world.load(20, |plan| LoadPlan { users: None, ..plan }).await;
    assert_eq!(report.tally(Some("v1")).requests, 20);
    assert_eq!(world.count("v2 misrouted").await, 20);
}
