//! Metrics that come from queries.

use super::*;
use crate::config::prometheus::{Auth, PrometheusConnection};
use crate::rollout::blocker::Blocker;
use crate::rollout::metric::{
    Metric, MetricProviderConfig, MetricRule, MetricsPlan, QueryTemplate,
};

/// Two metrics, measured every 2 s; three bad values in a row break their rules.
pub(super) fn metrics() -> MetricsPlan {
    let metric = |name: &str, rule: MetricRule| {
        let query =
            QueryTemplate::parse(&format!("{name}{{version=\"{{{{version}}}}\"}}")).unwrap();
        let connection = PrometheusConnection { url: "http://p".to_owned(), auth: Auth::None };
        let provider = MetricProviderConfig::Prometheus { connection, query };
        Metric { name: name.to_owned(), provider, rule }
    };
    let rule = MetricRule { at_most: None, at_least: None, at_most_times: None, consecutive: 3 };
    let all = vec![
        metric("memory", MetricRule { at_most: Some(10.0), ..rule }),
        metric("queue", MetricRule { at_most_times: Some(1.0), ..rule }),
    ];
    MetricsPlan { interval: 2 * SECOND, all }
}

fn measured(percents: &[u32]) -> Plan {
    Plan { metrics: Some(metrics()), ..plan(percents) }
}

/// A rollout with a live first step.
fn live(percents: &[u32]) -> World {
    let mut world = World::new(measured(percents));
    world.until_live(1);
    world
}

#[test]
fn a_candidate_within_its_rules_is_promoted() {
    let mut world = live(&[10, 50, 100]);
    world.run(5.0);
    let status = world.rollout.status().metrics;
    let view: Vec<_> = status.iter().map(|m| (&*m.name, m.baseline, m.candidate, m.bad)).collect();
    assert_eq!(view, [("memory", Some(10.0), Some(10.0), 0), ("queue", Some(10.0), Some(10.0), 0)]);
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
}

#[test]
fn consecutive_bad_values_roll_back() {
    let mut world = live(&[10, 100]);
    world.trouble = vec![TestFault::MetricsBad];
    let bad = world.now;
    let summary = world.until_ended();
    assert_eq!((summary.verdict, world.weights()), (RolloutVerdict::RolledBack, vec![10.0, 0.0]));
    let took = world.now - bad;
    assert!(took >= 6 * SECOND && took < 9 * SECOND, "{took:?}");
    let expected = RollbackReason::Metric {
        metric: "memory".to_owned(),
        limit: "at most 10".to_owned(),
        baseline: Some(10.0),
        candidate: 11.0,
        consecutive: 3,
    };
    assert_eq!(summary.reason, Some(expected));
}

#[test]
fn a_single_bad_value_only_keeps_the_gate_shut() {
    let mut world = live(&[10, 100]);
    world.until("nearly baked", |world| world.rollout.status().baked >= 7 * SECOND);
    world.trouble = vec![TestFault::MetricsBad];
    world.until("baked", |world| world.rollout.status().baked >= 10 * SECOND);
    world.run(1.0);
    assert_eq!(event_count!(world, Event::GateOpened { .. } | Event::RollingBack { .. }), 0);
    world.trouble = vec![];
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
}

#[test]
fn a_missing_value_neither_opens_a_gate_nor_rolls_back() {
    let mut world = live(&[10, 100]);
    world.trouble = vec![TestFault::MetricsMissing];
    world.run(100.0);
    assert_eq!(world.weights(), [10.0]);
    let reason = "no value".to_owned();
    assert_eq!(
        world.obstacle(),
        Some(Blocker::MetricUnavailable { metric: "memory".to_owned(), reason })
    );
    world.trouble = vec![];
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
}

#[test]
fn missing_values_leave_the_count_of_bad_ones() {
    let mut world = live(&[10, 100]);
    world.trouble = vec![TestFault::MetricsBad];
    world.until("two bad", |world| {
        world.rollout.status().metrics.iter().any(|metric| metric.bad == 2)
    });
    world.trouble = vec![TestFault::MetricsMissing];
    world.run(60.0);
    assert_eq!(event_count!(world, Event::RollingBack { .. }), 0);
    world.trouble = vec![TestFault::MetricsBad];
    assert_eq!(world.until_ended().verdict, RolloutVerdict::RolledBack);
}

#[test]
fn in_the_rollback_window_only_absolute_limits_count() {
    let mut metrics = metrics();
    metrics.all.remove(0);
    let window = 60 * SECOND;
    let relative = Plan { window, metrics: Some(metrics), ..plan(&[10, 100]) };
    for (plan, verdict) in [
        (relative, RolloutVerdict::Promoted),
        (Plan { window, ..measured(&[10, 100]) }, RolloutVerdict::RolledBack),
    ] {
        let mut world = World::new(plan);
        world.until("promoted", |world| event_count!(world, Event::Promoted { .. }) == 1);
        world.trouble = vec![TestFault::MetricsBad];
        assert_eq!(world.until_ended().verdict, verdict);
    }
}

#[test]
fn a_preview_is_not_measured() {
    let mut plan = measured(&[0, 100]);
    plan.steps[0].requests = 5;
    let mut world = World::troubled(plan, vec![TestFault::MetricsMissing]);
    world.proxy.picks = 1.0;
    world.until("switched", |world| world.weights() == [0.0, 100.0]);
}

#[test]
fn bad_values_survive_a_restart() {
    let mut world = live(&[10, 100]);
    world.killed = true;
    world.trouble = vec![TestFault::MetricsBad];
    assert_eq!(world.until_ended().verdict, RolloutVerdict::RolledBack);
}
