//! The strategies other than traffic shifting, which the other tests cover: each with and without
//! a fault.

use std::time::Duration;

use serde_json::Value;
use serin_tests::{Fault, RolloutProcess, RolloutResult, Spec};
use tokio::time::sleep;

use crate::world::{PREVIEW, World};

const CANARY: &str = "canary: { weight: 20%, bake: { time: 3s, requests: 50 }, limit: { atMost: 30s, then: rollBack } }";

const BLUE_GREEN: &str =
    "blueGreen: { preview: { time: 1s, requests: 5 }, bake: { time: 2s, requests: 50 } }";

/// The candidate's requested weights in parts per million.
fn weights(ended: &RolloutResult) -> Vec<u64> {
    ended.all("shifting").filter_map(|(_, event)| event["weight"].as_u64()).collect()
}

fn is_live(step: usize) -> impl Fn(&Value) -> bool {
    move |event| event["event"] == "progress" && event["step"] == step && event["live"] == true
}

fn blue_green(world: &World) -> Spec {
    let spec = Spec::new(&world.envoy).strategy(BLUE_GREEN).without_tripwire();
    let spec = spec.objectives("{ errors: 2% }").field("rollbackWindow: 3s");
    PREVIEW.iter().fold(spec, |spec, field| spec.field(field))
}

/// A blue/green rollout whose preview is live.
async fn previewed(world: &World) -> RolloutProcess {
    let rollout = RolloutProcess::start(&world.envoy, &blue_green(world), &[]);
    rollout.until("a preview", is_live(1)).await;
    rollout
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_canary_is_promoted() {
    let world = World::new().await;
    let load = world.load();
    let spec = Spec::new(&world.envoy).strategy(CANARY);
    let ended = RolloutProcess::start(&world.envoy, &spec, &[]).end().await;
    load.stop().await.assert_none_failed();
    assert_eq!((ended.code, weights(&ended)), (Some(0), vec![200_000, 1_000_000]));
    assert_eq!(world.envoy.weight_of_v2(), 1_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_canary_is_rolled_back() {
    let world = World::new().await;
    let load = world.load();
    world.v2.set_faults([Fault::errors(0.3)]);
    let spec = Spec::new(&world.envoy).strategy(CANARY).without_tripwire();
    let ended = RolloutProcess::start(&world.envoy, &spec, &[]).end().await;
    world.assert_only_faults_failed(&load.stop().await);
    assert_eq!((ended.code, weights(&ended)), (Some(3), vec![200_000, 0]));
    assert_eq!(ended.summary()["reason"]["kind"], "harm");
}

/// The step is long enough for a verdict, but the budget ends it sooner.
#[tokio::test(flavor = "multi_thread")]
async fn an_exhausted_failure_budget_rolls_back() {
    let world = World::new().await;
    let load = world.load();
    world.v2.set_faults([Fault::errors(0.2)]);
    let spec =
        Spec::new(&world.envoy).strategy(CANARY).without_tripwire().field("failureBudget: 1");
    let ended = RolloutProcess::start(&world.envoy, &spec, &[]).end().await;
    load.stop().await;
    assert_eq!((ended.code, weights(&ended)), (Some(3), vec![200_000, 0]));
    assert_eq!(ended.summary()["reason"]["kind"], "failureBudget", "{}", ended.summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn blue_green_switches_all_users_at_once_after_its_preview() {
    let world = World::new().await;
    let load = world.load();
    let rollout = previewed(&world).await;
    sleep(Duration::from_secs(2)).await;
    assert!(
        !rollout.events().iter().any(|(_, event)| is_live(2)(event)),
        "no request has asked for it yet"
    );
    assert_eq!(world.v2.stats().requests, 0, "users stay with v1");
    world.preview(8).await;
    let ended = rollout.end().await;
    load.stop().await.assert_none_failed();
    assert_eq!((ended.code, weights(&ended)), (Some(0), vec![0, 1_000_000]));
    let (promoted, _) = *ended.all("promoted").next().expect("promotion");
    let (over, _) = *ended.all("ended").next().expect("an end");
    assert!(over - promoted >= Duration::from_millis(2_900), "{:?}", over - promoted);
    assert_eq!(world.envoy.weight_of_v2(), 1_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_preview_ends_blue_green_before_any_user() {
    let world = World::new().await;
    let load = world.load();
    world.v2.set_faults([Fault::errors(1.0).times(1)]);
    let rollout = previewed(&world).await;
    world.preview(3).await;
    let ended = rollout.end().await;
    let report = load.stop().await;
    assert_eq!((ended.code, weights(&ended)), (Some(3), vec![0, 0]));
    let reason = &ended.summary()["reason"];
    assert_eq!((&reason["kind"], &reason["failures"]), (&"preview".into(), &1.into()));
    assert_eq!((report.total().failures, report.tally(Some("v2")).requests), (0, 0));
}

/// Without a baseline for comparison the objective decides.
#[tokio::test(flavor = "multi_thread")]
async fn blue_green_switches_back_within_its_window() {
    let world = World::new().await;
    let load = world.load();
    let rollout = previewed(&world).await;
    world.preview(8).await;
    rollout.until("promotion", |event| event["event"] == "promoted").await;
    world.v2.set_faults([Fault::errors(0.3)]);
    let ended = rollout.end().await;
    world.assert_only_faults_failed(&load.stop().await);
    assert_eq!((ended.code, weights(&ended)), (Some(3), vec![0, 1_000_000, 0]));
    assert_eq!(world.envoy.weight_of_v2(), 0);
}
