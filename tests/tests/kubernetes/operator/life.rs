//! Operators and people interfere with a rollout under way.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::process::Child;

use super::objects::{by_weights, cluster, observed, plugin};
use super::world::{ROLLOUT, SOON, World, degraded, kill, live, phase, promoted, wall};
use crate::mesh::world::{sidecar, virtual_service, weights};

fn signal(operator: &Child, signal: Signal) {
    let id = operator.id().expect("a running operator");
    let id = Pid::from_raw(id.cast_signed()).expect("a process");
    kill_process(id, signal).expect("the process is a child");
}

/// The longest time of a rollout without an operator.
const TAKEOVER: Duration = Duration::from_secs(20);

/// The first write of the next leader shows the time of the takeover.
fn assert_soon_after(event: Timestamp, what: &str, written: &Value) {
    let passed = wall(&written["status"]).duration_since(event);
    println!("taken over {passed:#} after {what}");
    assert!(passed.unsigned_abs() < TAKEOVER, "{passed:#} after {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_paused_leaders_are_replaced_without_loss() {
    let Some((world, routes, object)) = World::waiting().await else { return };
    let load = world.load(100);
    let first = world.operator("first");
    world.until(ROLLOUT, "the first step is live", &object, live).await;
    let second = world.operator("second");
    let killed = Timestamp::now();
    kill(first).await;
    let writer = |name: &'static str| {
        move |object: &Value| {
            let writer = object["status"]["writer"]["identity"].as_str().unwrap_or_default();
            writer.starts_with(name)
        }
    };
    let taken_over = world.until(SOON, "the second leads", &object, writer("second")).await;
    assert_soon_after(killed, "the kill", &taken_over);
    assert_eq!(taken_over["status"]["step"], "1/2");
    assert_eq!(world.weights(&routes).await, [80, 20]);

    // A leader that wakes up after its lease has expired writes nothing.
    let _third = world.operator("third");
    let stopped = Timestamp::now();
    signal(&second, Signal::STOP);
    let taken_over = world.until(SOON, "the third leads", &object, writer("third")).await;
    assert_soon_after(stopped, "the stop", &taken_over);
    world.order(&object, "approve by=ann").await;
    signal(&second, Signal::CONT);
    let ended = world.until(ROLLOUT, "v2 is promoted", &object, promoted).await;
    assert!(writer("third")(&ended), "{}", ended["status"]["writer"]);
    assert_eq!(ended["status"]["command"]["text"], "approve by=ann");
    assert_eq!(world.weights(&routes).await, [0, 100]);
    load.stop().await.assert_none_failed();
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_and_newer_candidates_are_handled() {
    let Some((world, routes, object)) = World::waiting().await else { return };
    let _load = world.load(100);
    let _operator = world.operator("a");
    world.until(ROLLOUT, "the first step is live", &object, live).await;
    world.order(&object, "puase").await;
    let refused = |object: &Value| object["status"]["command"]["rejected"].is_string();
    world.until(SOON, "the command is rejected", &object, refused).await;
    world.order(&object, "pause by=ann reason=lunch").await;
    world.until(SOON, "the rollout is paused", &object, phase("Paused")).await;

    // The baseline becomes the desired version again.
    world.change(&object, json!({ "spec": { "candidate": "v1" } })).await;
    world.until(SOON, "v1 stays", &object, phase("Stable")).await;
    assert_eq!(world.weights(&routes).await, [100, 0]);
    world.change(&object, json!({ "spec": { "candidate": "v2" } })).await;
    world.until(ROLLOUT, "v2 is tried again", &object, live).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_rollout_returns_all_traffic_to_the_baseline() {
    let Some((world, routes, object)) = World::waiting().await else { return };
    let _load = world.load(100);
    let _operator = world.operator("a");
    world.until(ROLLOUT, "the first step is live", &object, live).await;
    world.delete(&object).await;
    world.until_gone(&object).await;
    assert_eq!(world.weights(&routes).await, [100, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_objects_are_reported_and_awaited() {
    let Some(world) = World::new(sidecar()).await else { return };
    let _load = world.load(100);
    let _operator = world.operator("a");
    let mut object = by_weights("v2");
    object["spec"]["strategy"]["trafficShifting"]["steps"][0]["weight"] = "0.5%".into();
    let object = world.server().create(&object).await;
    let invalid =
        world.until(SOON, "the specification is invalid", &object, degraded("SpecInvalid")).await;
    let message = invalid["status"]["message"].as_str().expect("a message");
    assert!(message.starts_with("spec.strategy: 0.5 % is not a whole percentage"), "{message}");

    world.change(&object, json!({ "spec": by_weights("v2")["spec"] })).await;
    world.until(SOON, "no routes", &object, degraded("ObjectMissing")).await;
    let routes = virtual_service(json!([{ "route": weights(100, 0) }]));
    world.server().create(&routes).await;
    world.until(SOON, "no filter", &object, degraded("NoEvidence")).await;
    world.server().create(&plugin(observed(cluster))).await;
    world.until(ROLLOUT, "v2 is promoted", &object, promoted).await;
}
