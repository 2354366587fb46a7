use std::time::Duration;

use serin_filter::bucket::Bucketing;
use serin_tests::{Load, LoadPlan, RolloutProcess, Spec};

use crate::world::World;

const USERS: u32 = 400;

/// Twelve users whom the default salt assigns to the candidate: they fail with either version.
fn unfortunate() -> Vec<u32> {
    let usual = Bucketing::new("shop-v2");
    let in_the_slice = |user: &u32| usual.bucket(format!("user-{user}").as_bytes()) >= 500_000;
    (0..USERS).filter(in_the_slice).take(12).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn users_that_always_fail_do_not_fail_a_rollout_after_an_aa_test() {
    let world = World::new().await;
    world.v1.fail_users(unfortunate());
    world.v2.fail_users(unfortunate());
    let load = Load::start(LoadPlan { users: Some(USERS), ..world.plan() });
    let seconds = Duration::from_secs;
    let spec = Spec::new(&world.envoy).step("50%", seconds(10), 500).step("100%", seconds(1), 1);

    let blind = RolloutProcess::start(&world.envoy, &spec, &[]).end().await;
    assert_eq!(blind.code, Some(3), "every 17th request of the slice fails, and none outside");
    assert_eq!(blind.all("saltChosen").count(), 0);

    let counts = world.envoy.dir().join("counts.csv");
    let record = ["--record", counts.to_str().expect("UTF-8")];
    let watched = RolloutProcess::start(&world.envoy, &spec.watch(seconds(5)), &record).end().await;
    load.stop().await;
    let (_, chosen) = watched.all("saltChosen").next().expect("a salt");
    assert_ne!(chosen["salt"], "shop-v2");
    let bias = chosen["bias"][0].as_f64().expect("the bias of the only step that is compared");
    assert!(bias > 0.0 && bias < 0.1, "{bias}");
    let counts = std::fs::read_to_string(counts).expect("a record");
    let biases = counts.lines().skip(1).filter_map(|line| line.split(',').nth(5)?.parse().ok());
    assert!(biases.clone().any(|recorded: f64| recorded == bias), "the margin carries it");
    assert!(biases.take(3).all(|recorded| recorded == 0.0), "but not the earlier counts");
    assert_eq!(watched.code, Some(0), "{} {}", watched.stderr, watched.summary());
    assert_eq!(world.envoy.weight_of_v2(), 1_000_000);
}
