//! Commands, and the phases that reject them.

use super::*;
use crate::rollout::command::{Action, Command};
use crate::rollout::plan::{Limit, TimeoutAction};

pub(super) fn order(action: Action) -> Command {
    let (by, reason) = ("ada".to_owned(), Some("a test".to_owned()));
    let seconds = (action == Action::PauseFor).then_some(60);
    Command { action, by, reason, step: None, seconds, force: false }
}

/// A promoted rollout with a rollback window.
fn promoted() -> World {
    let mut world = World::new(Plan { window: 60 * SECOND, ..plan(&[10, 100]) });
    world.until("promoted", |world| event_count!(world, Event::Promoted { .. }) == 1);
    world
}

/// A rollback that the proxy has not confirmed.
fn rolling_back() -> World {
    let mut world = baking();
    world.trouble = vec![TestFault::Lags];
    world.input(Input::Interrupt);
    world
}

fn over() -> World {
    let mut world = World::new(plan(&[100]));
    world.until_ended();
    world
}

#[test]
fn a_paused_rollout_stays_where_it_is() {
    for mut world in [baking(), World::new(plan(&[10, 100])), World::new(with_aa_test(&[10, 100]))]
    {
        world.order(order(Action::Pause)).unwrap();
        let before = world.applied.len();
        world.run(200.0);
        assert_eq!((world.applied.len(), world.rollout.status().paused), (before, true));
        world.order(order(Action::Resume)).unwrap();
        assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
        assert_eq!(event_count!(world, Event::Command(_)), 2);
    }
}

#[test]
fn a_timed_pause_ends_without_a_command() {
    let mut world = baking();
    world.order(order(Action::PauseFor)).unwrap();
    let held = world.now;
    world.run(55.0);
    assert_eq!(world.weights(), [10.0]);
    world.until("going on", |world| event_count!(world, Event::PauseExpired) == 1);
    assert!(world.now >= held + 60 * SECOND && world.now < held + 63 * SECOND);
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
    // A pause has no end and replaces the timed pause.
    let mut world = baking();
    world.order(order(Action::PauseFor)).unwrap();
    world.order(order(Action::Pause)).unwrap();
    world.run(200.0);
    assert!(world.rollout.status().paused);
}

#[test]
fn a_paused_rollout_can_be_aborted() {
    let mut world = baking();
    world.order(order(Action::Pause)).unwrap();
    world.trouble = vec![TestFault::CandidateFails];
    assert_eq!(world.until_ended().verdict, RolloutVerdict::RolledBack);
}

#[test]
fn resume_restores_the_step_limit() {
    let mut limited = plan(&[10, 100]);
    let at_most = 60 * SECOND;
    limited.steps[0].limit = Some(Limit { at_most, then: TimeoutAction::Pause });
    let mut world = World::new(limited);
    world.proxy.rate = 1.0;
    world.until("paused", |world| world.rollout.status().paused);
    world.proxy.rate = 1_000.0;
    world.run(30.0);
    assert_eq!(world.weights(), [10.0]);
    world.order(order(Action::Resume)).unwrap();
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
}

#[test]
fn advance_opens_one_gate() {
    let mut world = baking();
    world.proxy.rate = 0.0;
    world.order(order(Action::Pause)).unwrap();
    for weight in [50.0, 100.0] {
        world.order(order(Action::Advance)).unwrap();
        assert_eq!(world.weights().last(), Some(&weight));
        world.run(100.0);
        assert_eq!(world.weights().last(), Some(&weight), "the pause continues");
    }
    world.order(order(Action::Advance)).unwrap();
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
}

#[test]
fn advancing_twice_from_one_step_counts_once() {
    let mut world = baking();
    let from = |step| Command { step: Some(step), ..order(Action::Advance) };
    world.order(from(1)).unwrap();
    world.order(from(1)).unwrap();
    assert_eq!((world.weights(), event_count!(world, Event::Command(_))), (vec![10.0, 50.0], 1));
    let refused = world.order(from(3)).unwrap_err().to_string();
    assert_eq!(refused, "step 3 has not begun; it is at step 2");
    let refused = world.order(order(Action::Advance)).unwrap_err().to_string();
    assert_eq!(refused, "50 % is not live in every worker yet");
}

#[test]
fn promote_skips_the_remaining_steps() {
    for mut world in
        [baking(), World::new(plan(&[10, 50, 100])), World::new(with_aa_test(&[10, 100]))]
    {
        world.order(order(Action::Promote)).unwrap();
        world.order(order(Action::Promote)).unwrap();
        let asked = world.now;
        assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
        assert!(world.now - asked < 3 * SECOND, "{:?}", world.now - asked);
        assert_eq!(event_count!(world, Event::Command(_)), 1);
    }
}

#[test]
fn a_pause_delays_a_promotion_and_a_limit() {
    let mut limited = plan(&[10, 100]);
    limited.steps[0].limit = Some(Limit { at_most: 60 * SECOND, then: TimeoutAction::Advance });
    let mut world = World::new(limited);
    world.order(order(Action::Promote)).unwrap();
    world.order(order(Action::Pause)).unwrap();
    world.run(200.0);
    assert!(!world.rollout.ended());
    world.order(order(Action::Promote)).unwrap();
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
}

#[test]
fn a_rollout_without_a_store_does_not_shift_but_detects_harm() {
    let mut world = World::new(plan(&[10, 100]));
    world.store_down = true;
    world.run(100.0);
    assert_eq!((world.weights(), event_count!(world, Event::Live { .. })), (vec![10.0], 0));
    world.store_down = false;
    world.until_live(1);
    world.store_down = true;
    world.run(100.0);
    assert_eq!(world.weights(), [10.0]);
    world.trouble = vec![TestFault::CandidateFails];
    world.run(10.0);
    assert_eq!((world.weights(), world.rollout.ended()), (vec![10.0, 0.0], false));
    world.store_down = false;
    assert_eq!(world.until_ended().verdict, RolloutVerdict::RolledBack);
}

#[test]
fn promote_waits_for_proxies_that_follow() {
    let mut world = baking();
    world.trouble = vec![TestFault::Misroutes(1)];
    world.order(order(Action::Promote)).unwrap();
    world.run(60.0);
    assert!(!world.rollout.ended());
    world.trouble.clear();
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
}

#[test]
fn abort_rolls_back() {
    for mut world in [baking(), World::new(plan(&[10, 100])), World::new(with_aa_test(&[10, 100]))]
    {
        world.order(order(Action::Abort)).unwrap();
        world.order(order(Action::Abort)).unwrap();
        let summary = world.until_ended();
        assert_eq!((summary.verdict, summary.weight), (RolloutVerdict::Interrupted, Weight::ZERO));
        assert_eq!(summary.reason.unwrap().to_string(), "aborted by ada: a test");
    }
}

#[test]
fn a_forced_abort_waits_for_no_proxy() {
    for mut world in [baking(), rolling_back()] {
        world.trouble = vec![TestFault::Unreachable];
        world.order(order(Action::Abort)).unwrap();
        world.run(60.0);
        assert!(!world.rollout.ended());
        world.order(Command { force: true, ..order(Action::Abort) }).unwrap();
        let summary = world.until_ended();
        assert_eq!((summary.verdict, summary.confirmed), (RolloutVerdict::Interrupted, false));
        assert_eq!(world.weights(), [10.0, 0.0]);
    }
    let mut world = baking();
    world.order(Command { force: true, ..order(Action::Abort) }).unwrap();
    assert_eq!((world.weights(), world.rollout.ended()), (vec![10.0, 0.0], true));
}

#[test]
fn undo_reverts_a_promotion_within_its_window() {
    let mut world = promoted();
    world.order(order(Action::Undo)).unwrap();
    assert_eq!(world.weights(), [10.0, 100.0, 0.0]);
    let summary = world.until_ended();
    assert_eq!((summary.verdict, summary.confirmed), (RolloutVerdict::Interrupted, true));
    assert_eq!(summary.reason.unwrap().to_string(), "undone by ada: a test");
}

#[test]
fn a_gate_waits_for_approval() {
    let mut approved = plan(&[10, 100]);
    approved.steps[0].approval = true;
    approved.steps[0].limit = Some(Limit { at_most: 60 * SECOND, then: TimeoutAction::Advance });
    let mut world = World::new(approved.clone());
    world.run(100.0);
    assert_eq!(
        (world.weights(), event_count!(world, Event::ApprovalNeeded { .. })),
        (vec![10.0], 1)
    );
    world.order(order(Action::Approve)).unwrap();
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
    // An approval may come early; the gate still needs its other conditions.
    let mut world = World::new(approved);
    world.until_live(1);
    world.order(order(Action::Approve)).unwrap();
    world.order(order(Action::Approve)).unwrap();
    assert_eq!((world.weights(), event_count!(world, Event::Command(_))), (vec![10.0], 1));
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
    assert_eq!(event_count!(world, Event::ApprovalNeeded { .. }), 0);
}

/// The rejected command changes nothing.
#[test]
fn a_command_in_the_wrong_phase_is_rejected_with_a_reason() {
    use Action::{Abort, Advance, Approve, Pause, Promote, Resume, Undo};
    type Case<'c> = (fn() -> World, &'c [Action], &'c str);
    let cases: [Case<'_>; 4] = [
        (baking, &[Undo], "v2 is not promoted yet; abort takes it back"),
        (promoted, &[Pause, Resume, Approve, Advance], "v2 is promoted: no step is left"),
        (
            rolling_back,
            &[Pause, Resume, Approve, Advance, Promote],
            "all traffic goes back to v1 already",
        ),
        (over, &Action::ALL, "the rollout of shop is over"),
    ];
    for (world, verbs, expected) in cases {
        for verb in verbs {
            let mut world = world();
            let before = world.rollout.clone();
            let refused = world.order(order(*verb)).unwrap_err().to_string();
            assert_eq!((refused.as_str(), &world.rollout), (expected, &before), "{verb:?}");
        }
    }
    let refused = promoted().order(order(Abort)).unwrap_err().to_string();
    assert_eq!(refused, "v2 is promoted; undo takes it back");
}
