use serin_tests::rollout::serin;
use serin_tests::{Fault, RolloutProcess};

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_run_is_judged_the_same_at_the_same_block() {
    let world = World::new().await;
    let load = world.load();
    let counts = world.envoy.dir().join("counts.csv");
    let counts = counts.to_str().expect("UTF-8");
    let rollout = RolloutProcess::start(&world.envoy, &world.spec(), &["--record", counts]);
    rollout.until_live(2).await;
    world.v2.set_faults([Fault::errors(0.1)]);
    let ended = rollout.end().await;
    load.stop().await;
    assert_eq!(ended.code, Some(3));
    let reason = &ended.summary()["reason"];
    let lines = std::fs::read_to_string(counts).expect("a record");
    let candidate_requests = lines.lines().nth(1).and_then(|line| line.split(',').nth(3));
    assert_eq!(candidate_requests, Some("0"), "the record starts with the baseline's counts");

    let rollout = world.envoy.dir().join("rollout.yaml");
    for settings in [&[][..], &["--rollout", rollout.to_str().expect("UTF-8")]] {
        let judged = serin().args(["judge", counts, "--output", "json"]).args(settings).output();
        let judged = judged.await.expect("serin judge");
        assert_eq!(judged.status.code(), Some(3), "{}", String::from_utf8_lossy(&judged.stderr));
        let lines = String::from_utf8(judged.stdout).expect("UTF-8");
        let last: serde_json::Value =
            serde_json::from_str(lines.lines().last().expect("a block")).expect("JSON");
        assert_eq!((&last["verdict"], &last["block"]), (&"harm".into(), &reason["block"]));
        let evidence = last["ln_e_combined"].as_f64().expect("a number").exp();
        let reported = reason["evidence"].as_f64().expect("a number");
        assert!((evidence / reported - 1.0).abs() < 1e-12, "{evidence} is not {reported}");
    }
}
