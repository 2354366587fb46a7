//! What became of a request, for each way in which v2 can fail its callers. Three protocols, and each request counted once.

use std::time::Duration;

use serde_json::{Value, json};
use serin_tests::{Fault, Plan, Protocol, Setup, until};

use crate::world::{SOON, World, all, only_shop};

/// Everybody is on v2.
async fn v2(fields: Value, change: impl FnOnce(Setup) -> Setup) -> World {
    let mut services = only_shop(json!({"buckets": all("v2")}));
    let fields = fields.as_object().expect("fields").clone();
    services[0].as_object_mut().expect("an object").extend(fields);
    World::with(services, change).await
}

/// One request over each protocol; what the callers get does not matter here.
async fn one_of_each(world: &World) {
    for protocol in Protocol::ALL {
        let _ = world.call(protocol).send().await;
    }
}

/// v2 was chosen for three requests, served them, and this is what became of them.
async fn assert_fates(world: &World, fates: &[(&str, u64)]) {
    let served = [("v2 chosen random", 3), ("v2 requests", 3)];
    world.assert_counts(&[&served[..], fates].concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answered() {
    let world = v2(json!({}), |setup| setup).await;
    one_of_each(&world).await;
    assert_fates(&world, &[("v2 responses 2xx", 3)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_by_the_version() {
    let world = v2(json!({}), |setup| setup).await;
    world.v2.set_faults([Fault::status(1.0, 404)]);
    one_of_each(&world).await;
    assert_fates(&world, &[("v2 responses 4xx", 3)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn server_error() {
    let world = v2(json!({}), |setup| setup).await;
    world.v2.set_faults([Fault::errors(1.0)]);
    one_of_each(&world).await;
    assert_fates(&world, &[("v2 responses 5xx", 3), ("v2 failures status", 3)]).await;
}

/// The configured statuses instead of 5xx.
#[tokio::test(flavor = "multi_thread")]
async fn configured_status() {
    let failures = json!({"status": ["429", "502-504"], "grpc": []});
    let world = v2(json!({"failures": failures}), |setup| setup).await;
    for (status, served) in [(429, 3), (500, 6), (503, 9)] {
        world.v2.set_faults([Fault::status(1.0, status)]);
        one_of_each(&world).await;
        until(SOON, "served", async || {
            let now = world.v2.account().requests;
            if now == served { Ok(()) } else { Err(now) }
        })
        .await;
    }
    world
        .assert_counts(&[
            ("v2 chosen random", 9),
            ("v2 requests", 9),
            ("v2 responses 4xx", 3),
            ("v2 responses 5xx", 6),
            ("v2 failures status", 6),
        ])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_port() {
    let world = v2(json!({}), |setup| setup).await;
    let World { v1: _v1, v2, envoy } = world;
    v2.stop().await;
    let v2 = serin_tests::Upstream::start("nobody").await;
    let world = World { v1: _v1, v2, envoy };
    one_of_each(&world).await;
    assert_fates(
        &world,
        &[("v2 responses 2xx", 1), ("v2 responses 5xx", 2), ("v2 failures connect", 3)],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reset_before_headers() {
    let world = v2(json!({}), |setup| setup).await;
    world.v2.set_faults([Fault::resets(1.0)]);
    one_of_each(&world).await;
    assert_fates(
        &world,
        &[("v2 responses 2xx", 1), ("v2 responses 5xx", 2), ("v2 failures reset", 3)],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reset_in_mid_body() {
    let world = v2(json!({}), |setup| setup).await;
    world.v2.set_faults([Fault::breaks(1.0)]);
    one_of_each(&world).await;
    assert_fates(&world, &[("v2 responses 2xx", 3), ("v2 failures reset", 3)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn route_timeout() {
    let world = v2(json!({}), |setup| setup.replace("timeout: 15s", "timeout: 0.3s")).await;
    world.v2.set_faults([Fault::hangs(1.0)]);
    one_of_each(&world).await;
    assert_fates(
        &world,
        &[("v2 responses 2xx", 1), ("v2 responses 5xx", 2), ("v2 failures timeout", 3)],
    )
    .await;
}

/// Nobody's fault, but they waited: no answer, no failure, a latency.
#[tokio::test(flavor = "multi_thread")]
async fn client_gone() {
    let world = v2(json!({}), |setup| setup).await;
    world.v2.set_faults([Fault::hangs(1.0)]);
    // Over HTTP/2 the connection lives on: it is the stream that is reset.
    for protocol in Protocol::ALL {
        let patience = Duration::from_millis(300);
        let report = world.load(5, |plan| Plan { protocol, patience, users: None, ..plan }).await;
        assert_eq!(report.total().failures, 5);
    }
    world
        .assert_counts(&[("v2 chosen random", 15), ("v2 requests", 15), ("v2 cancelled", 15)])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_healthy_upstream() {
    let world = v2(json!({}), |setup| {
        const NAME: &str = "- name: shop-v2\n";
        const ENDPOINT: &str = "cluster_name: shop-v2\n        endpoints:\n          - lb_endpoints:\n              - ";
        // Envoy would use sick ones sooner than none.
        let never = "      common_lb_config: { healthy_panic_threshold: { value: 0 } }\n";
        let sick = "health_status: UNHEALTHY\n                ";
        setup
            .replace(NAME, &format!("{NAME}{never}"))
            .replace(ENDPOINT, &format!("{ENDPOINT}{sick}"))
    })
    .await;
    one_of_each(&world).await;
    assert_fates(
        &world,
        &[("v2 responses 2xx", 1), ("v2 responses 5xx", 2), ("v2 failures unavailable", 3)],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn circuit_breaker() {
    let world = v2(json!({}), |setup| {
        setup.replace(
            "- name: shop-v2\n      connect_timeout: 1s",
            "- name: shop-v2\n      connect_timeout: 1s\n      circuit_breakers: { thresholds: [{ max_requests: 0, max_pending_requests: 0 }] }",
        )
    })
    .await;
    one_of_each(&world).await;
    assert_fates(
        &world,
        &[("v2 responses 2xx", 1), ("v2 responses 5xx", 2), ("v2 failures unavailable", 3)],
    )
    .await;
}

/// The version's own route matches no path that is asked for, nor does any other.
#[tokio::test(flavor = "multi_thread")]
async fn no_route() {
    let world = v2(json!({}), |setup| {
        setup
            .replace("exact: v2", "exact: v9")
            .replace("match: { prefix: / }", "match: { prefix: /x }")
    })
    .await;
    one_of_each(&world).await;
    // No cluster served, so that failed which was chosen.
    assert_fates(
        &world,
        &[("v2 responses 2xx", 1), ("v2 responses 4xx", 2), ("v2 failures unrouted", 3)],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_such_cluster() {
    let fields = json!({"route": "clusterHeader", "versions": [
        {"name": "v1", "cluster": "shop-v1"}, {"name": "v2", "cluster": "nowhere"}]});
    let world = v2(fields, |setup| setup.routes("routes-cluster-header.yaml")).await;
    one_of_each(&world).await;
    assert_fates(
        &world,
        &[("v2 responses 2xx", 1), ("v2 responses 5xx", 2), ("v2 failures unrouted", 3)],
    )
    .await;
}
