//! Webhooks and commands: when serin calls them, and how it handles a refusal.

use super::*;
use crate::rollout::call::{Hook, HookPoint, HookTarget, Hooks};
use crate::rollout::command::{Action, Command};
use crate::rollout::machine::tests::commands::order;
use crate::rollout::plan::{Limit, TimeoutAction};

pub(super) fn hook(url: &str) -> Hook {
    let target = HookTarget::Command(vec![url.to_owned()]);
    Hook { target, timeout: SECOND, retries: 0, secret_file: None }
}

/// A hook at each point, two at the gates.
fn hooked(percents: &[u32]) -> Plan {
    let hooks = Hooks {
        before: vec![hook("before")],
        gate: vec![hook("tests"), hook("metrics")],
        after: vec![hook("after")],
        rollback: vec![hook("rollback")],
    };
    Plan { hooks, ..plan(percents) }
}

fn ids(world: &World) -> Vec<&str> {
    world.calls.iter().map(|call| call.message.id.as_str()).collect()
}

#[test]
fn hooks_are_called_in_order_each_once() {
    let mut world = World::new(hooked(&[10, 100]));
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
    let expected = [
        "shop-v2/1/before/0",
        "shop-v2/1/step-1/gate/0",
        "shop-v2/1/step-1/gate/1",
        "shop-v2/1/step-2/gate/0",
        "shop-v2/1/step-2/gate/1",
        "shop-v2/1/after/0",
    ];
    assert_eq!(ids(&world), expected);
    assert_eq!(event_count!(world, Event::HookSucceeded { .. }), expected.len());
    let gate = &world.calls[3].message;
    assert_eq!((gate.step, gate.weight, gate.generation), (Some(2), Weight::ALL, Generation(9)));
}

#[test]
fn a_refusal_before_the_rollout_ends_it_unchanged() {
    let mut world =
        World::troubled(hooked(&[10, 100]), vec![TestFault::Refuses(HookPoint::Before)]);
    let summary = world.until_ended();
    assert_eq!((summary.verdict, summary.confirmed), (RolloutVerdict::RolledBack, true));
    assert!(matches!(
        summary.reason,
        Some(RollbackReason::HookRejected { point: HookPoint::Before, .. })
    ));
    assert_eq!(world.applied, []);
    assert_eq!(ids(&world), ["shop-v2/1/before/0", "shop-v2/1/rollback/0"]);
}

#[test]
fn no_split_is_sent_before_the_hooks_agree() {
    let mut world = World::troubled(hooked(&[10, 100]), vec![TestFault::HooksHang]);
    world.run(100.0);
    assert_eq!((world.applied.len(), world.calls.len()), (0, 1));
    let abort = world.order(order(Action::Advance));
    assert!(abort.unwrap_err().0.contains("have not said yes"), "nothing to advance from");
    world.order(order(Action::Abort)).unwrap();
    world.trouble.clear();
    // The hook after the end hangs too; an interrupt skips it.
    assert!(!world.rollout.ended());
    world.input(Input::Interrupt);
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Interrupted);
    assert_eq!(world.applied, []);
}

#[test]
fn a_gate_stays_shut_until_its_hooks_agree() {
    let mut world = World::new(hooked(&[10, 100]));
    world.until_live(1);
    world.trouble = vec![TestFault::Refuses(HookPoint::Gate)];
    world.run(60.0);
    assert_eq!(world.weights(), [10.0]);
    let expected = Blocker::HookRejected {
        point: HookPoint::Gate,
        hook: "tests".to_owned(),
        reason: "not now".to_owned(),
    };
    assert_eq!(world.obstacle(), Some(expected));
    // The machine repeats the call with the same message and reports it once.
    let asked = world.calls.iter().filter(|call| call.message.point == HookPoint::Gate);
    let asked: Vec<_> = asked.collect();
    assert!(asked.len() >= 5, "{}", asked.len());
    assert!(asked.iter().all(|call| *call == asked[0]));
    assert_eq!(event_count!(world, Event::HookFailed { .. }), 1);
    world.trouble.clear();
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
}

#[test]
fn advance_and_promote_skip_gate_hooks() {
    for verb in [Action::Advance, Action::Promote] {
        let mut world = World::new(hooked(&[10, 100]));
        world.until_live(1);
        world.trouble = vec![TestFault::Refuses(HookPoint::Gate)];
        world.until("refused", |world| world.obstacle().is_some());
        world.order(order(verb)).unwrap();
        assert_eq!(world.weights(), [10.0, 100.0]);
    }
}

/// The time for a step does not open a gate that a hook keeps shut.
#[test]
fn a_limit_does_not_overrule_a_hook() {
    let mut limited = hooked(&[10, 100]);
    limited.steps[0].limit = Some(Limit { at_most: 20 * SECOND, then: TimeoutAction::Advance });
    let mut world = World::new(limited);
    world.until_live(1);
    world.trouble = vec![TestFault::Refuses(HookPoint::Gate)];
    world.run(100.0);
    assert_eq!(world.weights(), [10.0]);
}

#[test]
fn a_limit_that_advances_asks_the_gates_hooks_first() {
    let mut limited = hooked(&[10, 100]);
    limited.steps[0].limit = Some(Limit { at_most: 20 * SECOND, then: TimeoutAction::Advance });
    limited.steps[0].requests = u64::MAX;
    let mut world = World::new(limited);
    world.until("the next step", |world| world.weights() == [10.0, 100.0]);
    let gates = ["shop-v2/1/step-1/gate/0", "shop-v2/1/step-1/gate/1"];
    assert_eq!(ids(&world), [&["shop-v2/1/before/0"], &gates[..]].concat());
}

#[test]
fn a_rollback_waits_for_no_hook() {
    let mut world = World::new(hooked(&[10, 100]));
    world.until_live(1);
    world.trouble = vec![TestFault::CandidateFails, TestFault::HooksHang];
    world.until("back", |world| world.weights() == [10.0, 0.0]);
    world.run(10.0);
    let last = world.calls.last().unwrap().message.clone();
    assert_eq!((last.point, last.id.as_str()), (HookPoint::Rollback, "shop-v2/1/rollback/0"));
    assert!(last.reason.unwrap().contains("failed"));
    // The rollout ends once every hook has answered or failed.
    assert!(!world.rollout.ended());
    world.input(Input::HookAnswered { id: last.id, answer: Err("gone".to_owned()) });
    assert_eq!(world.until_ended().verdict, RolloutVerdict::RolledBack);
}

#[test]
fn a_late_answer_changes_nothing() {
    let mut world = World::new(hooked(&[10, 100]));
    world.until_live(1);
    let before = world.rollout.clone();
    for id in ["shop-v2/1/before/0", "shop-v2/1/step-2/gate/0", ""] {
        for answer in [Ok(()), Err("late".to_owned())] {
            world.input(Input::HookAnswered { id: id.to_owned(), answer });
        }
    }
    assert_eq!(world.rollout, before);
}

#[test]
fn a_restart_repeats_the_same_call() {
    let mut world = World::new(hooked(&[10, 100]));
    world.until_live(1);
    world.trouble = vec![TestFault::HooksHang];
    world.run(30.0);
    let stored = serde_json::to_string(&world.rollout).unwrap();
    let mut rollout: Rollout = serde_json::from_str(&stored).unwrap();
    rollout.resume_clock(world.now + 60 * SECOND);
    let call = world.calls.last().unwrap().clone();
    assert_eq!(rollout.replay(), [Output::Apply(world.rollout.split()), Output::CallHook(call)]);
}

#[test]
fn promote_in_the_last_step_skips_gate_hooks() {
    let mut world = World::new(hooked(&[100]));
    world.until_live(1);
    world.trouble = vec![TestFault::Refuses(HookPoint::Gate)];
    world.until("refused", |world| world.obstacle().is_some());
    world.order(order(Action::Promote)).unwrap();
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
}

/// The hook after the end may never answer.
#[test]
fn an_unanswered_end_can_be_forced() {
    let mut world = World::new(hooked(&[100]));
    world.until_live(1);
    world.trouble = vec![TestFault::HooksHang];
    world.order(order(Action::Abort)).unwrap();
    world.run(60.0);
    assert!(!world.rollout.ended());
    world.order(Command { force: true, ..order(Action::Abort) }).unwrap();
    assert!(world.rollout.ended());
}

/// Hooks would learn of an end that a restart forgets.
#[test]
fn a_rollout_without_a_store_does_not_end() {
    let mut world = World::troubled(hooked(&[10, 100]), vec![TestFault::HooksHang]);
    world.store_down = true;
    let id = world.calls[0].message.id.clone();
    world.input(Input::HookAnswered { id, answer: Err("no".to_owned()) });
    world.trouble.clear();
    world.answer_all();
    assert!(!world.rollout.ended());
    world.store_down = false;
    assert_eq!(world.until_ended().verdict, RolloutVerdict::RolledBack);
}
