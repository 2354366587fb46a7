//! Commands to rollouts of `serin serve`.

use std::time::Duration;

use serde_json::Value;
use serin_tests::{Fault, Server, Spec, http, text, until};

use crate::world::World;

const SECONDS: Duration = Duration::from_secs(30);

/// 5 %, 50 % and 100 %; the first two last until a command ends them.
fn patient(world: &World) -> Spec {
    let hour = Duration::from_secs(3_600);
    Spec::new(&world.envoy)
        .step("5%", hour, 10)
        .step("50%", hour, 10)
        .step("100%", Duration::from_secs(1), 10)
        .interval(Duration::from_millis(300))
}

/// Waits until the rollout's status matches.
async fn until_status(server: &Server, what: &str, holds: impl Fn(&Value) -> bool) {
    until(SECONDS, what, async || {
        let status = server.status("shop").await["status"].take();
        if holds(&status) { Ok(()) } else { Err(status) }
    })
    .await;
}

async fn until_live(server: &Server, step: u32) {
    until_status(server, &format!("step {step} live"), |s| s["step"] == step && s["live"] == true)
        .await;
}

fn all<'e>(events: &'e [Value], kind: &str) -> Vec<&'e Value> {
    events.iter().filter(|event| event["event"] == kind).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_drive_a_rollout_and_undo_it() {
    let world = World::new().await;
    let load = world.load();
    let server = Server::start(world.envoy.dir()).await;
    server.apply(&patient(&world).field("rollbackWindow: 1h")).await;
    until_live(&server, 1).await;

    assert_eq!(server.ok(&["pause", "shop", "--reason", "lunch"]).await, "shop-v2: paused\n");
    server.ok(&["pause", "shop"]).await;
    until_status(&server, "paused", |status| status["paused"] == true).await;
    assert!(server.ok(&["status"]).await.contains("step 1 of 3, 5 %, paused; v2 failed"));
    let page = http::get(server.address(), "/metrics").await.expect("the page");
    let page = text(page.body());
    for series in [
        "serin_rollouts{phase=\"running\"} 1",
        "serin_rollout_weight{rollout=\"shop-v2\",service=\"shop\"} 0.05",
        "serin_rollout_evidence_limit{rollout=\"shop-v2\",service=\"shop\"} 100.0",
        "serin_rollout_paused{rollout=\"shop-v2\",service=\"shop\"} 1",
        "serin_http_requests_total{route=\"/v1/rollouts\",code=\"201\"} 1",
        "serin_store_write_failures_total 0",
    ] {
        assert!(page.lines().any(|line| line == series), "{series}: {page}");
    }
    let refused = server.refused(&["undo", "shop"]).await;
    assert_eq!(refused, "serin: v2 is not promoted yet; abort takes it back\n");
    let refused = server.refused(&["advance", "shop", "--step", "3"]).await;
    assert_eq!(refused, "serin: step 3 has not begun; it is at step 1\n");

    for _ in 0..2 {
        server.ok(&["advance", "1", "--step", "1", "--by", "grace"]).await;
    }
    until_live(&server, 2).await;
    until_status(&server, "still paused", |status| status["paused"] == true).await;
    server.ok(&["promote", "shop"]).await;
    until_status(&server, "promoted", |s| s["weight"] == 1_000_000 && s["step"].is_null()).await;
    assert_eq!(world.envoy.weight_of_v2(), 1_000_000);
    server.ok(&["undo", "shop", "--reason", "a complaint"]).await;

    let (code, events) = server.watch("shop").await;
    assert_eq!((code, world.envoy.weight_of_v2()), (Some(4), 0));
    let orders: Vec<_> =
        all(&events, "command").iter().map(|o| format!("{} {}", o["action"], o["by"])).collect();
    let expected =
        [r#""pause" "ada""#, r#""advance" "grace""#, r#""promote" "ada""#, r#""undo" "ada""#];
    assert_eq!(orders, expected, "each counts once");
    let ended = all(&events, "ended")[0];
    assert_eq!(
        (&ended["verdict"], &ended["reason"]["reason"]),
        (&"interrupted".into(), &"a complaint".into())
    );
    let refused = server.refused(&["undo", "shop"]).await;
    assert_eq!(refused, "serin: rollout 1 is not under way\n");
    load.stop().await.assert_none_failed();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_waits_for_approval_and_is_aborted() {
    let world = World::new().await;
    let load = world.load();
    let server = Server::start(world.envoy.dir()).await;
    let canary = "canary: { weight: 20%, bake: { time: 1s, requests: 10 }, approval: true }";
    let spec = Spec::new(&world.envoy).strategy(canary).interval(Duration::from_millis(300));
    server.apply(&spec.field("rollbackWindow: 1h")).await;
    until(SECONDS, "to wait for approval", async || {
        let (url, path) = (server.url(), "/v1/rollouts/1");
        let status = server.status("shop").await["status"].take();
        let waits = status["baked"].as_f64() > Some(2.0) && status["weight"] == 200_000;
        if waits { Ok(()) } else { Err(format!("{url}{path}: {status}")) }
    })
    .await;
    server.ok(&["approve", "shop", "--step", "1"]).await;
    until_status(&server, "promoted", |s| s["weight"] == 1_000_000 && s["step"].is_null()).await;
    let refused = server.refused(&["abort", "shop"]).await;
    assert_eq!(refused, "serin: v2 is promoted; undo takes it back\n");
    server.ok(&["undo", "shop"]).await;
    assert_eq!(server.watch("shop").await.0, Some(4));

    server.apply(&patient(&world)).await;
    until_live(&server, 1).await;
    server.ok(&["abort", "shop"]).await;
    let (code, events) = server.watch("shop").await;
    assert_eq!((code, all(&events, "live").len()), (Some(4), 2));
    load.stop().await.assert_none_failed();
}

/// The promoted version is the baseline of the next rollout, which waits for its turn.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_rollout_of_a_service_is_queued() {
    let world = World::new().await;
    let load = world.load();
    let server = Server::start(world.envoy.dir()).await;
    let quick = |spec: Spec| {
        let second = Duration::from_secs(1);
        spec.step("50%", second, 10).step("100%", second, 10).interval(Duration::from_millis(300))
    };
    assert_eq!(server.apply(&quick(Spec::new(&world.envoy))).await["phase"], "running");
    let next = server.apply(&quick(Spec::new(&world.envoy).next_release())).await;
    assert_eq!((&next["id"], &next["phase"]), (&2.into(), &"queued".into()));
    assert!(server.ok(&["status", "2"]).await.contains("queued"));
    // A queued rollout can be withdrawn.
    server.apply(&quick(Spec::new(&world.envoy).next_release())).await;
    server.ok(&["abort", "3", "--reason", "a mistake"]).await;
    assert_eq!(server.status("3").await["outcome"], "aborted by ada: a mistake");
    let ((first, _), (second, _)) = (server.watch("1").await, server.watch("2").await);
    assert_eq!((first, second), (Some(0), Some(0)));
    load.stop().await.assert_none_failed();
    let history = server.ok(&["status", "--output", "json"]).await;
    let outcomes: Vec<Value> = history
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["outcome"].take())
        .collect();
    assert_eq!(outcomes[1..], ["promoted", "promoted"]);

    // A rollout that can't start is rejected, and kept with the reason.
    let path = world.envoy.dir().join("serin.yaml").display().to_string();
    let refused = server.refused(&["apply", &path]).await;
    assert!(refused.contains("rollout 4: v1 has 100 % of the users of shop already"), "{refused}");
    assert_eq!(server.status("4").await["phase"], "failed");
}

/// The history has the time of each promotion, a failed rollout can be retried, and a newer one
/// replaces one under way.
#[tokio::test(flavor = "multi_thread")]
async fn consecutive_rollouts_reuse_the_setup() {
    let world = World::new().await;
    let load = world.load();
    let server = Server::start(world.envoy.dir()).await;
    let quick = || {
        let second = Duration::from_secs(1);
        let spec = Spec::new(&world.envoy).interval(Duration::from_millis(300)).without_tripwire();
        spec.step("50%", second, 10).step("100%", second, 10)
    };
    // v2 fails; then it is fixed, and a command retries the rollout.
    world.v2.set_faults([Fault::errors(0.5)]);
    server.apply(&quick()).await;
    assert_eq!(server.refused(&["retry", "shop"]).await, "serin: rollout 1 is under way\n");
    assert_eq!(server.watch("shop").await.0, Some(3));
    world.v2.set_faults([]);
    let retried = server.ok(&["retry", "shop", "--reason", "fixed"]).await;
    assert_eq!(retried, "shop-v2: retried as rollout 2\n");
    assert_eq!(server.ok(&["retry", "1"]).await, retried, "counts once");
    let (code, events) = server.watch("2").await;
    assert_eq!((code, &events[0]["reason"]), (Some(0), &"fixed".into()));
    assert_eq!(server.refused(&["retry", "2"]).await, "serin: rollout 2 was promoted\n");

    // A newer rollout does not wait: the one under way returns to its baseline first.
    server.apply(&patient(&world).next_release()).await;
    until_live(&server, 1).await;
    let path = world.envoy.dir().join("newer.yaml");
    std::fs::write(&path, quick().next_release().name("shop-v3").yaml()).expect("a file");
    let path = path.display().to_string();
    assert_eq!(server.ok(&["pause-for", "shop", "--for", "1h"]).await, "shop-v2: paused\n");
    server.ok(&["apply", &path, "--replace"]).await;
    let (code, events) = server.watch("3").await;
    assert_eq!(code, Some(4));
    assert_eq!(all(&events, "ended")[0]["reason"]["reason"], "replaced by rollout 4");
    assert_eq!(all(&events, "ended")[0]["weight"], 0);
    assert_eq!(server.watch("shop-v3").await.0, Some(0));
    assert_eq!(load.stop().await.total().failures, world.v2.stats().faults as usize);

    let promoted = server.ok(&["history", "shop", "--promoted", "--output", "json"]).await;
    let promoted = promoted.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    let promoted: Vec<Value> = promoted.collect();
    let candidates: Vec<_> = promoted.iter().map(|entry| &entry["candidate"]).collect();
    assert_eq!(candidates, ["v1", "v2"]);
    assert!(promoted.iter().all(|entry| entry["promoted"].is_string()));
    let history = server.ok(&["history"]).await;
    assert_eq!(history.lines().count(), 4, "{history}");
    assert!(history.contains("v1 -> v2  promoted 20"), "{history}");
    assert_eq!(server.ok(&["history", "cart"]).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_after_the_rollback_window_is_refused() {
    let world = World::new().await;
    let load = world.load();
    let server = Server::start(world.envoy.dir()).await;
    let second = Duration::from_secs(1);
    let spec = Spec::new(&world.envoy).step("100%", second, 10).objectives("{ errors: 2% }");
    server.apply(&spec.field("rollbackWindow: 1s")).await;
    assert_eq!(server.watch("shop").await.0, Some(0));
    let refused = server.refused(&["undo", "shop"]).await;
    assert_eq!(refused, "serin: rollout 1 is not under way\n");
    assert_eq!(world.envoy.weight_of_v2(), 1_000_000);
    load.stop().await.assert_none_failed();
}
