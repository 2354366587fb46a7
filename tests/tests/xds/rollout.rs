//! Rollouts of a fleet that `serin serve` configures: ten Envoys, half of them over ADS.

use std::time::Duration;

use serde_json::Value;
use serin_tests::Fault;
use serin_tests::xds::XdsFleet;

const ENVOYS: usize = 10;

/// Requests per second at each Envoy.
const RATE: u32 = 30;

const SECOND: Duration = Duration::from_secs(1);

fn end(events: &[Value]) -> &Value {
    events.iter().find(|event| event["event"] == "ended").expect("an end")
}

/// The server is killed in mid-step and stays away for half a minute; one Envoy is killed and
/// restarted.
#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_candidate_is_promoted_through_restarts() {
    let mut fleet = XdsFleet::new(ENVOYS).await;
    let loads = fleet.load(RATE);
    let spec = fleet.spec().step("20%", 4 * SECOND, 50).step("50%", 4 * SECOND, 50);
    fleet.server().apply(&spec.step("100%", 2 * SECOND, 50)).await;
    fleet.until_live(1).await;
    fleet.kill_server().await;
    tokio::time::sleep(30 * SECOND).await;
    fleet.serve().await;
    fleet.until_live(2).await;
    fleet.envoys[3].kill().await;
    fleet.envoys[3].restart().await;
    let (code, events) = fleet.server().watch("shop").await;
    assert_eq!((code, &end(&events)["confirmed"]), (Some(0), &true.into()), "{events:?}");
    fleet.assert_all_run(&end(&events)["generation"]).await;
    for (number, load) in loads.into_iter().enumerate() {
        let failures = load.stop().await.total().failures;
        // Requests in flight at the killed Envoy, and those during its absence, are lost.
        assert!(failures == 0 || number == 3, "edge-{number}: {failures}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_cannot_load_its_configuration_is_quoted_and_waited_for() {
    let fleet = XdsFleet::new(ENVOYS).await;
    let loads = fleet.load(RATE);
    let spec = fleet.spec().step("20%", 2 * SECOND, 50).step("100%", SECOND, 50);
    let broken = &fleet.envoys[7];
    let (module, moved) = (broken.module(), broken.dir().join("moved.wasm"));
    fleet.server().apply(&spec).await;
    fleet.until_live(1).await;
    std::fs::rename(&module, &moved).expect("the module exists");
    let (admin, all) = (broken.admin().to_string(), format!("some of {ENVOYS} proxies rejected"));
    fleet.until_blocked(&[&all, "keep the previous split", &admin, "edge-7: ", "serin.wasm"]).await;
    std::fs::rename(&moved, &module).expect("the module is restored");
    let (code, events) = fleet.server().watch("shop").await;
    assert_eq!((code, &end(&events)["confirmed"]), (Some(0), &true.into()), "{events:?}");
    fleet.assert_all_run(&end(&events)["generation"]).await;
    for load in loads {
        load.stop().await.assert_none_failed();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_candidate_is_rolled_back_at_every_proxy() {
    let fleet = XdsFleet::new(ENVOYS).await;
    let loads = fleet.load(RATE);
    let spec = fleet.spec().step("20%", 60 * SECOND, 50).step("100%", SECOND, 50);
    fleet.server().apply(&spec).await;
    fleet.until_live(1).await;
    fleet.v2.set_faults([Fault::errors(0.5)]);
    let (code, events) = fleet.server().watch("shop").await;
    assert_eq!((code, &end(&events)["confirmed"]), (Some(3), &true.into()), "{events:?}");
    fleet.assert_all_run(&end(&events)["generation"]).await;
    for load in loads {
        assert_eq!(load.stop().await.tally(Some("v1")).failures, 0);
    }
}
