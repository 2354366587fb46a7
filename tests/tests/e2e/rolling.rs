//! The rolling strategy on a real Envoy: serin calls a deployer that replaces instances batch by
//! batch, and weights follow.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use serin_tests::{
    Deployer, Envoy, Fault, Load, LoadPlan, RolloutProcess, RolloutResult, Server, Setup, Spec,
    ports, until,
};

use crate::world::RATE;

const INSTANCES: [&str; 3] = ["a", "b", "c"];

/// An Envoy with changing endpoints and the deployer that changes them.
async fn world() -> (Envoy, Deployer) {
    // No server listens at these addresses; the deployer's instances replace them at once.
    let nobody =
        [ports::free(), ports::free()].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let envoy = Envoy::start(&Setup::new(nobody[0], nobody[1]).endpoint_files()).await;
    let deployer = Deployer::start(&envoy, &INSTANCES).await;
    (envoy, deployer)
}

fn rolling(envoy: &Envoy, deployer: &Deployer, bake: &str) -> Spec {
    let hook = format!("{{ url: \"{}\", timeout: 30s }}", deployer.url());
    let strategy = format!(
        "rolling: {{ instances: [a, b, c], bake: {bake}, drain: {hook}, replace: {hook}, ready: {hook} }}"
    );
    let interval = Duration::from_millis(300);
    Spec::new(envoy).strategy(&strategy).interval(interval).without_tripwire()
}

fn load(envoy: &Envoy) -> Load {
    Load::start(LoadPlan::new(envoy.listener(), RATE))
}

fn weights(ended: &RolloutResult) -> Vec<u64> {
    ended.all("shifting").filter_map(|(_, event)| event["weight"].as_u64()).collect()
}

/// The calls that take these instances to a version.
fn replaced(instances: &[&str], version: &str) -> Vec<String> {
    let calls =
        |instance| ["drain", "replace", "ready"].map(|p| format!("{p} {instance} {version}"));
    instances.iter().flat_map(calls).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_are_replaced_one_by_one_without_failures() {
    let (envoy, deployer) = world().await;
    let load = load(&envoy);
    let spec = rolling(&envoy, &deployer, "{ time: 1s, requests: 20 }");
    let ended = RolloutProcess::start(&envoy, &spec, &[]).end().await;
    load.stop().await.assert_none_failed();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(weights(&ended), [0, 333_333, 500_000, 666_666, 1_000_000, 1_000_000]);
    assert_eq!(deployer.work(), replaced(&INSTANCES, "v2"));
    assert_eq!(deployer.versions(), ["v2"; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_version_is_rolled_back_batch_by_batch() {
    let (envoy, deployer) = world().await;
    let load = load(&envoy);
    let spec = rolling(&envoy, &deployer, "{ time: 5s, requests: 200 }");
    let rollout = RolloutProcess::start(&envoy, &spec, &[]);
    rollout.until_live(2).await;
    deployer.set_faults([Fault::errors(0.3)]);
    let ended = rollout.end().await;
    let report = load.stop().await;
    assert_eq!(report.tally(Some("v1")).failures, 0, "v1 is healthy");
    assert_eq!(report.total().failures, report.tally(Some("v2")).failures, "only faults failed");
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert_eq!(ended.summary()["reason"]["kind"], "harm");
    // The harm may be detected before the bad instance has its full weight.
    let weights = weights(&ended);
    assert!(weights.starts_with(&[0, 333_333, 500_000]), "{weights:?}");
    assert!(weights.ends_with(&[500_000, 0]), "{weights:?}");
    let work = deployer.work().into_iter().filter(|call| call.starts_with("replace"));
    let expected = ["replace a v2", "replace b v2", "replace b v1", "replace a v1"];
    assert_eq!(work.collect::<Vec<_>>(), expected);
    assert_eq!(deployer.versions(), ["v1"; 3]);
}

/// A restarted server repeats the last call of the killed one exactly, and no earlier one.
#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_server_repeats_unanswered_hook_calls() {
    let (envoy, deployer) = world().await;
    let load = load(&envoy);
    let server = Server::start(envoy.dir()).await;
    deployer.refuse("ready", true);
    let spec = rolling(&envoy, &deployer, "{ time: 1s, requests: 20 }");
    server.apply(&spec.field("rollbackWindow: 1h")).await;
    let patience = Duration::from_secs(60);
    let last_is_ready = async || match deployer.messages() {
        messages if messages.last().is_some_and(|last| last["point"] == "ready") => Ok(messages),
        messages => Err(messages),
    };
    let before = until(patience, "asked whether a is ready", last_is_ready).await;
    server.kill().await;
    let server = Server::start(envoy.dir()).await;
    let asked = before.len();
    let after = until(patience, "asked again", async || match deployer.messages() {
        messages if messages.len() > asked => Ok(messages),
        messages => Err(messages),
    })
    .await;
    assert_eq!(after[asked], before[asked - 1]);

    deployer.refuse("ready", false);
    until(patience, "promotion", async || {
        let shown = server.status("shop").await;
        if shown["status"]["stage"] == "promoted" { Ok(()) } else { Err(shown) }
    })
    .await;
    assert_eq!(deployer.work(), replaced(&INSTANCES, "v2"));
    // Within the window all instances can be reverted.
    server.ok(&["undo", "shop"]).await;
    assert_eq!(server.watch("shop").await.0, Some(4));
    assert_eq!(deployer.versions(), ["v1"; 3]);
    let ids: Vec<Value> = deployer.messages().iter().map(|m| m["id"].clone()).collect();
    assert!(ids.contains(&"shop-v2/1/step-5/ready/2".into()), "{ids:?}");
    assert!(ids.contains(&"shop-v2/1/back-1/ready/2".into()), "{ids:?}");
    load.stop().await.assert_none_failed();
}
