//! Instances that hooks replace batch by batch, with weights that follow.

use super::hooks::hook;
use super::*;
use crate::rollout::call::{HookPoint, Replacement};
use crate::rollout::command::Action;
use crate::rollout::machine::tests::commands::order;

const INSTANCES: [&str; 4] = ["a", "b", "c", "d"];

/// The steps that replace these instances.
pub(super) fn batches(instances: &[String], batch: usize) -> Vec<Step> {
    let all = instances.len();
    let share = |some: usize, all: usize| {
        Weight::from_ppm(u32::try_from(some * 1_000_000 / all).unwrap()).unwrap()
    };
    let mut replaced = 0;
    let steps = instances.chunks(batch).flat_map(|batch| {
        let before = share(replaced, all - batch.len());
        replaced += batch.len();
        [
            Step::replacing(batch.to_vec(), before),
            Step { bake: 10 * SECOND, requests: 100, ..Step::at(share(replaced, all)) },
        ]
    });
    steps.collect()
}

pub(super) fn replacement() -> Replacement {
    let (drain, replace, ready) = (hook("drain"), hook("replace"), hook("ready"));
    Replacement { drain: Some(drain), replace, ready: Some(ready) }
}

/// Four batches of one instance.
fn rolling() -> Plan {
    let instances = INSTANCES.map(str::to_owned);
    Plan { steps: batches(&instances, 1), replacement: Some(replacement()), ..plan(&[]) }
}

/// Each call: the instances, their new version, and the candidate's weight in rounded percent.
fn work(world: &World) -> Vec<String> {
    let calls = world.calls.iter().map(|call| {
        let message = &call.message;
        let version = message.version.as_ref().unwrap();
        let weight = (message.weight.share() * 100.0).round();
        format!("{} {} {version} at {weight}", message.point, message.instances.join(","))
    });
    calls.collect()
}

fn rounded(world: &World) -> Vec<f64> {
    world.weights().into_iter().map(f64::round).collect()
}

#[test]
fn weights_follow_the_instances() {
    let mut world = World::new(rolling());
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
    assert_eq!(rounded(&world), [0.0, 25.0, 33.0, 50.0, 67.0, 75.0, 100.0]);
    let batch = |(instance, weight): (&str, u32)| {
        ["drain", "replace", "ready"].map(|point| format!("{point} {instance} v2 at {weight}"))
    };
    let expected: Vec<_> = INSTANCES.into_iter().zip([0, 33, 67, 100]).flat_map(batch).collect();
    assert_eq!(work(&world), expected);
    assert_eq!(world.replaced.len(), 4);
}

#[test]
fn a_rollback_replaces_in_reverse_order() {
    let mut world = World::new(rolling());
    world.until_live(6);
    assert_eq!(world.replaced.len(), 3);
    world.calls.clear();
    world.trouble = vec![TestFault::CandidateFails];
    let summary = world.until_ended();
    assert_eq!((summary.verdict, summary.confirmed), (RolloutVerdict::RolledBack, true));
    let back = [75.0, 67.0, 33.0, 0.0];
    assert!(rounded(&world).ends_with(&back), "{:?}", rounded(&world));
    let batch = |(instance, weight): (&str, u32)| {
        ["drain", "replace", "ready"].map(|point| format!("{point} {instance} v1 at {weight}"))
    };
    let expected: Vec<_> = ["c", "b", "a"].into_iter().zip([67, 33, 0]).flat_map(batch).collect();
    assert_eq!(work(&world), expected);
    assert!(world.replaced.is_empty());
}

/// The first batch has no traffic while it is replaced, so it can do no harm.
#[test]
fn a_rollback_in_the_first_batch_replaces_only_that_batch() {
    let mut world = World::new(rolling());
    world.trouble = vec![TestFault::Refuses(HookPoint::Ready)];
    world.until("not ready", |world| world.obstacle().is_some());
    assert_eq!(world.replaced.len(), 1);
    world.order(order(Action::Abort)).unwrap();
    world.trouble.clear();
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Interrupted);
    assert!(world.replaced.is_empty());
    assert_eq!(rounded(&world), [0.0]);
}

/// Two concurrent commands on one instance would conflict.
#[test]
fn a_rollback_waits_for_a_running_replacement() {
    let mut world = World::new(rolling());
    world.until("the second batch", |world| work(world).len() == 4);
    let drain = world.calls.last().unwrap().message.clone();
    // For the state machine, the replacement is still on its way.
    let mut world = World::new(rolling());
    world.until_live(3);
    world.trouble = vec![TestFault::HooksHang];
    world.run(10.0);
    assert_eq!(world.calls.last().unwrap().message.id, drain.id);
    world.order(order(Action::Abort)).unwrap();
    world.trouble.clear();
    world.run(30.0);
    assert_eq!(world.calls.last().unwrap().message.id, drain.id, "no other call meanwhile");
    world.input(Input::HookAnswered { id: drain.id, answer: Err("too late".to_owned()) });
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Interrupted);
    assert!(world.replaced.is_empty());
}

#[test]
fn no_command_skips_a_replacement() {
    let mut world = World::new(rolling());
    world.trouble = vec![TestFault::Refuses(HookPoint::Replace)];
    world.until("not replaced", |world| world.obstacle().is_some());
    let refused = world.order(order(Action::Advance)).unwrap_err();
    assert!(refused.0.contains("instances are being replaced"), "{refused}");
    world.order(order(Action::Promote)).unwrap();
    world.run(30.0);
    assert_eq!(rounded(&world), [0.0]);
    world.trouble.clear();
    let promoted = world.now;
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
    assert!(world.now < promoted + 40 * SECOND, "no gate stopped it");
    assert_eq!(rounded(&world), [0.0, 25.0, 33.0, 50.0, 67.0, 75.0, 100.0]);
    assert_eq!(world.replaced.len(), 4);
}

#[test]
fn undo_within_the_window_replaces_all_instances() {
    let mut world = World::new(Plan { window: 600 * SECOND, ..rolling() });
    world.until("promoted", |world| event_count!(world, Event::Promoted { .. }) == 1);
    world.order(order(Action::Undo)).unwrap();
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Interrupted);
    assert!(world.replaced.is_empty());
    assert!(rounded(&world).ends_with(&[100.0, 67.0, 33.0, 0.0]), "{:?}", rounded(&world));
}

#[test]
fn a_killed_controller_replaces_nothing_twice() {
    let mut world = World::new(rolling());
    world.killed = true;
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
    assert_eq!(work(&world).len(), 12);
}

/// The machine replaces no other instance before the repeated call ends.
#[test]
fn the_machine_waits_for_a_repeated_replacement() {
    let mut world = World::new(rolling());
    world.trouble = vec![TestFault::Refuses(HookPoint::Replace)];
    world.until("refused", |world| world.obstacle().is_some());
    world.trouble = vec![TestFault::HooksHang];
    world.run(60.0);
    let replace = world.calls.last().unwrap().message.clone();
    let asked = world.calls.len();
    assert_eq!(
        (replace.point, asked),
        (HookPoint::Replace, 3),
        "one repeated call, as the first does not end"
    );
    world.order(order(Action::Abort)).unwrap();
    world.trouble.clear();
    world.run(30.0);
    assert_eq!(world.calls.len(), asked, "no other call meanwhile");
    world.input(Input::HookAnswered { id: replace.id, answer: Err("too late".to_owned()) });
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Interrupted);
}

#[test]
fn a_promotion_during_the_aa_test_replaces_all_instances() {
    let plan = Plan { sticky: true, aa_test: with_aa_test(&[]).aa_test, ..rolling() };
    let mut world = World::new(plan);
    world.run(5.0);
    world.order(order(Action::Promote)).unwrap();
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
    assert_eq!(world.replaced.len(), 4);
}
