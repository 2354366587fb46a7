//! What people order, and where it makes no sense.

use super::*;
use crate::rollout::command::{Action, Command};
use crate::rollout::plan::{Limit, TimeoutAction};

pub(super) fn order(action: Action) -> Command {
    let (by, reason) = ("ada".to_owned(), Some("a test".to_owned()));
    let seconds = (action == Action::PauseFor).then_some(60);
    Command { action, by, reason, step: None, seconds, force: false }
}

/// A rollout with a window that has been promoted.
fn promoted() -> World {
    let mut world = World::new(Plan { window: 60 * SECOND, ..plan(&[10, 100]) });
    world.until("promoted", |world| told!(world, Event::Promoted { .. }) == 1);
    world
}

/// A rollout that goes back to the baseline, but has not arrived.
fn going_back() -> World {
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
    for mut world in [baking(), World::new(plan(&[10, 100])), World::new(watching(&[10, 100]))] {
        world.order(order(Action::Pause)).unwrap();
        let before = world.applied.len();
        world.run(200.0);
        assert_eq!((world.applied.len(), world.rollout.status().paused), (before, true));
        world.order(order(Action::Resume)).unwrap();
        assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
        assert_eq!(told!(world, Event::Command(_)), 2);
    }
}

#[test]
fn a_rollout_that_is_held_goes_on_by_itself() {
    let mut world = baking();
    world.order(order(Action::PauseFor)).unwrap();
    let held = world.now;
    world.run(55.0);
    assert_eq!(world.weights(), [10.0]);
    world.until("going on", |world| told!(world, Event::PauseExpired) == 1);
    assert!(world.now >= held + 60 * SECOND && world.now < held + 63 * SECOND);
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
    // A pause has no end, and takes the place of a hold.
    let mut world = baking();
    world.order(order(Action::PauseFor)).unwrap();
    world.order(order(Action::Pause)).unwrap();
    world.run(200.0);
    assert!(world.rollout.status().paused);
}

#[test]
fn a_paused_rollout_is_taken_back_all_the_same() {
    let mut world = baking();
    world.order(order(Action::Pause)).unwrap();
    world.trouble = vec![TestFault::CandidateFails];
    assert_eq!(world.until_ended().verdict, RolloutVerdict::RolledBack);
}

#[test]
fn to_resume_gives_a_step_its_time_again() {
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
fn to_advance_opens_one_gate() {
    let mut world = baking();
    world.proxy.rate = 0.0;
    world.order(order(Action::Pause)).unwrap();
    for weight in [50.0, 100.0] {
        world.order(order(Action::Advance)).unwrap();
        assert_eq!(world.weights().last(), Some(&weight));
        world.run(100.0);
        assert_eq!(world.weights().last(), Some(&weight), "the pause goes on");
    }
    world.order(order(Action::Advance)).unwrap();
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
}

#[test]
fn to_advance_twice_from_the_same_step_counts_once() {
    let mut world = baking();
    let from = |step| Command { step: Some(step), ..order(Action::Advance) };
    world.order(from(1)).unwrap();
    world.order(from(1)).unwrap();
    assert_eq!((world.weights(), told!(world, Event::Command(_))), (vec![10.0, 50.0], 1));
    let refused = world.order(from(3)).unwrap_err().to_string();
    assert_eq!(refused, "step 3 has not begun; it is at step 2");
    let refused = world.order(order(Action::Advance)).unwrap_err().to_string();
    assert_eq!(refused, "50 % is not live in every worker yet");
}

#[test]
fn to_promote_skips_what_is_left() {
    for mut world in [baking(), World::new(plan(&[10, 50, 100])), World::new(watching(&[10, 100]))]
    {
        world.order(order(Action::Promote)).unwrap();
        world.order(order(Action::Promote)).unwrap();
        let asked = world.now;
        assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
        assert!(world.now - asked < 3 * SECOND, "{:?}", world.now - asked);
        assert_eq!(told!(world, Event::Command(_)), 1);
    }
}

#[test]
fn a_pause_holds_a_promotion_and_a_limit() {
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
fn what_cannot_be_stored_does_not_move_but_harm_is_seen() {
    let mut world = World::new(plan(&[10, 100]));
    world.store_down = true;
    world.run(100.0);
    assert_eq!((world.weights(), told!(world, Event::Live { .. })), (vec![10.0], 0));
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
fn to_promote_waits_for_a_mesh_that_follows() {
    let mut world = baking();
    world.trouble = vec![TestFault::Misroutes(1)];
    world.order(order(Action::Promote)).unwrap();
    world.run(60.0);
    assert!(!world.rollout.ended());
    world.trouble.clear();
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
}

#[test]
fn to_abort_takes_everything_back() {
    for mut world in [baking(), World::new(plan(&[10, 100])), World::new(watching(&[10, 100]))] {
        world.order(order(Action::Abort)).unwrap();
        world.order(order(Action::Abort)).unwrap();
        let summary = world.until_ended();
        assert_eq!((summary.verdict, summary.weight), (RolloutVerdict::Interrupted, Weight::ZERO));
        assert_eq!(summary.reason.unwrap().to_string(), "aborted by ada: a test");
    }
}

#[test]
fn to_abort_by_force_waits_for_no_proxy() {
    for mut world in [baking(), going_back()] {
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
fn to_undo_takes_a_promotion_back_within_its_window() {
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
    assert_eq!((world.weights(), told!(world, Event::ApprovalNeeded { .. })), (vec![10.0], 1));
    world.order(order(Action::Approve)).unwrap();
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
    // Beforehand is as good; the gate wants the rest as well.
    let mut world = World::new(approved);
    world.until_live(1);
    world.order(order(Action::Approve)).unwrap();
    world.order(order(Action::Approve)).unwrap();
    assert_eq!((world.weights(), told!(world, Event::Command(_))), (vec![10.0], 1));
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
    assert_eq!(told!(world, Event::ApprovalNeeded { .. }), 0);
}

/// And changes nothing there.
#[test]
fn an_order_that_makes_no_sense_is_refused_with_the_reason() {
    use Action::{Abort, Advance, Approve, Pause, Promote, Resume, Undo};
    type Case<'c> = (fn() -> World, &'c [Action], &'c str);
    let cases: [Case<'_>; 4] = [
        (baking, &[Undo], "v2 is not promoted yet; abort takes it back"),
        (promoted, &[Pause, Resume, Approve, Advance], "v2 is promoted: no step is left"),
        (
            going_back,
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
