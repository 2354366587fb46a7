//! Envoys observed by their admin interfaces.

use std::time::{Duration, Instant};

use serin_tests::{Fault, RolloutProcess};

use crate::world::{World, kind, message, stop};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_candidate_is_promoted_at_all_proxies() {
    let world = World::new(3).await;
    let loads = world.load();
    let spec = world.spec().step("5%", 3 * SECOND, 20).step("50%", 3 * SECOND, 100);
    let spec = spec.step("100%", 3 * SECOND, 100);
    let ended = RolloutProcess::start(&world.envoys[0], &spec, &[]).end().await;
    let reports = stop(loads).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.summary()["confirmed"], true);
    assert_eq!(ended.all("gateOpened").count(), 3);
    world.assert_all_follow(&ended).await;
    // serin counted each request at all three proxies once.
    let counted = ended.summary()["candidateRequests"].as_u64().expect("a number");
    let served: usize = reports.iter().map(|report| report.tally(Some("v2")).requests).sum();
    assert!(counted <= served as u64, "{counted} counted, {served} served");
    let step = ended.all("gateOpened").last().expect("a gate").1["status"]["candidate"].clone();
    // Three seconds of 100 requests at each of three Envoys, less the start of the step.
    assert!(step["requests"].as_u64() > Some(500), "{step}");
    for report in reports {
        report.assert_none_failed();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_proxy_is_killed_and_restarted() {
    let mut world = World::new(3).await;
    let loads = world.load();
    let spec = world.spec().step("50%", 3 * SECOND, 50).step("100%", SECOND, 10);
    let rollout = RolloutProcess::start(&world.envoys[0], &spec, &[]);
    rollout.until_live(1).await;
    world.envoys[1].kill().await;
    let killed = Instant::now();
    // The others suffice for the step; the next step is not live before the restarted proxy
    // follows.
    let (_, blocked) = rollout.until("proxies are unreachable", kind("proxiesUnreachable")).await;
    let (message, admin) = (message(&blocked), world.envoys[1].admin());
    assert!(message.starts_with("1 of 3 proxies can't be read"), "{message}");
    assert!(message.contains(&format!("{admin} (")), "{message}");
    let up = Instant::now();
    world.envoys[1].restart().await;
    let ended = rollout.end().await;
    stop(loads).await;
    assert_eq!(ended.code, Some(0), "{:?}", ended.events.last());
    let early = ended.all("live").filter(|(heard, _)| *heard > killed && *heard < up).count();
    assert_eq!((early, ended.all("proxyRestarted").count()), (0, 1));
    world.assert_all_follow(&ended).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_proxy_is_named_and_hides_no_harm_at_the_others() {
    let world = World::new(3).await;
    let loads = world.load();
    let spec = world.spec().without_tripwire().step("50%", 3 * SECOND, 50);
    let spec = spec.step("60%", 3 * SECOND, 50).step("100%", 20 * SECOND, 10);
    let rollout = RolloutProcess::start(&world.envoys[0], &spec, &[]);
    rollout.until_live(1).await;
    world.envoys[2].freeze(true);
    let (_, blocked) = rollout.until("proxies are unreachable", kind("proxiesUnreachable")).await;
    let frozen = format!("{} (no answer within ", world.envoys[2].admin());
    assert!(message(&blocked).contains(&frozen), "{}", message(&blocked));
    world.v2.set_faults([Fault::errors(0.5)]);
    rollout.until("harm", |event| event["event"] == "rollingBack").await;
    assert!(rollout.events().iter().all(|(_, event)| event["event"] != "ended"));
    world.envoys[2].freeze(false);
    let ended = rollout.end().await;
    stop(loads).await;
    assert_eq!(ended.code, Some(3), "{:?}", ended.events.last());
    assert_eq!(ended.summary()["confirmed"], true);
    world.assert_all_follow(&ended).await;
}
