//! Webhooks and commands: when they are called, and what comes of a no.

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
    assert_eq!(told!(world, Event::HookSucceeded { .. }), expected.len());
    let gate = &world.calls[3].message;
    assert_eq!((gate.step, gate.weight, gate.generation), (Some(2), Weight::ALL, Generation(9)));
}

#[test]
fn a_no_before_the_rollout_ends_it_with_nothing_changed() {
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
fn nothing_is_asked_for_before_a_yes() {
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
fn a_gate_stays_shut_until_its_hooks_say_yes() {
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
    // Asked again and again with the same message, but told of once.
    let asked = world.calls.iter().filter(|call| call.message.point == HookPoint::Gate);
    let asked: Vec<_> = asked.collect();
    assert!(asked.len() >= 5, "{}", asked.len());
    assert!(asked.iter().all(|call| *call == asked[0]));
    assert_eq!(told!(world, Event::HookFailed { .. }), 1);
    world.trouble.clear();
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
}

#[test]
fn whoever_advances_or_promotes_does_not_wait_for_the_hooks_of_a_gate() {
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
    // The end waits until all have been told, or can't be.
    assert!(!world.rollout.ended());
    world.input(Input::HookAnswered { id: last.id, answer: Err("gone".to_owned()) });
    assert_eq!(world.until_ended().verdict, RolloutVerdict::RolledBack);
}

#[test]
fn an_answer_that_nobody_waits_for_changes_nothing() {
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
fn after_a_restart_a_call_is_made_again_to_the_letter() {
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
fn whoever_promotes_in_the_last_step_does_not_wait_for_a_hook_either() {
    let mut world = World::new(hooked(&[100]));
    world.until_live(1);
    world.trouble = vec![TestFault::Refuses(HookPoint::Gate)];
    world.until("refused", |world| world.obstacle().is_some());
    world.order(order(Action::Promote)).unwrap();
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
}

/// The hook after the end may never answer.
#[test]
fn an_end_that_nobody_takes_note_of_can_be_forced() {
    let mut world = World::new(hooked(&[100]));
    world.until_live(1);
    world.trouble = vec![TestFault::HooksHang];
    world.order(order(Action::Abort)).unwrap();
    world.run(60.0);
    assert!(!world.rollout.ended());
    world.order(Command { force: true, ..order(Action::Abort) }).unwrap();
    assert!(world.rollout.ended());
}

/// The end would be told, but not be known after a restart.
#[test]
fn nothing_ends_that_cannot_be_stored() {
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
