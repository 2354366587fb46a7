mod world;

use std::mem::take;

use serin_filter::names::{Generation, VersionName};
use serin_filter::table::Weight;

use self::world::{BALANCED, TestFault, World};
use super::*;
use crate::judge;
use crate::judge::{Ruling, Settings};
use crate::observation::SliceCounts;
use crate::rollout::event::{RolloutVerdict, Sensitivity, Summary};
use crate::rollout::metric::MetricSample;
use crate::rollout::plan::{AaTest, Gate, Step};
use crate::split::UserAssignment;

const SECOND: Duration = Duration::from_secs(1);

/// Counts the emitted events that match this pattern.
macro_rules! event_count {
    ($world:expr, $event:pat) => {
        $world.events.iter().filter(|event| matches!(event, $event)).count()
    };
}

// These modules use the macro above.
mod aa_test;
mod blockers;
mod commands;
mod fleet;
mod hooks;
mod limits;
mod metrics;
mod property;
mod rolling;

/// Steps of these percentages, each of 10 s and 100 requests.
fn plan(percents: &[u32]) -> Plan {
    let step = |percent: &u32| Step {
        bake: 10 * SECOND,
        requests: 100,
        ..match percent {
            0 => Step::preview(),
            percent => Step::at(Weight::from_ppm(percent * 10_000).unwrap()),
        }
    };
    Plan {
        name: "shop-v2".to_owned(),
        service: "shop".parse().unwrap(),
        baseline: "v1".parse().unwrap(),
        candidate: "v2".parse().unwrap(),
        steps: percents.iter().map(step).collect(),
        window: Duration::ZERO,
        budget: None,
        breaking: false,
        freezes: Default::default(),
        judge: Settings { latency: None, ..Settings::default() },
        interval: SECOND,
        sticky: false,
        aa_test: None,
        hooks: Default::default(),
        replacement: None,
        metrics: None,
    }
}

/// The same plan with an A/A test of 20 s, 5000 requests and four salts.
fn with_aa_test(percents: &[u32]) -> Plan {
    let salts = (0..4).map(|n| format!("shop/{n}")).collect();
    let watch = AaTest { duration: 20 * SECOND, requests: 5_000, salts, miss_probability: 0.002 };
    Plan { sticky: true, aa_test: Some(watch), ..plan(percents) }
}

/// A rollout of 10 %, 50 % and 100 % whose first step has been live for 5 s.
fn baking() -> World {
    let mut world = World::new(plan(&[10, 50, 100]));
    world.until_live(1);
    world.run(5.0);
    world
}

/// A started rollout with this fault.
fn shifting(trouble: TestFault) -> World {
    let mut world = World::new(plan(&[10, 50, 100]));
    world.trouble = vec![trouble];
    world.run(5.0);
    assert!(!world.rollout.status().live);
    world
}

/// A rollout whose proxy does not apply the second split.
fn stuck(trouble: TestFault) -> World {
    let mut world = baking();
    world.until("at the gate", |world| world.rollout.status().baked >= 9 * SECOND);
    world.trouble = vec![trouble];
    world.run(5.0);
    assert_eq!((world.weights(), world.rollout.status().live), (vec![10.0, 50.0], false));
    world
}

#[test]
fn a_healthy_candidate_is_promoted_step_by_step() {
    let mut world = World::new(plan(&[1, 10, 100]));
    let summary = world.until_ended();
    assert_eq!(
        (summary.verdict, summary.confirmed, summary.reason),
        (RolloutVerdict::Promoted, true, None)
    );
    let splits: Vec<_> = world
        .applied
        .iter()
        .map(|(_, split)| (split.generation.0, split.candidate.ppm()))
        .collect();
    assert_eq!(splits, [(8, 10_000), (9, 100_000), (10, 1_000_000)]);
    assert_eq!(
        (event_count!(world, Event::Live { .. }), event_count!(world, Event::GateOpened { .. })),
        (3, 3)
    );
    assert_eq!(event_count!(world, Event::Blocked { .. } | Event::RollingBack { .. }), 0);
}

#[test]
fn a_gate_needs_time() {
    let mut world = World::new(plan(&[10, 50, 100]));
    world.until_live(1);
    let live = world.now;
    world.until("asked for 50 %", |world| world.applied.len() == 2);
    let baked = world.now - live;
    assert!(baked >= 10 * SECOND && baked < 12 * SECOND, "{baked:?}");
}

#[test]
fn a_gate_needs_requests_of_the_candidate() {
    let mut world = World::new(plan(&[10, 100]));
    world.proxy.rate = 20.0;
    world.until("asked for 100 %", |world| world.applied.len() == 2);
    assert!(world.now >= 50 * SECOND, "100 requests at 2 a second");
}

#[test]
fn a_gate_needs_requests_of_the_baseline_to_compare_with() {
    let mut world = World::new(plan(&[10, 100]));
    world.trouble = vec![TestFault::BaselineHangs];
    world.run(100.0);
    assert_eq!(world.weights(), [10.0]);
    world.trouble.clear();
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
}

#[test]
fn a_step_without_requests_is_reported_and_waits() {
    let mut world = World::new(plan(&[10, 100]));
    world.proxy.rate = 0.0;
    world.run(100.0);
    assert!(matches!(world.obstacle(), Some(Blocker::NoRequests { .. })), "{:?}", world.obstacle());
    assert_eq!(world.weights(), [10.0]);
    world.proxy.rate = 1_000.0;
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
}

#[test]
fn a_gate_stays_shut_while_a_blocker_exists() {
    let mut world = World::new(plan(&[10, 100]));
    world.proxy.rate = 20.0;
    world.run(40.0);
    world.trouble = vec![TestFault::Lags];
    world.run(40.0);
    assert!(world.rollout.status().candidate.requests > 100);
    assert_eq!(world.weights(), [10.0]);
}

#[test]
fn each_step_resets_its_counts() {
    let mut world = baking();
    assert_eq!(world.rollout.status().candidate.requests, 500);
    world.until_live(2);
    assert_eq!(world.rollout.status().candidate.requests, 0);
}

/// At 10 %, a block of 5 candidate requests takes 5 s; 2 requests remain when the gate opens.
#[test]
fn leftover_counts_of_a_step_are_not_judged_in_the_next() {
    let mut plan = plan(&[10, 50, 100]);
    plan.steps[0] = Step { bake: 12 * SECOND, requests: 12, ..plan.steps[0].clone() };
    let mut world = World::new(plan);
    world.proxy.rate = 10.0;
    world.until_live(1);
    world.trouble = vec![TestFault::Rejects];
    world.until("asked for 50 %", |world| world.weights().len() == 2);
    let (asked, rulings) = (world.now, world.rulings.len());
    world.until("a ruling", |world| world.rulings.len() > rulings);
    assert!(world.now - asked >= SHIFTING_GRACE + 5 * SECOND, "{:?}", world.now - asked);
}

#[test]
fn a_gate_reports_its_sensitivity() {
    let mut world = World::new(plan(&[10, 100]));
    world.until_ended();
    let gates = world.events.iter().filter_map(|event| match event {
        Event::GateOpened { status, .. } => Some(status.sensitivity),
        _ => None,
    });
    let gates: Vec<_> = gates.collect();
    assert!(matches!(gates[0], Sensitivity::Detects { failure_rate } if failure_rate < 0.1));
    assert_eq!(gates[1], Sensitivity::NoBaseline);
}

#[test]
fn harm_in_any_step_rolls_back_at_once() {
    for step in 1..=2 {
        let mut world = World::new(plan(&[10, 50, 100]));
        world.until_live(step);
        world.trouble = vec![TestFault::CandidateFails];
        world.until("harm", |world| event_count!(world, Event::RollingBack { .. }) == 1);
        let (asked, split) = *world.applied.last().unwrap();
        assert_eq!((asked, split.candidate), (world.now, Weight::ZERO));
        assert!(!world.rollout.ended(), "the proxy has not confirmed yet");
        let summary = world.until_ended();
        assert_eq!((summary.verdict, summary.confirmed), (RolloutVerdict::RolledBack, true));
        assert_eq!(world.applied.len(), step + 1);
        assert!(summary.reason.unwrap().to_string().contains("of v2's requests failed"));
    }
}

#[test]
fn an_incident_of_both_versions_is_no_harm() {
    let mut world = baking();
    world.trouble = vec![TestFault::BothFail];
    world.until_live(2);
    world.trouble.clear();
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
}

#[test]
fn harm_is_detected_while_a_shift_is_stuck() {
    let mut world = stuck(TestFault::Rejects);
    world.trouble.push(TestFault::CandidateFails);
    world.run(3.0);
    assert_eq!(world.weights(), [10.0, 50.0, 0.0]);
    assert_eq!(event_count!(world, Event::RollingBack { reason: RollbackReason::Harm { .. } }), 1);
    world.trouble.clear();
    assert_eq!(world.until_ended().verdict, RolloutVerdict::RolledBack);
}

#[test]
fn a_tripwire_on_one_proxy_rolls_back_everywhere() {
    let mut world = baking();
    world.trouble = vec![TestFault::Trips];
    world.poll();
    assert_eq!(world.weights(), [10.0, 0.0]);
    world.trouble.clear();
    let summary = world.until_ended();
    assert_eq!(summary.verdict, RolloutVerdict::RolledBack);
    let reason = summary.reason.unwrap();
    assert!(matches!(reason, RollbackReason::Tripwire { .. }), "{reason}");
}

/// A tripwire of a previous generation does not count against the present one.
#[test]
fn a_tripwire_of_another_generation_is_ignored() {
    let mut world = stuck(TestFault::Rejects);
    world.trouble.push(TestFault::Trips);
    world.run(3.0);
    assert_eq!(event_count!(world, Event::RollingBack { .. }), 0);
}

#[test]
fn an_interval_without_polls_does_not_count() {
    let mut world = baking();
    let before = world.rollout.status().baked;
    world.now += 3_600 * SECOND;
    world.rollout.resume_clock(world.now);
    world.poll();
    let baked = world.rollout.status().baked;
    assert!(baked > before && baked <= before + SECOND, "{baked:?}");
    assert_eq!((world.weights(), world.obstacle()), (vec![10.0], None));
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
}

#[test]
fn an_interrupt_rolls_back_in_any_phase() {
    for mut world in [
        World::new(plan(&[10, 100])),
        shifting(TestFault::Lags),
        shifting(TestFault::Unreachable),
        baking(),
        stuck(TestFault::Rejects),
    ] {
        world.input(Input::Interrupt);
        let (asked, split) = *world.applied.last().unwrap();
        assert_eq!((asked, split.candidate), (world.now, Weight::ZERO));
        world.trouble.clear();
        let summary = world.until_ended();
        assert_eq!((summary.verdict, summary.confirmed), (RolloutVerdict::Interrupted, true));
        assert_eq!(
            (summary.weight, summary.generation),
            (Weight::ZERO, world.proxy.running.generation)
        );
    }
}

#[test]
fn a_second_interrupt_ends_without_confirmation() {
    let mut world = baking();
    world.trouble = vec![TestFault::Unreachable];
    world.input(Input::Interrupt);
    world.run(5.0);
    assert!(!world.rollout.ended());
    world.input(Input::Interrupt);
    let summary = world.until_ended();
    assert_eq!((summary.verdict, summary.confirmed), (RolloutVerdict::Interrupted, false));
}

#[test]
fn an_interrupted_rollback_is_still_a_rollback() {
    let mut world = baking();
    world.trouble = vec![TestFault::CandidateFails];
    world.until("harm", |world| world.weights().last() == Some(&0.0));
    world.input(Input::Interrupt);
    let summary = world.until_ended();
    assert_eq!((summary.verdict, summary.confirmed), (RolloutVerdict::RolledBack, false));
}

#[test]
fn the_machine_emits_nothing_after_the_end() {
    let mut world = World::new(plan(&[100]));
    world.until_ended();
    let seen = Observation::Delta(FleetDelta { restarted: true, ..FleetDelta::default() });
    let unreachable = Observation::Unreachable { reason: String::new() };
    for input in [
        Input::Observation(seen),
        Input::Observation(unreachable),
        Input::ApplyFailed { reason: String::new() },
        Input::Interrupt,
    ] {
        assert_eq!(world.rollout.step(world.now + 60 * SECOND, input), []);
    }
}

#[test]
fn polls_are_frequent_during_a_shift() {
    let mut world = World::new(plan(&[10, 100]));
    world.proxy.delay = 10 * SECOND;
    assert_eq!(world.rollout.next_poll(), SHIFTING_INTERVAL);
    world.run(2.0);
    assert_eq!(world.rollout.next_poll(), SECOND, "the poll is late");
    world.until_live(1);
    world.poll();
    assert_eq!(world.rollout.next_poll(), SECOND);
    world.input(Input::Interrupt);
    assert_eq!(world.rollout.next_poll(), SHIFTING_INTERVAL);
    world.trouble = vec![TestFault::Unreachable];
    world.run(2.0);
    assert_eq!(world.rollout.next_poll(), SECOND);
}

#[test]
fn nothing_is_judged_during_the_warm_up() {
    let mut world = World::new(plan(&[10, 100]));
    world.proxy.latency_us = 2_500_000;
    world.until_live(1);
    let live = world.now;
    world.until("a ruling", |world| !world.rulings.is_empty());
    let waited = world.now - live;
    assert!(waited > 3 * SECOND && waited < 4 * SECOND, "warm for 2.5 s, then a poll: {waited:?}");
    let since = Duration::from_secs_f64(world.learned.last().unwrap().seconds) - live;
    assert!(since > 2 * SECOND && since < waited, "the warm-up only teaches the judge: {since:?}");
}

#[test]
fn a_controller_killed_at_any_moment_resumes_unchanged() {
    let play = |killed| {
        let judge = Settings { boundaries_ms: vec![0.5, 50.0], ..Settings::default() };
        let mut world = World::new(Plan { judge, ..plan(&[10, 50, 100]) });
        world.killed = killed;
        world.until_live(2);
        world.trouble = vec![TestFault::Rejects, TestFault::CandidateFails];
        world.run(10.0);
        world.trouble.clear();
        world.until_ended();
        (take(&mut world.events), take(&mut world.applied), take(&mut world.rulings))
    };
    assert_eq!(play(true), play(false));
}

/// Many polls failed before the successful one, so its counts reach back to the previous split.
#[test]
fn counts_that_reach_back_beyond_an_outage_into_another_split_are_not_judged() {
    let mut world = baking();
    world.until("asked for 50 %", |world| world.applied.len() == 2);
    let rulings = world.rulings.len();
    world.trouble = vec![TestFault::Unreachable];
    world.run(4.0);
    world.trouble.clear();
    world.poll();
    assert_eq!(world.rulings.len(), rulings);
}

#[test]
fn counts_that_reach_back_beyond_an_outage_into_the_warm_up_are_not_judged() {
    let mut world = World::new(plan(&[10, 100]));
    world.proxy.latency_us = 2_500_000;
    world.until_live(1);
    world.trouble = vec![TestFault::Unreachable];
    world.run(4.0);
    world.trouble.clear();
    world.poll();
    assert_eq!(world.rulings, []);
}

#[test]
fn a_gate_stays_shut_for_a_candidate_that_always_failed() {
    let mut plan = plan(&[5, 100]);
    plan.steps[0] = Step { bake: 5 * SECOND, requests: 5, ..plan.steps[0].clone() };
    let mut world = World::new(plan);
    world.proxy.rate = 20.0;
    world.trouble = vec![TestFault::CandidateFails];
    assert_eq!(world.until_ended().verdict, RolloutVerdict::RolledBack);
    assert_eq!(world.weights(), [5.0, 0.0]);
}

#[test]
fn a_gate_stays_shut_even_if_the_evidence_was_low_before() {
    let mut plan = plan(&[10, 50, 100]);
    plan.steps[1].bake = SECOND;
    let mut world = World::new(plan);
    world.until_live(2);
    world.trouble = vec![TestFault::CandidateFails];
    assert_eq!(world.until_ended().verdict, RolloutVerdict::RolledBack);
    assert_eq!(world.weights(), [10.0, 50.0, 0.0]);
}

/// Without a baseline, the judge finds no further evidence for or against the candidate.
#[test]
fn a_suspicion_from_a_stuck_shift_does_not_block_the_last_step_forever() {
    let mut world = World::new(plan(&[50, 100]));
    world.until_live(1);
    world.trouble = vec![TestFault::Rejects];
    world.until("asked for 100 %", |world| world.weights().len() == 2);
    world.run(2.5);
    world.trouble.push(TestFault::CandidateFails);
    world.until("suspected", |world| world.rollout.judge.ln_e() > 2.4);
    world.trouble.clear();
    world.proxy.rate = 5.0;
    world.run(120.0);
    assert!(world.rollout.ended(), "{:?}", world.rollout.status());
}

#[test]
fn a_rollback_stuck_for_long_can_still_be_stored() {
    let mut world = baking();
    world.trouble = vec![TestFault::CandidateFails, TestFault::Rejects];
    world.run(600.0);
    let evidence = world.rollout.status().evidence;
    assert!(evidence.is_finite(), "{evidence}");
    assert_eq!(event_count!(world, Event::RollingBack { .. }), 1);
    world.killed = true;
    world.trouble.clear();
    assert_eq!(world.until_ended().verdict, RolloutVerdict::RolledBack);
}

#[test]
fn harm_is_detected_after_a_step_far_beyond_its_planned_time() {
    let mut plan = plan(&[50, 100]);
    plan.steps[0].requests = 1_000_000_000_000;
    plan.interval = 5 * SECOND;
    let mut world = World::new(plan);
    world.proxy.rate = 20_000.0;
    world.run(2.0 * 3_600.0);
    world.trouble = vec![TestFault::CandidateFails];
    world.run(300.0);
    assert_eq!(
        event_count!(world, Event::RollingBack { .. }),
        1,
        "ln E {}",
        world.rollout.judge.ln_e()
    );
}

#[test]
fn a_new_split_clears_the_blocker_of_the_previous_one() {
    let mut world = stuck(TestFault::Rejects);
    world.trouble.clear();
    world.proxy.delay = SECOND;
    world.input(Input::Interrupt);
    world.poll();
    assert_eq!(world.obstacle(), None, "no proxy has rejected the rollback");
}

/// Its last requests may end after the candidate has all traffic, and no later request can clear
/// the blocker.
#[test]
fn a_baseline_without_a_route_does_not_block_the_last_step_forever() {
    let mut world = World::new(plan(&[50, 100]));
    world.until_live(1);
    world.until("at the gate", |world| world.rollout.status().baked >= 9 * SECOND);
    world.poll();
    assert_eq!(world.weights(), [50.0, 100.0]);
    world.trouble = vec![TestFault::Misroutes(0)];
    world.proxy.delay = SECOND;
    world.poll();
    world.run(60.0);
    assert!(world.rollout.ended(), "{:?}", world.obstacle());
}

#[test]
fn no_plan_breaks_the_forecast() {
    let mut plan = plan(&[10, 50, 100]);
    plan.steps[1].bake = Duration::MAX;
    plan.steps[2].requests = u64::MAX;
    let mut world = World::new(plan);
    world.until_live(1);
    world.run(5.0);
    assert_eq!(world.rollout.status().time_left, Some(Duration::MAX));
}

#[test]
fn a_gate_of_evidence_waits_and_reports_the_needed_requests() {
    let mut plan = plan(&[50, 100]);
    plan.judge.confidence = Some(0.95);
    plan.steps[0].gate = Gate::Evidence;
    let mut world = World::new(plan);
    world.proxy.rate = 100.0;
    world.until_live(1);
    let needed = world.rollout.status().non_inferiority.unwrap().requests_needed.unwrap();
    world.until("asked for 100 %", |world| world.applied.len() == 2);
    let gate = world.events.iter().find_map(|event| match event {
        Event::GateOpened { status, .. } => Some(status.clone()),
        _ => None,
    });
    let gate = gate.unwrap();
    let safety = gate.non_inferiority.unwrap();
    assert!(safety.evidence >= safety.limit, "{safety:?}");
    let met = gate.candidate.requests;
    assert!(met > 2_000 && met.abs_diff(needed) < needed / 10, "{met} instead of {needed}");
}

#[test]
fn an_unhealthy_service_blocks_without_a_rollback() {
    let mut plan = plan(&[50, 100]);
    plan.judge.objectives =
        vec![crate::judge::Objective { sli: judge::Sli::Errors, at_most: 0.01 }];
    let mut world = World::new(plan);
    world.until_live(1);
    world.trouble = vec![TestFault::BothFail];
    world.run(120.0);
    let Some(Blocker::Unhealthy { reason }) = world.obstacle() else {
        panic!("{:?}", world.obstacle())
    };
    assert!(reason.contains("the service is unhealthy with both versions"), "{reason}");
    assert_eq!(world.weights(), [50.0]);
    world.trouble.clear();
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
}

#[test]
fn objectives_decide_without_a_baseline() {
    let mut plan = plan(&[50, 100]);
    plan.judge.objectives =
        vec![crate::judge::Objective { sli: judge::Sli::Errors, at_most: 0.01 }];
    let mut world = World::new(plan);
    world.until_live(2);
    assert_eq!(world.rollout.status().sensitivity, Sensitivity::Objectives);
    world.trouble = vec![TestFault::CandidateFails];
    let summary = world.until_ended();
    assert_eq!(summary.verdict, RolloutVerdict::RolledBack);
    assert!(summary.reason.unwrap().to_string().contains("at most 1.00 % may"));
}

#[test]
fn a_traffic_share_mismatch_stops_the_clock() {
    let mut plan = plan(&[10, 100]);
    let share = Some((0.2, 0.9));
    plan.steps[0].slice = Some(judge::Slice { share, ..judge::Slice::default() });
    let mut world = World::new(plan);
    world.run(60.0);
    assert!(matches!(world.obstacle(), Some(Blocker::TrafficShareMismatch { .. })));
    assert_eq!(world.weights(), [10.0]);
}
