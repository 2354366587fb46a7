//! Other users of one file and one output: a second rollout, and a reader that stops reading.

use std::io::Write;
use std::time::Duration;

use serin_tests::rollout::serin;
use serin_tests::{Fault, RolloutProcess, until};

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_second_rollout_is_kept_out_of_the_file() {
    let world = World::new().await;
    let load = world.load();
    let first = RolloutProcess::start(&world.envoy, &world.spec(), &[]);
    first.until_live(1).await;
    let second = RolloutProcess::start(&world.envoy, &world.spec(), &[]).end().await;
    assert_eq!(second.code, Some(1));
    assert!(second.stderr.contains("another serin has a rollout under way"), "{}", second.stderr);
    assert_eq!(world.envoy.weight_of_v2(), 50_000);
    first.interrupt();
    assert_eq!(first.end().await.code, Some(4));
    load.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_does_not_wait_for_a_reader() {
    const PIPE: usize = 1 << 16;
    let world = World::new().await;
    let load = world.load();
    let spec = world.envoy.dir().join("rollout.yaml");
    std::fs::write(&spec, world.spec().yaml()).expect("a specification");
    // The pipe is full and has no reader: serin's first line blocks.
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    writer.write_all(&[b' '; PIPE]).expect("the capacity of a pipe");
    let mut child = serin().arg("run").arg(spec).stdout(writer).spawn().expect("serin starts");

    until_weight(&world, 500_000).await;
    world.v2.set_faults([Fault::errors(0.5)]);
    until_weight(&world, 0).await;
    let status = child.wait().await.expect("serin ends without a reader");
    assert_eq!(status.code(), Some(3));
    drop(reader);
    load.stop().await;
}

async fn until_weight(world: &World, expected: u32) {
    until(Duration::from_secs(60), "the weight", async || match world.envoy.weight_of_v2() {
        weight if weight == expected => Ok(()),
        weight => Err(weight),
    })
    .await;
}
