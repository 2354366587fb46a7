//! Previews, the rollback window, and what a rollout may cost at most.

use super::*;
use crate::judge::{Objective, Sli};
use crate::rollout::plan::{Limit, TimeoutAction};

const LIMIT: Duration = Duration::from_secs(60);

/// 10 % and 100 %, of which each may take a minute.
fn limited(then: TimeoutAction) -> World {
    let mut plan = plan(&[10, 100]);
    for step in &mut plan.steps {
        step.limit = Some(Limit { at_most: LIMIT, then });
    }
    World::new(plan)
}

/// Blue/green: a preview, then all.
fn previewing() -> World {
    let mut plan = plan(&[0, 100]);
    plan.steps[0].requests = 20;
    let mut world = World::new(plan);
    world.until_live(1);
    world
}

fn watched_after(window: Duration) -> World {
    let objective = Objective { sli: Sli::Errors, at_most: 0.01 };
    let judge = Settings { objectives: vec![objective], ..plan(&[]).judge };
    let mut world = World::new(Plan { window, judge, ..plan(&[10, 100]) });
    world.until("promoted", |world| told!(world, Event::Promoted { .. }) == 1);
    world
}

#[test]
fn a_preview_needs_requests_that_ask_for_it() {
    let mut world = previewing();
    world.run(100.0);
    assert_eq!(world.weights(), [0.0], "nobody has tried it");
    assert_eq!(world.rollout.status().sensitivity, Sensitivity::Preview { requests: 0 });
    world.proxy.picks = 1.0;
    world.until("switched", |world| world.weights() == [0.0, 100.0]);
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
}

#[test]
fn a_preview_that_fails_ends_the_rollout_before_anybody_met_the_candidate() {
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
fn a_step_that_takes_too_long_stays_where_it_is() {
    let mut world = limited(TimeoutAction::Pause);
    world.proxy.rate = 1.0;
    world.run(100.0);
    assert_eq!(told!(world, Event::StepTimeout { then: TimeoutAction::Pause, .. }), 1);
    // Even if all that the gate wants comes now.
    world.proxy.rate = 1_000.0;
    world.run(100.0);
    assert_eq!((world.weights(), world.rollout.status().paused), (vec![10.0], true));
    world.trouble = vec![TestFault::CandidateFails];
    assert_eq!(world.until_ended().verdict, RolloutVerdict::RolledBack);
}

#[test]
fn a_step_that_takes_too_long_is_rolled_back_if_that_is_asked_for() {
    for trouble in [TestFault::Unreachable, TestFault::Lags, TestFault::BaselineHangs] {
        let mut world = limited(TimeoutAction::RollBack);
        world.trouble = vec![trouble];
        world.until("back", |world| told!(world, Event::RollingBack { .. }) == 1);
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
fn a_step_that_takes_too_long_advances_if_that_is_asked_for_and_nothing_is_unknown() {
    let mut world = limited(TimeoutAction::Advance);
    world.proxy.rate = 1.0;
    world.trouble = vec![TestFault::Lags];
    world.run(90.0);
    assert_eq!(world.weights(), [10.0], "a proxy lags");
    world.trouble.clear();
    world.until("asked for all", |world| world.weights() == [10.0, 100.0]);
    assert_eq!(told!(world, Event::StepTimeout { then: TimeoutAction::Advance, .. }), 1);
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
}

#[test]
fn a_step_in_time_knows_no_limit() {
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
    let mut world = watched_after(30 * SECOND);
    let promoted = world.now;
    let status = world.rollout.status();
    assert_eq!((status.step, status.live, status.weight), (None, true, Weight::ALL));
    // Time is time: what it is for is to give people time.
    world.trouble = vec![TestFault::Unreachable];
    world.run(20.0);
    world.trouble.clear();
    let summary = world.until_ended();
    assert_eq!(summary.verdict, RolloutVerdict::Promoted);
    let window = world.now - promoted;
    assert!(window >= 30 * SECOND && window < 32 * SECOND, "{window:?}");
}

#[test]
fn harm_in_the_rollback_window_takes_everything_back() {
    let mut world = watched_after(600 * SECOND);
    world.run(100.0);
    world.trouble = vec![TestFault::CandidateFails];
    let summary = world.until_ended();
    assert_eq!((summary.verdict, summary.weight), (RolloutVerdict::RolledBack, Weight::ZERO));
    assert!(matches!(summary.reason, Some(RollbackReason::Harm { .. })), "{:?}", summary.reason);
}

#[test]
fn in_a_freeze_no_gate_opens_and_no_limit_counts_but_harm_takes_everything_back() {
    let freeze = |world: &mut World, until: Option<&str>| {
        let events = world.told.len();
        world.freeze(until.map(str::to_owned));
        world.freeze(until.map(str::to_owned));
        assert_eq!(world.told.len(), events + 1);
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

/// Slow answers of the baseline say nothing of those who ask for the preview: each of their requests counts from when it is live.
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
