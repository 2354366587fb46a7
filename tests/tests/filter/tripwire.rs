//! A candidate that fails hard is cut off by the proxy itself: there is no controller here.

use std::time::Duration;

use serde_json::{Value, json};
use serin_tests::{Fault, Load, Plan, Protocol, until};
use tokio::task::JoinSet;

use crate::world::{SOON, World, all, only_shop};

const WORKERS: u64 = 2;
const CALLERS: u64 = 8;

fn guarded(fields: Value) -> Value {
    let mut services = only_shop(json!({"tripwire": {"toleratedPpm": 100_000}}));
    let fields = fields.as_object().expect("fields").clone();
    services[0].as_object_mut().expect("an object").extend(fields);
    services
}

async fn until_tripped(world: &World, expected: u64) {
    const TRIPPED: &str = "wasmcustom.serin.service=.=shop;.;version=.=v2;.;tripped";
    until(SOON, "the gauge", async || match world.envoy.stat(TRIPPED).await {
        Some(value) if value == expected => Ok(()),
        other => Err(other),
    })
    .await;
}

/// As many callers as there can be requests in flight, until v2 has been left alone by all of them for a while.
async fn call_until_cut_off(world: &World, protocol: Protocol) {
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let call = world.call(protocol);
        callers.spawn(async move {
            let mut in_a_row = 0;
            // By chance so many in a row come from v1 once in 10^12; v2 is cut off long before.
            while in_a_row < 40 {
                let answer = call.clone().send().await;
                let from_v1 = answer.is_ok_and(|answer| answer.version.as_deref() == Some("v1"));
                in_a_row = if from_v1 { in_a_row + 1 } else { 0 };
            }
        });
    }
    callers.join_all().await;
}

async fn assert_cut_off(tolerated_ppm: u32, fault: Fault, protocol: Protocol) {
    let services = || guarded(json!({"tripwire": {"toleratedPpm": tolerated_ppm}}));
    let world = World::new(services()).await;
    until_tripped(&world, 0).await;
    world.v2.set_faults([fault]);
    call_until_cut_off(&world, protocol).await;
    let requests = world.v2.account().requests;
    assert!(requests <= 50 * WORKERS + CALLERS, "{requests} before v2 was cut off");
    until_tripped(&world, 1).await;
    until(SOON, "Envoy's log says so", async || {
        let log = world.envoy.log();
        if log.contains("tripwire: v2 of shop tripped") { Ok(()) } else { Err(log) }
    })
    .await;

    // In every worker, also for those who had not met a failure: on 40 connections all workers have some.
    for _ in 0..40 {
        let answer = world.call(protocol).send().await.expect("an answer");
        assert_eq!(answer.version.as_deref(), Some("v1"));
    }
    assert_eq!(world.v2.account().requests, requests);
    assert!(world.count("v1 chosen tripwire").await > 0);

    // Until the next generation.
    world.v2.set_faults([]);
    world.configure(2, services()).await;
    until_tripped(&world, 0).await;
    until(SOON, "v2 is used again", async || {
        world.call(protocol).send().await.expect("an answer");
        let now = world.v2.account().requests;
        if now > requests { Ok(()) } else { Err(now) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cuts_off_what_fails_every_request() {
    assert_cut_off(100_000, Fault::errors(1.0), Protocol::Http1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cuts_off_at_the_highest_tolerance() {
    assert_cut_off(500_000, Fault::resets(1.0), Protocol::Http2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cuts_off_what_fails_grpc() {
    assert_cut_off(100_000, Fault::grpc_trailers(1.0, 13), Protocol::Grpc).await;
}

/// Long before anything times out.
#[tokio::test(flavor = "multi_thread")]
async fn cuts_off_what_hangs() {
    let overdue = Duration::from_secs(2);
    let world = World::new(guarded(json!({"overdueMs": 2_000}))).await;
    world.v2.set_faults([Fault::hangs(1.0)]);
    let plan = Plan {
        users: None,
        patience: Duration::from_secs(1),
        ..Plan::new(world.envoy.listener(), 100)
    };
    // Callers that go away tell nothing against v2, but that they went without an answer does not hide that it hangs.
    let patient = Load::start(Plan { patience: Duration::from_secs(30), ..plan });
    until_tripped(&world, 1).await;
    let account = world.v2.account();
    let first = account.first_fault.expect("v2 hangs");
    let last = account.last_request.expect("v2 was used");
    assert!(last - first <= 2 * overdue, "v2 was used for {:?}", last - first);
    // What hangs is not waited for: Envoy ends it.
    drop(world);
    patient.stop().await;
}

/// Where everybody fails, the candidate is not to blame.
#[tokio::test(flavor = "multi_thread")]
async fn leaves_it_where_the_baseline_fails_too() {
    let world = World::new(guarded(json!({}))).await;
    for upstream in [&world.v1, &world.v2] {
        upstream.set_faults([Fault::errors(1.0)]);
    }
    world.load(300, |plan| Plan { users: None, ..plan }).await;
    world.envoy.until_flushed().await;
    until_tripped(&world, 0).await;
    assert!(world.v2.account().requests > 90);
}

/// Nobody is taken from the baseline: there is nowhere to go.
#[tokio::test(flavor = "multi_thread")]
async fn the_baseline_is_never_cut_off() {
    let world = World::new(guarded(json!({"buckets": all("v1")}))).await;
    world.v1.set_faults([Fault::errors(1.0)]);
    world.load(200, |plan| Plan { users: None, ..plan }).await;
    assert_eq!(world.v1.account().requests, 200);
    assert_eq!(world.count("v1 failures status").await, 200);
}
