//! Previews, the rollback window, and the budgets of a rollout.

use super::*;
use crate::judge::{Objective, Sli};
use crate::rollout::plan::{Limit, TimeoutAction};

const LIMIT: Duration = Duration::from_secs(60);

/// 10 % and 100 %, each with a limit of a minute.
fn limited(then: TimeoutAction) -> World {
    let mut plan = plan(&[10, 100]);
    for step in &mut plan.steps {
        step.limit = Some(Limit { at_most: LIMIT, then });
    }
    World::new(plan)
}

/// Blue/green: a preview, then all traffic.
fn previewing() -> World {
    let mut plan = plan(&[0, 100]);
    plan.steps[0].requests = 20;
    let mut world = World::new(plan);
    world.until_live(1);
    world
}

fn with_window(window: Duration) -> World {
    let objective = Objective { sli: Sli::Errors, at_most: 0.01 };
    let judge = Settings { objectives: vec![objective], ..plan(&[]).judge };
    let mut world = World::new(Plan { window, judge, ..plan(&[10, 100]) });
    world.until("promoted", |world| event_count!(world, Event::Promoted { .. }) == 1);
    world
}

#[test]
fn a_preview_needs_pinned_requests() {
    let mut world = previewing();
    world.run(100.0);
    assert_eq!(world.weights(), [0.0], "no request has asked for it");
    assert_eq!(world.rollout.status().sensitivity, Sensitivity::Preview { requests: 0 });
    world.proxy.picks = 1.0;
    world.until("switched", |world| world.weights() == [0.0, 100.0]);
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
}

#[test]
fn a_failed_preview_ends_the_rollout_before_any_shift() {
    let mut world = previewing();
    world.proxy.picks = 2.0;
    world.trouble = vec![TestFault::PicksFail];
    let summary = world.until_ended();
    assert_eq!((summary.verdict, summary.weight), (RolloutVerdict::RolledBack, Weight::ZERO));
    assert_eq!(world.weights(), [0.0]);
    let expected =
        RollbackReason::Preview { version: "v2".parse().unwrap(), failures: 1, requests: 10 };
    assert_eq!(summary.reason, Some(expected));
}

#[test]
fn a_step_beyond_its_limit_stays() {
    let mut world = limited(TimeoutAction::Pause);
    world.proxy.rate = 1.0;
    world.run(100.0);
    assert_eq!(event_count!(world, Event::StepTimeout { then: TimeoutAction::Pause, .. }), 1);
    // The gate's last requests come too late.
    world.proxy.rate = 1_000.0;
    world.run(100.0);
    assert_eq!((world.weights(), world.rollout.status().paused), (vec![10.0], true));
    world.trouble = vec![TestFault::CandidateFails];
    assert_eq!(world.until_ended().verdict, RolloutVerdict::RolledBack);
}

#[test]
fn a_step_beyond_its_limit_rolls_back_if_configured() {
    for trouble in [TestFault::Unreachable, TestFault::Lags, TestFault::BaselineHangs] {
        let mut world = limited(TimeoutAction::RollBack);
        world.trouble = vec![trouble];
        world.until("back", |world| event_count!(world, Event::RollingBack { .. }) == 1);
        assert!(
            world.now >= LIMIT && world.now < LIMIT + 2 * SECOND,
            "{trouble:?}: {:?}",
            world.now
        );
        world.trouble.clear();
        let summary = world.until_ended();
        assert_eq!(summary.verdict, RolloutVerdict::RolledBack);
        assert_eq!(summary.reason, Some(RollbackReason::StepTimeout { step: 1, at_most: 60.0 }));
    }
}

#[test]
fn a_step_beyond_its_limit_advances_if_configured_and_unblocked() {
    let mut world = limited(TimeoutAction::Advance);
    world.proxy.rate = 1.0;
    world.trouble = vec![TestFault::Lags];
    world.run(90.0);
    assert_eq!(world.weights(), [10.0], "a proxy lags");
    world.trouble.clear();
    world.until("asked for all", |world| world.weights() == [10.0, 100.0]);
    assert_eq!(event_count!(world, Event::StepTimeout { then: TimeoutAction::Advance, .. }), 1);
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
}

#[test]
fn a_step_within_its_limit_is_unaffected() {
    let mut world = limited(TimeoutAction::RollBack);
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
}

#[test]
fn the_budget_of_failures_is_a_hard_cap() {
    let tolerant = Settings { alpha: 1e-9, ..plan(&[]).judge };
    let mut world = World::new(Plan { budget: Some(40), judge: tolerant, ..plan(&[10, 100]) });
    world.until_live(1);
    world.trouble = vec![TestFault::BothFail];
    let summary = world.until_ended();
    assert_eq!(summary.verdict, RolloutVerdict::RolledBack);
    assert!(matches!(
        summary.reason,
        Some(RollbackReason::FailureBudget { failures: 41.., budget: 40 })
    ));
}

#[test]
fn a_rollout_ends_after_its_rollback_window() {
    let mut world = with_window(30 * SECOND);
    let promoted = world.now;
    let status = world.rollout.status();
    assert_eq!((status.step, status.live, status.weight), (None, true, Weight::ALL));
    // The window counts real time: it gives people time to react.
    world.trouble = vec![TestFault::Unreachable];
    world.run(20.0);
    world.trouble.clear();
    let summary = world.until_ended();
    assert_eq!(summary.verdict, RolloutVerdict::Promoted);
    let window = world.now - promoted;
    assert!(window >= 30 * SECOND && window < 32 * SECOND, "{window:?}");
}

#[test]
fn harm_in_the_rollback_window_rolls_back() {
    let mut world = with_window(600 * SECOND);
    world.run(100.0);
    world.trouble = vec![TestFault::CandidateFails];
    let summary = world.until_ended();
    assert_eq!((summary.verdict, summary.weight), (RolloutVerdict::RolledBack, Weight::ZERO));
    assert!(matches!(summary.reason, Some(RollbackReason::Harm { .. })), "{:?}", summary.reason);
}

#[test]
fn a_freeze_stops_gates_and_limits_but_not_rollbacks() {
    let freeze = |world: &mut World, until: Option<&str>| {
        let events = world.events.len();
        world.freeze(until.map(str::to_owned));
        world.freeze(until.map(str::to_owned));
        assert_eq!(world.events.len(), events + 1);
    };
    let mut world = limited(TimeoutAction::RollBack);
    freeze(&mut world, Some("Monday"));
    world.run(200.0);
    assert_eq!(
        (world.weights(), world.rollout.status().freeze_end),
        (vec![10.0], Some("Monday".to_owned()))
    );
    freeze(&mut world, None);
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);

    let mut world = limited(TimeoutAction::RollBack);
    freeze(&mut world, Some("Monday"));
    world.trouble = vec![TestFault::CandidateFails];
    assert_eq!(world.until_ended().verdict, RolloutVerdict::RolledBack);
}

/// A slow baseline does not concern the preview: its requests count from the moment it is live.
#[test]
fn a_preview_needs_no_warm_up() {
    let mut plan = plan(&[0, 100]);
    plan.steps[0].requests = 20;
    let mut world = World::new(plan);
    world.proxy.latency_us = 4_000_000;
    world.until_live(1);
    world.proxy.picks = 10.0;
    world.trouble = vec![TestFault::PicksFail];
    world.run(2.0);
    world.proxy.picks = 0.0;
    world.trouble.clear();
    assert_eq!(world.until_ended().verdict, RolloutVerdict::RolledBack);
}
