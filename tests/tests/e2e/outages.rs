//! An outage during a rollout is evidence neither of health nor of harm: it blocks the step, is
//! reported, and ends.

use std::time::{Duration, Instant};

use serde_json::Value;
use serin_tests::{RolloutProcess, RolloutResult, Spec, TcpRelay};
use tokio::time::sleep;

use crate::world::World;

/// One step that is long enough for an outage, then all traffic.
fn spec(world: &World) -> Spec {
    Spec::new(&world.envoy).step("50%", Duration::from_secs(5), 50).step(
        "100%",
        Duration::from_secs(1),
        10,
    )
}

/// The events between the start of the outage and `end`.
fn within(ended: &RolloutResult, begin: Instant, end: Instant) -> impl Iterator<Item = &Value> {
    let during = move |heard: Instant| heard > begin && heard < end;
    ended.events.iter().filter(move |(heard, _)| during(*heard)).map(|(_, event)| event)
}

/// The machine decided nothing during the outage, and continued afterwards.
fn assert_waited(ended: &RolloutResult, begin: Instant, end: Instant) {
    assert_eq!(ended.code, Some(0), "{:?}", ended.events.last());
    let decided = ["gateOpened", "live", "shifting", "rollingBack", "ended"];
    for event in within(ended, begin, end) {
        assert!(!decided.iter().any(|kind| event["event"] == *kind), "{event}");
    }
}

fn kind<'e>(kind: &'e str) -> impl Fn(&Value) -> bool + 'e {
    move |event| event["blocker"]["kind"] == kind
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_is_killed_and_restarted() {
    let mut world = World::new().await;
    let load = world.load();
    let rollout = RolloutProcess::start(&world.envoy, &spec(&world), &[]);
    rollout.until_live(1).await;
    world.envoy.kill().await;
    let killed = Instant::now();
    let (_, blocked) = rollout.until("unreachable", kind("unreachable")).await;
    let message = blocked["message"].as_str().expect("a message");
    // The reason depends on serin's activity: connecting, or reading an answer.
    let reasons = ["Connection refused", "Connection reset", "connection closed before message"];
    let named = |reason: &&str| message.contains(&format!("can't be reached: {reason}"));
    assert!(reasons.iter().any(named), "{message}");
    // As long as the bake: this time does not count.
    sleep(Duration::from_secs(5)).await;
    let up = Instant::now();
    world.envoy.restart().await;
    rollout.until("a restart", |event| event["event"] == "proxyRestarted").await;
    let ended = rollout.end().await;
    load.stop().await;
    assert_waited(&ended, killed, up);
    assert!(ended.all("unblocked").count() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_port_is_unreachable_for_ten_seconds() {
    let world = World::new().await;
    let load = world.load();
    let mut gate = TcpRelay::start(world.envoy.admin()).await;
    let spec = spec(&world).admin(gate.address());
    let rollout = RolloutProcess::start(&world.envoy, &spec, &[]);
    rollout.until_live(1).await;
    gate.shut().await;
    let shut = Instant::now();
    rollout.until("unreachable", kind("unreachable")).await;
    sleep(Duration::from_secs(10)).await;
    let opened = Instant::now();
    gate.open().await;
    let ended = rollout.end().await;
    let report = load.stop().await;
    assert_waited(&ended, shut, opened);
    assert_eq!(ended.all("proxyRestarted").count(), 0);
    report.assert_none_failed();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_envoy_refuses() {
    let world = World::new().await;
    let load = world.load();
    let rollout = RolloutProcess::start(&world.envoy, &spec(&world), &[]);
    rollout.until_live(1).await;
    // Envoy reads the module again for the next configuration, and finds it broken.
    let (module, good) = (world.envoy.module(), world.envoy.dir().join("good.wasm"));
    std::fs::rename(&module, &good).expect("a module");
    std::fs::write(&module, "not a module").expect("a file");
    let (refused, blocked) = rollout.until("rejected", kind("rejected")).await;
    assert_eq!(blocked["blocker"]["kind"], "rejected", "{blocked}");
    sleep(Duration::from_secs(2)).await;
    let mended = Instant::now();
    std::fs::rename(good, module).expect("a module");
    let ended = rollout.end().await;
    let report = load.stop().await;
    assert_waited(&ended, refused, mended);
    report.assert_none_failed();
}
