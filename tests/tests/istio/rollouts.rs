//! Rollouts with a healthy candidate and with a faulty one.

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn the_filter_splits() {
    let Some(world) = World::sidecar("filter", "istio-filter.yaml").await else { return };
    promotes_and_rolls_back(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_virtual_service_splits() {
    let Some(world) = World::sidecar("mesh", "istio-mesh.yaml").await else { return };
    promotes_and_rolls_back(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_route_on_a_gateway_splits() {
    let Some(world) = World::gateway("route").await else { return };
    promotes_and_rolls_back(world).await;
}

/// v2 replaces v1. The next rollout replaces v2 by v1, which fails some of its requests.
async fn promotes_and_rolls_back(world: World) {
    let load = world.load();
    world.roll_out("v2").await;
    world.until("v2 is promoted", |status| status["stable"] == "v2").await;
    world.until_all_by("v2").await;
    let report = load.stop().await;
    report.assert_none_failed();
    assert!(["v1", "v2"].into_iter().all(|name| report.tally(Some(name)).requests > 0));

    let load = world.load();
    world.set_faults("v1", "errors=0.3").await;
    world.roll_out("v1").await;
    let ended = |status: &serde_json::Value| status["phase"] == "RolledBack";
    let status = world.until("v1 is rolled back", ended).await;
    assert_eq!((&status["stable"], &status["rejected"]), (&"v2".into(), &"v1".into()));
    world.until_all_by("v2").await;
    let report = load.stop().await;
    let faults = world.faults("v1").await;
    let failed = report.total().failures;
    assert!(failed > 0 && failed == faults, "{failed} requests failed, and {faults} hit a fault");
    world.end().await;
}
