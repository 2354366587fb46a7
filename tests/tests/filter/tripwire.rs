//! The tripwire stops requests to a failing version without a controller.

use std::time::Duration;

use serde_json::{Value, json};
use serin_tests::{Fault, Load, LoadPlan, Protocol, until};
use tokio::task::JoinSet;

use crate::world::{DEADLINE, World, all, only_shop};

const WORKERS: u64 = 2;
const CALLERS: u64 = 8;

fn with_tripwire(fields: Value) -> Value {
    let mut services = only_shop(json!({"tripwire": {"toleratedPpm": 100_000}}));
    let fields = fields.as_object().expect("fields").clone();
    services[0].as_object_mut().expect("an object").extend(fields);
    services
}

async fn until_tripped(world: &World, expected: u64) {
    const TRIPPED: &str = "wasmcustom.serin.service=.=shop;.;version=.=v2;.;tripped";
    until(DEADLINE, "the gauge", async || match world.envoy.stat(TRIPPED).await {
        Some(value) if value == expected => Ok(()),
        other => Err(other),
    })
    .await;
}

/// Calls concurrently until v2 serves no more requests.
async fn call_until_tripped(world: &World, protocol: Protocol) {
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let call = world.call(protocol);
        callers.spawn(async move {
            let mut in_a_row = 0;
            // At an even split, 40 consecutive responses of v1 have a probability of 10^-12.
            while in_a_row < 40 {
                let answer = call.clone().send().await;
                let from_v1 = answer.is_ok_and(|answer| answer.version.as_deref() == Some("v1"));
                in_a_row = if from_v1 { in_a_row + 1 } else { 0 };
            }
        });
    }
    callers.join_all().await;
}

async fn assert_trips(tolerated_ppm: u32, fault: Fault, protocol: Protocol) {
    let services = || with_tripwire(json!({"tripwire": {"toleratedPpm": tolerated_ppm}}));
    let world = World::new(services()).await;
    until_tripped(&world, 0).await;
    world.v2.set_faults([fault]);
    call_until_tripped(&world, protocol).await;
    let requests = world.v2.stats().requests;
    assert!(requests <= 50 * WORKERS + CALLERS, "{requests} before v2 tripped");
    until_tripped(&world, 1).await;
    until(DEADLINE, "Envoy logs the trip", async || {
        let log = world.envoy.log();
        if log.contains("tripwire: v2 of shop tripped") { Ok(()) } else { Err(log) }
    })
    .await;

    // The trip applies to all workers. Each serves some of 40 connections.
    for _ in 0..40 {
        let answer = world.call(protocol).send().await.expect("a response");
        assert_eq!(answer.version.as_deref(), Some("v1"));
    }
    assert_eq!(world.v2.stats().requests, requests);
    assert!(world.count("v1 chosen tripwire").await > 0);

    // The next generation resets the tripwire.
    world.v2.set_faults([]);
    world.configure(2, services()).await;
    until_tripped(&world, 0).await;
    until(DEADLINE, "v2 is used again", async || {
        world.call(protocol).send().await.expect("a response");
        let now = world.v2.stats().requests;
        if now > requests { Ok(()) } else { Err(now) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_version_trips() {
    assert_trips(100_000, Fault::errors(1.0), Protocol::Http1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_version_trips_at_the_highest_tolerance() {
    assert_trips(500_000, Fault::resets(1.0), Protocol::Http2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_fails_grpc_calls_trips() {
    assert_trips(100_000, Fault::grpc_trailers(1.0, 13), Protocol::Grpc).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_version_trips_before_any_timeout() {
    let overdue = Duration::from_secs(2);
    let world = World::new(with_tripwire(json!({"overdueMs": 2_000}))).await;
    world.v2.set_faults([Fault::hangs(1.0)]);
    let plan = LoadPlan {
        users: None,
        timeout: Duration::from_secs(1),
        ..LoadPlan::new(world.envoy.listener(), 100)
    };
    // Requests cancelled by impatient callers are no evidence; those of patient callers are.
    let patient = Load::start(LoadPlan { timeout: Duration::from_secs(30), ..plan });
    until_tripped(&world, 1).await;
    let stats = world.v2.stats();
    let first = stats.first_fault.expect("v2 hangs");
    let last = stats.last_request.expect("v2 was used");
    assert!(last - first <= 2 * overdue, "v2 was used for {:?}", last - first);
    // The end of Envoy ends the hanging requests.
    drop(world);
    patient.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_does_not_trip_while_the_baseline_fails_too() {
    let world = World::new(with_tripwire(json!({}))).await;
    for upstream in [&world.v1, &world.v2] {
        upstream.set_faults([Fault::errors(1.0)]);
    }
    world.load(300, |plan| LoadPlan { users: None, ..plan }).await;
    world.envoy.until_flushed().await;
    until_tripped(&world, 0).await;
    assert!(world.v2.stats().requests > 90);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_baseline_never_trips() {
    let world = World::new(with_tripwire(json!({"buckets": all("v1")}))).await;
    world.v1.set_faults([Fault::errors(1.0)]);
    world.load(200, |plan| LoadPlan { users: None, ..plan }).await;
    assert_eq!(world.v1.stats().requests, 200);
    assert_eq!(world.count("v1 failures status").await, 200);
}

/// At 100 % the baseline gets no requests. What both versions do does not trip the candidate.
#[tokio::test(flavor = "multi_thread")]
async fn the_baselines_failure_rate_outlives_a_generation() {
    let fields = json!({"overdueMs": 100, "sticky": []});
    let services = |buckets: Value| {
        let mut services = with_tripwire(fields.clone());
        services[0]["buckets"] = buckets;
        services
    };
    let world = World::new(services(json!([
        {"version": "v2", "count": 500_000}, {"version": "v1", "count": 500_000}])))
    .await;
    for upstream in [&world.v1, &world.v2] {
        upstream.set_faults([Fault::delay(0.5, Duration::from_millis(300))]);
    }
    world.load(200, |plan| LoadPlan { users: None, ..plan }).await;
    until_tripped(&world, 0).await;
    for generation in 2..5 {
        world.configure(generation, services(all("v2"))).await;
        world.load(200, |plan| LoadPlan { users: None, ..plan }).await;
        assert_eq!(world.count("v2 chosen tripwire").await, 0, "generation {generation}");
        assert_eq!(world.count("v1 chosen tripwire").await, 0, "generation {generation}");
    }
    assert!(world.count("v2 overdue").await > 200);
    until_tripped(&world, 0).await;
    // A version that is worse than that trips.
    world.v2.set_faults([Fault::errors(1.0)]);
    world
        .configure(
            5,
            services(json!([
        {"version": "v2", "count": 500_000}, {"version": "v1", "count": 500_000}])),
        )
        .await;
    world.v1.set_faults([]);
    world.load(600, |plan| LoadPlan { users: None, ..plan }).await;
    until_tripped(&world, 1).await;
}
