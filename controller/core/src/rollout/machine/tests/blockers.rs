//! Blockers: each has a name, stops the clock, and clears.

use super::*;

#[test]
fn an_unreachable_proxy_stops_the_clock_and_nothing_else() {
    let mut world = baking();
    let before = world.rollout.status().baked;
    world.trouble = vec![TestFault::Unreachable];
    world.run(10.0);
    assert!(matches!(world.obstacle(), Some(Blocker::Unreachable { .. })));
    world.trouble.clear();
    world.poll();
    assert_eq!(world.rollout.status().baked, before);
    assert_eq!((world.weights(), event_count!(world, Event::Unblocked)), (vec![10.0], 1));
    world.poll();
    assert_eq!(world.rollout.status().baked, before + SECOND);
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
}

#[test]
fn a_proxy_restart_is_reported_and_is_no_evidence() {
    let mut world = baking();
    let before = world.rollout.status().candidate.requests;
    world.proxy.restart();
    world.poll();
    assert_eq!(event_count!(world, Event::ProxyRestarted), 1);
    assert_eq!(world.rollout.status().candidate.requests, before + 100);
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
    assert_eq!(event_count!(world, Event::ProxyRestarted), 1);
}

#[test]
fn a_rejected_configuration_is_resent_until_accepted() {
    let mut world = stuck(TestFault::Rejects);
    assert_eq!(
        world.obstacle(),
        Some(Blocker::Rejected { generation: Generation(9), detail: None })
    );
    world.run(7.0);
    let asked: Vec<_> = world.applied[1..].to_vec();
    assert!(asked.iter().all(|(_, split)| split.candidate == asked[0].1.candidate));
    assert!(
        asked.windows(2).all(|pair| pair[1].0 - pair[0].0 >= SPLIT_RETRY_INTERVAL),
        "{asked:?}"
    );
    assert_eq!((asked.len(), event_count!(world, Event::Blocked { .. })), (3, 1));
    world.trouble.clear();
    world.until_live(2);
    assert_eq!(event_count!(world, Event::Unblocked), 1);
}

#[test]
fn a_failed_write_of_a_split_is_retried() {
    for more in [&[][..], &[TestFault::Unreachable]] {
        let mut world = stuck(TestFault::Unwritable);
        assert!(matches!(world.obstacle(), Some(Blocker::WriteFailed { .. })));
        world.trouble.extend(more);
        world.run(7.0);
        let asked = &world.applied[1..];
        assert!(
            asked.len() > 2 && asked.iter().all(|(_, split)| *split == asked[0].1),
            "{asked:?}"
        );
        assert_eq!(world.weights(), [10.0, 50.0]);
        world.trouble.clear();
        world.until_live(2);
        assert_eq!(world.obstacle(), None);
    }
}

#[test]
fn a_proxy_on_another_generation_is_reported_and_resent() {
    let mut world = baking();
    let (ours, baked) = (world.proxy.running, world.rollout.status().baked);
    world.proxy.running = Split { generation: Generation(3), ..ours };
    world.proxy.delay = 3 * SECOND;
    world.run(2.0);
    let Some(Blocker::NotRunning { expected, running }) = world.obstacle() else {
        panic!("{:?}", world.obstacle());
    };
    assert_eq!((expected, running), (world.rollout.split().generation, Generation(3)));
    assert_eq!((world.weights(), world.rollout.status().baked), (vec![10.0], baked));
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
}

#[test]
fn a_proxy_without_the_filter_is_reported() {
    assert_eq!(shifting(TestFault::NoFilter).obstacle(), Some(Blocker::NoFilter));
}

#[test]
fn a_lagging_worker_blocks_a_shift() {
    let mut world = World::new(plan(&[10, 100]));
    world.trouble = vec![TestFault::Lags];
    world.run(1.5);
    assert_eq!(world.obstacle(), None, "the split may still be on its way");
    world.run(5.0);
    assert_eq!(world.obstacle(), Some(Blocker::WorkersBehind { generation: Generation(8) }));
    world.trouble.clear();
    let caught_up = world.now;
    world.until_live(1);
    assert!(world.now - caught_up >= CONFIRMATION_TIME);
}

#[test]
fn a_split_is_not_live_before_it_is_confirmed() {
    let mut world = World::new(plan(&[10, 100]));
    world.until("followed", |world| world.proxy.running.generation == Generation(8));
    let followed = world.now;
    world.until_live(1);
    let taken = world.now - followed;
    assert!(taken >= CONFIRMATION_TIME && taken < 2 * CONFIRMATION_TIME, "{taken:?}");
}

#[test]
fn silent_workers_confirm_nothing() {
    assert_eq!(shifting(TestFault::Silent).obstacle(), Some(Blocker::WorkersSilent));
}

#[test]
fn silent_workers_stop_the_clock() {
    for interval in [Duration::from_millis(200), SECOND] {
        let mut world = World::new(Plan { interval, ..plan(&[10, 100]) });
        world.until_live(1);
        world.trouble = vec![TestFault::Silent];
        world.run(60.0);
        assert_eq!(world.obstacle(), Some(Blocker::WorkersSilent), "polled every {interval:?}");
        assert_eq!(world.weights(), [10.0]);
        world.trouble.clear();
        assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
    }
}

#[test]
fn a_version_without_a_route_blocks_until_it_serves() {
    let mut world = baking();
    world.trouble = vec![TestFault::Misroutes(1)];
    world.run(20.0);
    let Some(Blocker::Misrouted { version, misrouted, chosen }) = world.obstacle() else {
        panic!("{:?}", world.obstacle());
    };
    assert_eq!((version.as_str(), misrouted, chosen), ("v2", 100, 100));
    world.trouble.clear();
    world.proxy.rate = 0.0;
    world.run(5.0);
    assert!(world.obstacle().is_some(), "no request has shown a route");
    world.proxy.rate = 1_000.0;
    world.run(1.0);
    assert_eq!((world.obstacle(), world.weights()), (None, vec![10.0]));
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
}
