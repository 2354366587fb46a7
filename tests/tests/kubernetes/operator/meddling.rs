//! Another client writes to the routes, changes their weights, or deletes them, during a rollout.

use std::time::Duration;

use kube::Client;
use serde_json::{Value, json};
use serin_tests::Load;
use tokio::process::Child;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::objects::by_weights;
use super::world::{ROLLOUT, SOON, World, condition, degraded, live, promoted};
use crate::world::{merge, read};

#[tokio::test(flavor = "multi_thread")]
async fn another_writer_ten_times_a_second_loses_no_write() {
    let Some((world, routes)) = World::weighted().await else { return };
    let load = world.load(150);
    let _operator = world.operator("a");
    let writer = annotate(world.admin(), routes.clone());
    let object = world.server().create(&by_weights("v2")).await;
    let ended = world.until(ROLLOUT, "v2 is promoted", &object, promoted).await;
    writer.abort();
    assert_eq!(condition(&ended, "Ready"), ["True", "Stable"]);
    assert_eq!(condition(&ended, "Degraded"), ["False", "AsExpected"]);
    let now = read(&world.admin(), &routes).await;
    assert_eq!(world.weights(&routes).await, [0, 100]);
    let notes = now["metadata"]["annotations"].as_object().expect("annotations").len();
    assert!(notes >= 20, "the other has written {notes} times");
    for round in 0..notes {
        assert_eq!(now["metadata"]["annotations"][note(round)], "kept");
    }
    load.stop().await.assert_none_failed();
}

/// Writes another note every 100 ms.
fn annotate(client: Client, routes: Value) -> JoinHandle<()> {
    tokio::spawn(async move {
        for round in 0.. {
            let notes = json!({ note(round): "kept" });
            merge(&client, &routes, json!({ "metadata": { "annotations": notes } })).await;
            sleep(Duration::from_millis(100)).await;
        }
    })
}

fn note(round: usize) -> String {
    format!("note-{round}")
}

/// The mesh, its routes, and a ServiceRollout with a live first step and this reaction to drift.
async fn under_way(drift: &str) -> Option<(World, Value, Value, (Load, Child))> {
    let (world, routes, object) = World::waiting_with(json!({ "drift": drift })).await?;
    let running = (world.load(100), world.operator("a"));
    world.until(ROLLOUT, "the first step is live", &object, live).await;
    Some((world, routes, object, running))
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_weights_are_repaired_and_reported() {
    let Some((world, routes, object, _running)) = under_way("repair").await else { return };
    world.set_weights(&routes, [50, 50]).await;
    world.until_weights(&routes, [80, 20]).await;
    world.until_told(&object, &["Warning"]).await;
    world.order(&object, "approve").await;
    world.until(ROLLOUT, "v2 is promoted", &object, promoted).await;
    assert_eq!(world.weights(&routes).await, [0, 100]);
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_weights_are_respected_until_restored() {
    let Some((world, routes, object, _running)) = under_way("respect").await else { return };
    world.set_weights(&routes, [50, 50]).await;
    let current =
        world.until(SOON, "the status has the reason", &object, degraded("WriteFailed")).await;
    let message = current["status"]["message"].as_str().expect("a message");
    assert!(message.contains("drift: respect"), "{message}");
    world.until_told(&object, &["Warning", "Blocked"]).await;
    world.order(&object, "approve").await;
    let order = |object: &Value| object["status"]["command"]["text"] == "approve";
    world.until(SOON, "the operator handles the command", &object, order).await;
    assert_eq!(world.weights(&routes).await, [50, 50]);

    world.set_weights(&routes, [80, 20]).await;
    world.until(ROLLOUT, "v2 is promoted", &object, promoted).await;
    assert_eq!(world.weights(&routes).await, [0, 100]);
    world.until_told(&object, &["Unblocked"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn respected_weights_do_not_delay_a_rollback() {
    let Some((world, routes, object, _running)) = under_way("respect").await else { return };
    world.set_weights(&routes, [50, 50]).await;
    world.until(SOON, "the status has the reason", &object, degraded("WriteFailed")).await;
    world.order(&object, "abort").await;
    world.until_weights(&routes, [100, 0]).await;
    let stopped = |object: &Value| object["status"]["phase"] == "Stopped";
    world.until(ROLLOUT, "the rollout is stopped", &object, stopped).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_routes_are_reported_and_awaited() {
    let Some((world, routes, object)) = World::waiting_with(json!({})).await else { return };
    let _load = world.load(100);
    let _operator = world.operator("a");
    world.until(ROLLOUT, "the first step is live", &object, live).await;
    world.delete(&routes).await;
    let current =
        world.until(SOON, "the status has the reason", &object, degraded("WriteFailed")).await;
    let message = current["status"]["message"].as_str().expect("a message");
    assert!(message.contains("VirtualService reviews does not exist"), "{message}");
    assert_eq!(current["status"]["step"], "1/2");
    world.until_told(&object, &["Warning", "Blocked"]).await;

    world
        .server()
        .create(&crate::mesh::world::virtual_service(routes["spec"]["http"].clone()))
        .await;
    world.until_weights(&routes, [80, 20]).await;
    world.until(ROLLOUT, "the first step is live again", &object, live).await;
    world.order(&object, "approve").await;
    world.until(ROLLOUT, "v2 is promoted", &object, promoted).await;
}
