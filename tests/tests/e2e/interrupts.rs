use serin_tests::RolloutProcess;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_returns_all_traffic_to_the_baseline() {
    let world = World::new().await;
    let load = world.load();
    let rollout = RolloutProcess::start(&world.envoy, &world.spec(), &[]);
    rollout.until_live(2).await;
    rollout.interrupt();
    let ended = rollout.end().await;
    assert_eq!(ended.code, Some(4));
    let summary = ended.summary();
    assert_eq!((&summary["verdict"], &summary["weight"]), (&"interrupted".into(), &0.into()));
    assert_eq!(summary["confirmed"], true);
    assert_eq!(world.envoy.weight_of_v2(), 0);
    load.stop().await.assert_none_failed();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_ctrl_c_does_not_wait_for_the_proxy() {
    let mut world = World::new().await;
    let rollout = RolloutProcess::start(&world.envoy, &world.spec(), &[]);
    rollout.until_live(1).await;
    world.envoy.kill().await;
    rollout.interrupt();
    rollout.until("the rollback starts", |event| event["event"] == "rollingBack").await;
    rollout.interrupt();
    let ended = rollout.end().await;
    assert_eq!(ended.code, Some(5));
    assert_eq!(ended.summary()["confirmed"], false);
    assert_eq!(world.envoy.weight_of_v2(), 0, "the baseline has all traffic");
}
