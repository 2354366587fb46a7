//! `serin serve` killed again and again, at any time: nothing is lost, skipped or done twice.

use std::time::Duration;

use serde_json::Value;
use serin_tests::{Fault, Server, Spec, http, text, until};
use tokio::time::sleep;

use crate::world::World;

/// Kills until a rollout is left alone.
const KILLS: u32 = 15;

/// A rollout of short steps, with the server killed all the time; gives its events.
async fn killed_all_the_time(world: &World) -> (Option<i32>, Vec<Value>) {
    let step = Duration::from_millis(1_500);
    let spec = Spec::new(&world.envoy).interval(Duration::from_millis(200)).without_tripwire();
    let spec = spec.step("20%", step, 20).step("50%", step, 20).step("100%", step, 20);
    let mut server = Server::start(world.envoy.dir()).await;
    server.apply(&spec).await;
    for _ in 0..KILLS {
        sleep(Duration::from_millis(fastrand::u64(20..700))).await;
        let phase = server.status("shop").await["phase"].take();
        server.kill().await;
        server = Server::start(world.envoy.dir()).await;
        if phase == "ended" {
            break;
        }
    }
    server.watch("shop").await
}

fn numbers(events: &[Value], kind: &str, field: &str) -> Vec<u64> {
    let of_kind = events.iter().filter(|event| event["event"] == kind);
    of_kind.map(|event| event[field].as_u64().unwrap_or(0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_candidate_is_promoted_all_the_same() {
    let world = World::new().await;
    let load = world.load();
    let (code, events) = killed_all_the_time(&world).await;
    assert_eq!(code, Some(0), "{:?}", events.last());
    assert_eq!(load.stop().await.total().failures, 0, "traffic does not notice");
    // Each step once, and each under the generation after the one before.
    assert_eq!(numbers(&events, "shifting", "step"), [1, 2, 3]);
    assert_eq!(numbers(&events, "gateOpened", "step"), [1, 2, 3]);
    assert_eq!(numbers(&events, "shifting", "generation"), [1, 2, 3]);
    assert_eq!(world.envoy.weight_of_v2(), 1_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_candidate_is_rolled_back_all_the_same() {
    let world = World::new().await;
    let load = world.load();
    world.v2.set_faults([Fault::errors(0.5)]);
    let (code, events) = killed_all_the_time(&world).await;
    world.assert_only_faults_failed(&load.stop().await);
    assert_eq!(code, Some(3), "{:?}", events.last());
    assert_eq!(numbers(&events, "rollingBack", "none").len(), 1);
    assert!(numbers(&events, "gateOpened", "step").is_empty());
    assert_eq!(world.envoy.weight_of_v2(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_stopped_leaves_the_weights_and_its_store_to_the_next() {
    let world = World::new().await;
    let load = world.load();
    let hour = Duration::from_secs(3_600);
    let server = Server::start(world.envoy.dir()).await;
    server.apply(&Spec::new(&world.envoy).step("50%", hour, 10).step("100%", hour, 10)).await;
    let second = server.second().await;
    assert_eq!(second.status.code(), Some(1));
    let error = text(&second.stderr);
    assert!(error.ends_with("serin.db: another serin has this store\n"), "{error}");
    sleep(Duration::from_secs(2)).await;
    assert_eq!(server.stop().await, Some(0));
    assert_eq!(world.envoy.weight_of_v2(), 500_000);
    let server = Server::start(world.envoy.dir()).await;
    server.ok(&["abort", "shop"]).await;
    assert_eq!(server.watch("shop").await.0, Some(4));
    assert_eq!(load.stop().await.total().failures, 0);
}

/// Far more than a store needs, but less than it takes to keep a rollout for long.
const LITTLE_KIB: u32 = 600;

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_full_holds_a_rollout_where_it_is_but_no_rollback() {
    let world = World::new().await;
    let load = world.load();
    let server = Server::limited(world.envoy.dir(), LITTLE_KIB).await;
    let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3_600));
    let spec = Spec::new(&world.envoy).interval(Duration::from_millis(100)).without_tripwire();
    server
        .apply(&spec.step("20%", hour, 20).step("50%", second, 20).step("100%", second, 20))
        .await;
    until(Duration::from_secs(60), "the store to be full", async || {
        let log = server.log();
        if log.contains("stays where it is until the store can be written") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
    let ready = http::get(server.address(), "/readyz").await.expect("an answer");
    let said = text(ready.body());
    assert!(ready.status() == 503 && said.starts_with("{\"error\":\"the store: "), "{said}");
    server.serin(&["advance", "shop"]).await;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(world.envoy.weight_of_v2(), 200_000, "what can't be kept is not done");

    world.v2.set_faults([Fault::errors(0.5)]);
    until(Duration::from_secs(30), "the rollback", async || {
        let weight = world.envoy.weight_of_v2();
        if weight == 0 { Ok(()) } else { Err(weight) }
    })
    .await;
    // The store knows nothing of it; what the proxy runs tells.
    server.kill().await;
    let server = Server::start(world.envoy.dir()).await;
    let (code, events) = server.watch("shop").await;
    assert_eq!((code, world.envoy.weight_of_v2()), (Some(3), 0), "{:?}", events.last());
    assert_eq!(events.last().map(|end| &end["reason"]["kind"]), Some(&"notKept".into()));
    world.assert_only_faults_failed(&load.stop().await);
}

/// Its weights go back in the file, and no rollout stays for want of somebody to confirm it.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_whose_proxy_is_gone_can_be_given_up() {
    let mut world = World::new().await;
    let hour = Duration::from_secs(3_600);
    let server = Server::start(world.envoy.dir()).await;
    server.apply(&Spec::new(&world.envoy).step("50%", hour, 10).step("100%", hour, 10)).await;
    world.envoy.kill().await;
    server.kill().await;
    let server = Server::start(world.envoy.dir()).await;
    server.ok(&["abort", "shop"]).await;
    assert_eq!(world.envoy.weight_of_v2(), 0);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(server.status("shop").await["phase"], "running");
    server.ok(&["abort", "shop", "--force", "--why", "the proxy is gone"]).await;
    let (code, events) = server.watch("shop").await;
    assert_eq!(code, Some(5));
    let end = events.last().expect("an end");
    assert_eq!((&end["confirmed"], &end["reason"]["kind"]), (&false.into(), &"ordered".into()));
}
