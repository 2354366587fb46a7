//! Traps, with a build of the filter that traps on demand.

use std::time::Duration;

use serde_json::json;
use serin_tests::{Call, Fault, Setup, until};
use tokio::task::JoinSet;

use crate::world::{DEADLINE, World, all, only_shop};

/// Only the filter selects v2; the routes alone lead to v1.
async fn world(change: impl FnOnce(Setup) -> Setup) -> World {
    let services = only_shop(json!({"buckets": all("v2")}));
    World::with(services, |setup| change(setup.module("serin-trap.wasm"))).await
}

fn trap(call: Call) -> Call {
    call.header("x-serin-trap", "1")
}

async fn until_reloaded(world: &World) {
    until(DEADLINE, "the filter is reloaded", async || {
        let answer = world.get(|call| call).await;
        if answer.version.as_deref() == Some("v2") { Ok(()) } else { Err(answer.status) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_streams_in_flight_in_the_same_worker_fail() {
    const CALLS: u64 = 40;
    let world = world(|setup| setup).await;
    world.v2.set_faults([Fault::delay(1.0, Duration::from_secs(1))]);
    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        calls.spawn(world.call(serin_tests::Protocol::Http1).send());
    }
    until(DEADLINE, "all requests are in flight", async || match world.v2.stats().in_flight {
        CALLS => Ok(()),
        other => Err(other),
    })
    .await;
    let trapped = world.get(trap).await;
    assert_eq!((trapped.status, trapped.version), (503, None));
    world.v2.set_faults([]);
    until_reloaded(&world).await;
    let answers = calls.join_all().await;
    let served = answers.iter().filter(|answer| {
        answer.as_ref().is_ok_and(|answer| answer.version.as_deref() == Some("v2"))
    });
    let served = served.count() as u64;
    // Two workers share the connections.
    assert!(served > 0, "no stream of the other worker was served");
    assert!(served < CALLS, "no stream failed");
    let before = world.count("v2 requests").await;
    for _ in 0..20 {
        assert_eq!(world.get(|call| call).await.version.as_deref(), Some("v2"));
    }
    assert_eq!(world.count("v2 requests").await, before + 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_every_fiftieth_request_fails_no_other() {
    let world = world(|setup| setup).await;
    // Fifty sequential requests take longer than the `base_interval` of `filter.json`, so that
    // Envoy reloads the filter at once.
    world.v2.set_latency(Duration::from_millis(4));
    for round in 0..10 {
        for request in 0..49 {
            let answer = world.get(|call| call).await;
            assert_eq!(
                answer.version.as_deref(),
                Some("v2"),
                "round {round}, request {request}: {answer:?}"
            );
        }
        assert_eq!(world.get(trap).await.status, 503);
    }
    // A worker without a request since its last trap has not reloaded.
    assert!(world.sum("wasm.serin.vm_reload_success").await >= 8);
}

/// The sample's listener removes serin's headers of clients.
#[tokio::test(flavor = "multi_thread")]
async fn a_clients_version_header_is_removed_while_failed_open() {
    let world = world(|setup| setup.replace_in_filter("FAIL_RELOAD", "FAIL_OPEN")).await;
    world.assert_version("v2", |call| call).await;
    until(DEADLINE, "both workers have failed", async || {
        let _ = trap(world.call(serin_tests::Protocol::Http1)).send().await;
        let mut answers = vec![];
        for _ in 0..20 {
            answers.push(world.get(|call| call).await.version);
        }
        if answers.iter().all(|version| version.as_deref() == Some("v1")) {
            Ok(())
        } else {
            Err(answers)
        }
    })
    .await;
    let once =
        |call: Call| call.header("x-serin-version", "v2").header("x-serin-cluster", "shop-v2");
    for _ in 0..10 {
        world.assert_version("v1", once).await;
        world.assert_version("v1", |call| once(once(call))).await;
    }
    assert!(!world.v1.last_headers().contains_key("x-serin-version"));
}
