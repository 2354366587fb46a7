//! Outcomes of requests to v2, over HTTP/1, HTTP/2 and gRPC. The filter counts each request once.

use std::time::Duration;

use serde_json::{Value, json};
use serin_tests::{Fault, LoadPlan, Protocol, Setup, until};

use crate::world::{DEADLINE, World, all, only_shop};

/// A service with all users on v2.
async fn v2(fields: Value, change: impl FnOnce(Setup) -> Setup) -> World {
    let mut services = only_shop(json!({"buckets": all("v2")}));
    let fields = fields.as_object().expect("fields").clone();
    services[0].as_object_mut().expect("an object").extend(fields);
    World::with(services, change).await
}

/// Sends one request over each protocol and ignores the response.
async fn call_each_protocol(world: &World) {
    for protocol in Protocol::ALL {
        let _ = world.call(protocol).send().await;
    }
}

/// v2 was chosen for three requests and served them with these outcomes.
async fn assert_outcomes(world: &World, outcomes: &[(&str, u64)]) {
    let served = [("v2 chosen random", 3), ("v2 requests", 3)];
    world.assert_counts(&[&served[..], outcomes].concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_is_a_success() {
    let world = v2(json!({}), |setup| setup).await;
    call_each_protocol(&world).await;
    assert_outcomes(&world, &[("v2 responses 2xx", 3)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_error_is_a_success() {
    let world = v2(json!({}), |setup| setup).await;
    world.v2.set_faults([Fault::status(1.0, 404)]);
    call_each_protocol(&world).await;
    assert_outcomes(&world, &[("v2 responses 4xx", 3)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_error_is_a_failure() {
    let world = v2(json!({}), |setup| setup).await;
    world.v2.set_faults([Fault::errors(1.0)]);
    call_each_protocol(&world).await;
    assert_outcomes(&world, &[("v2 responses 5xx", 3), ("v2 failures status", 3)]).await;
}

/// The configured statuses replace 5xx.
#[tokio::test(flavor = "multi_thread")]
async fn configured_statuses_are_failures() {
    let failures = json!({"status": ["429", "502-504"], "grpc": []});
    let world = v2(json!({"failures": failures}), |setup| setup).await;
    for (status, served) in [(429, 3), (500, 6), (503, 9)] {
        world.v2.set_faults([Fault::status(1.0, status)]);
        call_each_protocol(&world).await;
        until(DEADLINE, "served", async || {
            let now = world.v2.stats().requests;
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
async fn a_refused_connection_is_a_connect_failure() {
    let world = v2(json!({}), |setup| setup).await;
    let World { v1: _v1, v2, envoy } = world;
    v2.stop().await;
    let v2 = serin_tests::Upstream::start("unused").await;
    let world = World { v1: _v1, v2, envoy };
    call_each_protocol(&world).await;
    assert_outcomes(
        &world,
        &[("v2 responses 2xx", 1), ("v2 responses 5xx", 2), ("v2 failures connect", 3)],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_before_headers_is_a_failure() {
    let world = v2(json!({}), |setup| setup).await;
    world.v2.set_faults([Fault::resets(1.0)]);
    call_each_protocol(&world).await;
    assert_outcomes(
        &world,
        &[("v2 responses 2xx", 1), ("v2 responses 5xx", 2), ("v2 failures reset", 3)],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_in_mid_body_is_a_failure() {
    let world = v2(json!({}), |setup| setup).await;
    world.v2.set_faults([Fault::breaks(1.0)]);
    call_each_protocol(&world).await;
    assert_outcomes(&world, &[("v2 responses 2xx", 3), ("v2 failures reset", 3)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_timeout_is_a_failure() {
    let world = v2(json!({}), |setup| setup.replace("timeout: 15s", "timeout: 0.3s")).await;
    world.v2.set_faults([Fault::hangs(1.0)]);
    call_each_protocol(&world).await;
    assert_outcomes(
        &world,
        &[("v2 responses 2xx", 1), ("v2 responses 5xx", 2), ("v2 failures timeout", 3)],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_disconnect_is_a_cancellation() {
    let world = v2(json!({}), |setup| setup).await;
    world.v2.set_faults([Fault::hangs(1.0)]);
    // An HTTP/2 client resets the stream and keeps the connection.
    for protocol in Protocol::ALL {
        let timeout = Duration::from_millis(300);
        let report =
            world.load(5, |plan| LoadPlan { protocol, timeout, users: None, ..plan }).await;
        assert_eq!(report.total().failures, 5);
    }
    world
        .assert_counts(&[("v2 chosen random", 15), ("v2 requests", 15), ("v2 cancelled", 15)])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_healthy_upstream_is_unavailable() {
    let world = v2(json!({}), |setup| {
        const NAME: &str = "- name: shop-v2\n";
        const ENDPOINT: &str = "cluster_name: shop-v2\n        endpoints:\n          - lb_endpoints:\n              - ";
        // Disable the panic mode, in which Envoy uses unhealthy endpoints.
        let no_panic = "      common_lb_config: { healthy_panic_threshold: { value: 0 } }\n";
        let unhealthy = "health_status: UNHEALTHY\n                ";
        setup
            .replace(NAME, &format!("{NAME}{no_panic}"))
            .replace(ENDPOINT, &format!("{ENDPOINT}{unhealthy}"))
    })
    .await;
    call_each_protocol(&world).await;
    assert_outcomes(
        &world,
        &[("v2 responses 2xx", 1), ("v2 responses 5xx", 2), ("v2 failures unavailable", 3)],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_circuit_breaker_is_unavailable() {
    let world = v2(json!({}), |setup| {
        setup.replace(
            "- name: shop-v2\n      connect_timeout: 1s",
            "- name: shop-v2\n      connect_timeout: 1s\n      circuit_breakers: { thresholds: [{ max_requests: 0, max_pending_requests: 0 }] }",
        )
    })
    .await;
    call_each_protocol(&world).await;
    assert_outcomes(
        &world,
        &[("v2 responses 2xx", 1), ("v2 responses 5xx", 2), ("v2 failures unavailable", 3)],
    )
    .await;
}

/// No route matches the request.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_route_is_unrouted() {
    let world = v2(json!({}), |setup| {
        setup
            .replace("exact: v2", "exact: v9")
            .replace("match: { prefix: / }", "match: { prefix: /x }")
    })
    .await;
    call_each_protocol(&world).await;
    // Without a cluster, the failure counts for the chosen version.
    assert_outcomes(
        &world,
        &[("v2 responses 2xx", 1), ("v2 responses 4xx", 2), ("v2 failures unrouted", 3)],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_to_an_unknown_cluster_is_unrouted() {
    let fields = json!({"route": "clusterHeader", "versions": [
        {"name": "v1", "cluster": "shop-v1"}, {"name": "v2", "cluster": "nowhere"}]});
    let world = v2(fields, |setup| setup.routes("routes-cluster-header.yaml")).await;
    call_each_protocol(&world).await;
    assert_outcomes(
        &world,
        &[("v2 responses 2xx", 1), ("v2 responses 5xx", 2), ("v2 failures unrouted", 3)],
    )
    .await;
}
