//! The harness itself, with Envoy in the mode of the suites.

use super::*;
use crate::{Fault, Load, LoadPlan, Protocol, Tally, Upstream};

struct World {
    envoy: Envoy,
    v1: Upstream,
    v2: Upstream,
}

async fn world(adapt: impl FnOnce(Setup) -> Setup) -> World {
    let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
    let envoy = Envoy::start(&adapt(Setup::new(v1.address(), v2.address()))).await;
    World { envoy, v1, v2 }
}

const REQUESTS: &str = "http.edge.downstream_rq_completed";

#[tokio::test]
async fn the_shipped_files_serve_the_baseline_and_counters_begin_anew() {
    let mut world = world(|setup| setup).await;
    let directory = world.envoy.dir().to_owned();
    let (listener, admin) = (world.envoy.listener(), world.envoy.admin());
    let served = async |envoy: &Envoy| {
        let answer = http::get(listener, "/").await.expect("a response");
        assert_eq!(answer.headers()["x-upstream-version"], "v1", "{answer:?} {}", envoy.log());
        assert_eq!(envoy.stat(REQUESTS).await, Some(1));
    };
    served(&world.envoy).await;

    world.envoy.restart().await;
    served(&world.envoy).await;

    world.envoy.kill().await;
    http::get(admin, "/ready").await.expect_err("killed");
    world.envoy.restart().await;
    served(&world.envoy).await;

    world.envoy.stop().await;
    http::get(admin, "/ready").await.expect_err("stopped");
    assert_eq!(world.envoy.stat(REQUESTS).await, None);
    assert!(world.envoy.log().contains("caught ENVOY_SIGTERM"), "{}", world.envoy.log());

    assert_eq!((world.v1.stats().requests, world.v2.stats().requests), (3, 0));
    drop(world);
    assert!(!directory.exists());
}

#[tokio::test]
async fn dropping_ends_envoy() {
    let admin = world(|setup| setup).await.envoy.admin();
    until(Duration::from_secs(10), "the admin port is closed", async || {
        http::get(admin, "/ready").await.err().ok_or("it answers")
    })
    .await;
}

#[tokio::test]
async fn a_configuration_moved_into_place_is_seen() {
    let world = world(|setup| setup).await;
    let update = "extension_config_discovery.http_filter.serin.update_success";
    let before = world.envoy.stat(update).await.expect("the filter's discovery");
    let next = world.envoy.dir().join("next.json");
    let shipped = std::fs::read_to_string(world.envoy.filter_file()).expect("the shipped file");
    std::fs::write(&next, shipped.replace("\"version_info\": \"0\"", "\"version_info\": \"1\""))
        .expect("the file can be written");
    std::fs::rename(&next, world.envoy.filter_file()).expect("moved");
    until(Duration::from_secs(5), "Envoy accepts the update", async || {
        let now = world.envoy.stat(update).await;
        if now > Some(before) { Ok(()) } else { Err(now) }
    })
    .await;
}

#[tokio::test]
async fn the_bootstrap_can_be_changed() {
    let world = world(|setup| setup.replace("timeout: 15s", "timeout: 0.2s").workers(1)).await;
    assert_eq!(world.envoy.stat("server.concurrency").await, Some(1));
    world.v1.set_faults([Fault::hangs(1.0)]);
    let answer = http::get(world.envoy.listener(), "/").await.expect("a response");
    assert_eq!(answer.status(), 504);
    assert!(!answer.headers().contains_key("x-upstream-version"));
}

#[tokio::test]
#[should_panic(expected = "Envoy has ended; its log")]
async fn a_bootstrap_envoy_refuses_fails_at_once_and_says_why() {
    world(|setup| setup.replace("codec_type: AUTO", "codec_type: NONSENSE")).await;
}

/// The statistics of load, Envoy and upstream are equal, and only requests that hit a fault fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_agree_through_envoy() {
    let world = world(|setup| setup).await;
    let mut sent = 0;
    for (protocol, faults, failures) in [
        (Protocol::Http1, vec![], 0.0..=0.0),
        (Protocol::Grpc, vec![], 0.0..=0.0),
        (Protocol::Http1, vec![Fault::resets(0.1)], 0.07..=0.13),
        (Protocol::Grpc, vec![Fault::grpc_errors(0.1, 13)], 0.07..=0.13),
    ] {
        world.v1.set_faults(faults);
        let plan = LoadPlan {
            protocol,
            max_duration: Duration::from_secs(2),
            ..LoadPlan::new(world.envoy.listener(), 1_000)
        };
        let load = Load::start(plan);
        tokio::time::sleep(Duration::from_secs(2)).await;
        let report = load.stop().await;
        let Tally { requests, failures: failed } = report.total();
        sent += requests as u64;
        assert_eq!(world.v1.stats().requests, sent, "{protocol:?}");
        let share = failed as f64 / requests as f64;
        assert!(failures.contains(&share), "{protocol:?}: {share} failed, {:?}", report.tallies());
    }
    until(Duration::from_secs(5), "Envoy has counted the requests", async || {
        let counted = world.envoy.stat(REQUESTS).await;
        if counted == Some(sent) { Ok(()) } else { Err((counted, sent)) }
    })
    .await;
}
