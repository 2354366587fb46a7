use serin_tests::RolloutProcess;

use crate::world::World;

const HEADER_MATCH: &str = "headers: [{ name: x-serin-version, string_match: { exact: v2 } }]";

#[tokio::test(flavor = "multi_thread")]
async fn a_mesh_that_ignores_the_split_blocks_the_rollout() {
    // The route matches another header: all requests chosen for v2 go to v1.
    let world =
        World::with(|setup| setup.replace(HEADER_MATCH, &HEADER_MATCH.replace("serin", "other")))
            .await;
    let load = world.load();
    let rollout = RolloutProcess::start(&world.envoy, &world.spec(), &[]);
    let (_, blocked) = rollout.until("blocked", |event| event["event"] == "blocked").await;
    let message = blocked["message"].as_str().expect("a message");
    assert_eq!(blocked["blocker"]["kind"], "misrouted");
    assert!(message.starts_with("no route for x-serin-version: v2: "), "{message}");

    // Longer than the step: the rollout does not advance.
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    let told =
        |kind: &str| rollout.events().iter().filter(|(_, event)| event["event"] == kind).count();
    assert_eq!((told("unblocked"), told("gateOpened")), (0, 0));
    rollout.interrupt();
    let ended = rollout.end().await;
    assert_eq!(ended.code, Some(4));
    let report = load.stop().await;
    assert_eq!((report.tally(Some("v2")).requests, report.total().failures), (0, 0));
}

/// Without any route for v2 Envoy answers 404 itself. The status fails no version, but the request
/// counts as v2's failure.
#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_without_any_route_is_rolled_back() {
    const DEFAULT: &str = "- match: { prefix: / }";
    let world = World::with(|setup| {
        let v1 = HEADER_MATCH.replace("exact: v2", "exact: v1");
        setup.replace(HEADER_MATCH, &HEADER_MATCH.replace("serin", "other")).replace(
            DEFAULT,
            &format!(
                "- match:\n                            prefix: /\n                            {v1}"
            ),
        )
    })
    .await;
    let load = world.load();
    let ended = RolloutProcess::start(&world.envoy, &world.spec(), &[]).end().await;
    load.stop().await;
    assert_eq!(ended.code, Some(3), "{:?}", ended.events.last());
    let failures = &ended.summary()["candidateFailures"];
    assert!(failures["unrouted"].as_u64() > Some(0), "{failures}");
}
