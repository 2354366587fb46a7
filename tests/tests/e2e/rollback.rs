use std::time::Duration;

use serde_json::Value;
use serin_tests::{Fault, Load, LoadPlan, Protocol, RolloutProcess};
use tokio::time::sleep;

use crate::world::World;

/// Makes v2 fail at 50 % and returns the summary of the rollback by the judge: so many failures
/// could trip the tripwire first.
async fn roll_back(world: World, plan: LoadPlan, faults: &[Fault]) -> Value {
    let load = Load::start(plan);
    let rollout = RolloutProcess::start(&world.envoy, &world.spec().without_tripwire(), &[]);
    rollout.until_live(2).await;
    world.v2.set_faults(faults.iter().copied());
    let ended = rollout.end().await;
    sleep(Duration::from_millis(500)).await;
    let report = load.stop().await;

    assert_eq!(ended.code, Some(3), "{:?}", ended.events.last());
    let summary = ended.summary().clone();
    assert_eq!(summary["verdict"], "rolledBack");
    assert_eq!((&summary["confirmed"], &summary["weight"]), (&true.into(), &0.into()));
    assert_eq!(world.envoy.weight_of_v2(), 0);
    world.assert_only_faults_failed(&report);
    let (confirmed, _) = *ended.all("live").last().expect("the rollback went live");
    let mut late = report.records().filter(|record| record.started > confirmed).peekable();
    assert!(late.peek().is_some(), "the load went on");
    assert!(late.all(|record| record.version() == Some("v1")), "v2 gets no requests afterwards");
    summary
}

fn assert_cause(summary: &Value, sli: &str, kind: &str) {
    assert_eq!(summary["reason"]["sli"], sli, "{summary}");
    let kinds = summary["candidateFailures"].as_object().expect("failures by kind");
    assert_eq!(kinds.keys().collect::<Vec<_>>(), [kind], "{summary}");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors() {
    let world = World::new().await;
    let plan = world.plan();
    assert_cause(&roll_back(world, plan, &[Fault::errors(0.3)]).await, "errors", "status");
}

#[tokio::test(flavor = "multi_thread")]
async fn resets() {
    let world = World::new().await;
    let plan = world.plan();
    assert_cause(&roll_back(world, plan, &[Fault::resets(0.3)]).await, "errors", "reset");
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_errors() {
    let world = World::new().await;
    let plan = LoadPlan { protocol: Protocol::Grpc, ..world.plan() };
    assert_cause(&roll_back(world, plan, &[Fault::grpc_errors(0.3, 14)]).await, "errors", "grpc");
}

#[tokio::test(flavor = "multi_thread")]
async fn hangs() {
    let world = World::with(|setup| setup.replace("timeout: 15s", "timeout: 1s")).await;
    let plan = world.plan();
    assert_cause(&roll_back(world, plan, &[Fault::hangs(0.3)]).await, "errors", "timeout");
}

/// The callers time out before Envoy does: not a failure of v2, but a long wait.
#[tokio::test(flavor = "multi_thread")]
async fn hangs_beyond_the_callers_timeout() {
    let world = World::new().await;
    let plan = LoadPlan { timeout: Duration::from_millis(700), ..world.plan() };
    let summary = roll_back(world, plan, &[Fault::hangs(0.3)]).await;
    assert_eq!(summary["reason"]["sli"], "latency");
}

/// The proxy does not wait for the controller, which polls every ten seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_always_fails_is_cut_off_by_the_proxy() {
    let world = World::new().await;
    let load = world.load();
    let spec = world.spec().interval(Duration::from_secs(10));
    let rollout = RolloutProcess::start(&world.envoy, &spec, &[]);
    rollout.until_live(1).await;
    world.v2.set_faults([Fault::errors(1.0)]);
    let ended = rollout.end().await;
    load.stop().await;
    assert_eq!(ended.code, Some(3), "{:?}", ended.events.last());
    assert_eq!(ended.summary()["reason"]["kind"], "tripwire", "{:?}", ended.summary());
    // Each of two workers needs twelve consecutive failures; some requests were in flight.
    let faults = world.v2.stats().faults;
    assert!((12..=40).contains(&faults), "{faults} requests met the fault");
}

#[tokio::test(flavor = "multi_thread")]
async fn slowness() {
    let world = World::new().await;
    let plan = world.plan();
    let ms = Duration::from_millis;
    let faults = [Fault::delay(1.0, ms(150)), Fault::delay(0.1, ms(600))];
    let summary = roll_back(world, plan, &faults).await;
    assert_eq!(summary["reason"]["sli"], "latency");
    assert_eq!(summary["candidateFailures"].as_object().map(serde_json::Map::len), Some(0));
}
