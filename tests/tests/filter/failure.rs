//! Should the filter trap all the same: with a module that traps on demand, which differs from the shipped one in nothing else.

use std::time::Duration;

use serde_json::json;
use serin_tests::{Call, Fault, Setup, until};
use tokio::task::JoinSet;

use crate::world::{SOON, World, all, only_shop};

/// By the routes alone it is v1: answers of v2 show that the filter is there.
async fn world(change: impl FnOnce(Setup) -> Setup) -> World {
    let services = only_shop(json!({"buckets": all("v2")}));
    World::with(services, |setup| change(setup.module("serin-trap.wasm"))).await
}

fn poison(call: Call) -> Call {
    call.header("x-serin-trap", "1")
}

async fn until_back(world: &World) {
    until(SOON, "the filter is back", async || {
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
    until(SOON, "all are in flight", async || match world.v2.stats().in_flight {
        CALLS => Ok(()),
        other => Err(other),
    })
    .await;
    let poisoned = world.get(poison).await;
    assert_eq!((poisoned.status, poisoned.version), (503, None));
    world.v2.set_faults([]);
    until_back(&world).await;
    let answers = calls.join_all().await;
    let served = answers.iter().filter(|answer| {
        answer.as_ref().is_ok_and(|answer| answer.version.as_deref() == Some("v2"))
    });
    let served = served.count() as u64;
    // Forty connections are spread over two workers.
    assert!(served > 0, "the other worker's streams were served");
    assert!(served < CALLS, "the trap was real");
    // The filter counts again, too.
    let before = world.count("v2 requests").await;
    for _ in 0..20 {
        assert_eq!(world.get(|call| call).await.version.as_deref(), Some("v2"));
    }
    assert_eq!(world.count("v2 requests").await, before + 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_request_every_fiftieth_harms_no_other() {
    let world = world(|setup| setup).await;
    // One caller, one request in flight. Fifty of them take longer than the time between two loads that `filter.json` asks for, so that
    // the filter may be loaded again at once.
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
        assert_eq!(world.get(poison).await.status, 503);
    }
    // The last one's worker may not have been asked since.
    assert!(world.sum("wasm.serin.vm_reload_success").await >= 8);
}

/// The sample's listener removes what the filter would have overwritten.
#[tokio::test(flavor = "multi_thread")]
async fn failed_open_a_clients_own_version_picks_nothing() {
    let world = world(|setup| setup.replace_in_filter("FAIL_RELOAD", "FAIL_OPEN")).await;
    world.assert_version("v2", |call| call).await;
    // Both workers have to fail.
    until(SOON, "the filter has failed", async || {
        let _ = poison(world.call(serin_tests::Protocol::Http1)).send().await;
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
