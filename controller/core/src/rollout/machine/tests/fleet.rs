//! Fleets with faulty proxies: blockers name them, and they do not hide harm at other proxies.

use serin_filter::names::Generation;

use super::super::fleet::UNREACHABLE_GRACE;
use super::*;
use crate::observation::FleetHealth;
use crate::observation::health::{Outdated, ProxyName, Unreachable};

/// Ten proxies, one unreachable, which ran this generation.
fn lost(since: Duration, generation: Option<Generation>) -> FleetHealth {
    let (name, reason) = (ProxyName::from("edge-3"), "connection refused".to_owned());
    FleetHealth {
        proxies: 10,
        unreachable: vec![Unreachable { name, reason, since, generation }],
        ..FleetHealth::default()
    }
}

fn behind(generation: u64, rejected: bool) -> FleetHealth {
    let name = ProxyName::from("edge-3");
    let outdated = vec![Outdated { name, generation: Some(Generation(generation)), rejected }];
    FleetHealth { proxies: 10, outdated, ..FleetHealth::default() }
}

fn text(world: &World) -> String {
    world.obstacle().map(|blocker| blocker.to_string()).unwrap_or_default()
}

#[test]
fn a_briefly_unreachable_proxy_blocks_shifts_but_not_the_clock() {
    let mut world = baking();
    let ours = world.rollout.split().generation;
    world.roster = lost(SECOND, Some(ours));
    world.until("the next step", |world| world.weights().len() == 2);
    assert_eq!(event_count!(world, Event::Blocked { .. }), 0);
    world.run(1.0);
    assert_eq!(world.obstacle(), None, "the split may still be on its way");
    world.run(30.0);
    assert!(!world.rollout.status().live);
    let expected = Blocker::ProxiesUnreachable {
        unreachable: 1,
        proxies: "edge-3 (connection refused)".to_owned(),
        total: 10,
    };
    assert_eq!(world.obstacle(), Some(expected));
    world.roster = FleetHealth { proxies: 10, ..FleetHealth::default() };
    world.until_live(2);
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
}

#[test]
fn a_failed_write_is_reported_instead_of_lagging_proxies() {
    let mut world = stuck(TestFault::Unwritable);
    world.roster = behind(world.proxy.running.generation.0, false);
    world.run(10.0);
    assert!(matches!(world.obstacle(), Some(Blocker::WriteFailed { .. })), "{}", text(&world));
    assert_eq!(event_count!(world, Event::Blocked { .. }), 1);
}

#[test]
fn a_proxy_unreachable_for_long_stops_the_clock() {
    let mut world = baking();
    let (ours, baked) = (world.rollout.split().generation, world.rollout.status().baked);
    world.roster = lost(UNREACHABLE_GRACE, Some(ours));
    world.run(60.0);
    assert!(matches!(
        world.obstacle(),
        Some(Blocker::ProxiesUnreachable { unreachable: 1, total: 10, .. })
    ));
    assert_eq!((world.weights(), world.rollout.status().baked), (vec![10.0], baked));
}

#[test]
fn harm_at_other_proxies_rolls_back_and_waits_for_all() {
    let mut world = baking();
    let ours = world.rollout.split().generation;
    world.roster = lost(UNREACHABLE_GRACE, Some(ours));
    world.trouble = vec![TestFault::CandidateFails];
    world.until("rolled back", |world| world.rollout.is_rolling_back());
    world.run(60.0);
    assert!(!world.rollout.ended(), "edge-3 has not confirmed it");
    assert!(matches!(world.obstacle(), Some(Blocker::ProxiesUnreachable { .. })));
    world.roster = FleetHealth::default();
    assert_eq!(world.until_ended().verdict, RolloutVerdict::RolledBack);
}

#[test]
fn a_rejecting_proxy_is_named_and_gets_a_new_generation() {
    let mut world = baking();
    world.until("at the gate", |world| world.rollout.status().baked >= 9 * SECOND);
    world.roster = behind(8, true);
    world.proxy.delay = 60 * SECOND;
    world.run(15.0);
    let rejected = match world.obstacle() {
        Some(Blocker::RejectedByProxies { proxies, detail, .. }) => Some((proxies, detail)),
        _ => None,
    };
    assert_eq!(rejected, Some(("edge-3".to_owned(), None)), "{}", text(&world));
    assert!(world.rollout.split().generation > Generation(10));
    assert!(!world.rollout.status().live);
}

#[test]
fn a_lagging_proxy_blocks_a_shift_and_later_stops_the_clock() {
    let mut world = World::new(plan(&[10, 100]));
    world.roster = behind(7, false);
    world.run(5.0);
    assert!(!world.rollout.status().live);
    assert!(text(&world).ends_with(": edge-3 (generation 7)"), "{}", text(&world));
    world.roster = FleetHealth::default();
    world.until_live(1);
    world.run(2.0);
    let baked = world.rollout.status().baked;
    world.roster = FleetHealth { unconfirmed: vec![ProxyName::from("edge-4")], ..behind(7, false) };
    world.run(20.0);
    assert_eq!(world.rollout.status().baked, baked);
}

#[test]
fn silent_workers_of_one_proxy_stop_the_clock() {
    let mut world = baking();
    let silent = vec![ProxyName::from("edge-3")];
    world.roster = FleetHealth { proxies: 10, silent, ..FleetHealth::default() };
    world.run(20.0);
    assert!(
        matches!(world.obstacle(), Some(Blocker::WorkersSilentOnProxies { .. })),
        "{}",
        text(&world)
    );
    assert_eq!(world.weights(), [10.0]);
}

#[test]
fn a_warning_is_emitted_once_and_blocks_nothing() {
    let mut world = baking();
    world.roster.warning = Some("the list can't be renewed".to_owned());
    world.run(3.0);
    assert_eq!(event_count!(world, Event::Warning { .. }), 1);
    world.roster.warning = None;
    world.run(1.0);
    world.roster.warning = Some("the list can't be renewed".to_owned());
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
    assert_eq!(event_count!(world, Event::Warning { .. }), 2);
}
