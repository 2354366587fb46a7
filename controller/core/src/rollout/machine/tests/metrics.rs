//! Metrics that are asked for by queries.

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

/// Whose first step is live.
fn live(percents: &[u32]) -> World {
    let mut world = World::new(measured(percents));
    world.until_live(1);
    world
}

#[test]
fn a_candidate_that_keeps_its_rules_is_promoted() {
    let mut world = live(&[10, 50, 100]);
    world.run(5.0);
    let status = world.rollout.status().metrics;
    let view: Vec<_> = status.iter().map(|m| (&*m.name, m.baseline, m.candidate, m.bad)).collect();
    assert_eq!(view, [("memory", Some(10.0), Some(10.0), 0), ("queue", Some(10.0), Some(10.0), 0)]);
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
}

#[test]
fn so_many_bad_values_in_a_row_take_the_candidate_back() {
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
fn a_bad_value_keeps_the_gate_shut_and_no_more() {
    let mut world = live(&[10, 100]);
    world.until("nearly baked", |world| world.rollout.status().baked >= 7 * SECOND);
    world.trouble = vec![TestFault::MetricsBad];
    world.until("baked", |world| world.rollout.status().baked >= 10 * SECOND);
    world.run(1.0);
    assert_eq!(told!(world, Event::GateOpened { .. } | Event::RollingBack { .. }), 0);
    world.trouble = vec![];
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
}

#[test]
fn what_is_not_known_opens_no_gate_and_takes_nothing_back() {
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
fn missing_values_neither_add_to_the_bad_ones_nor_forgive_them() {
    let mut world = live(&[10, 100]);
    world.trouble = vec![TestFault::MetricsBad];
    world.until("two bad", |world| {
        world.rollout.status().metrics.iter().any(|metric| metric.bad == 2)
    });
    world.trouble = vec![TestFault::MetricsMissing];
    world.run(60.0);
    assert_eq!(told!(world, Event::RollingBack { .. }), 0);
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
        world.until("promoted", |world| told!(world, Event::Promoted { .. }) == 1);
        world.trouble = vec![TestFault::MetricsBad];
        assert_eq!(world.until_ended().verdict, verdict);
    }
}

#[test]
fn a_preview_has_too_few_requests_to_be_measured() {
    let mut plan = measured(&[0, 100]);
    plan.steps[0].requests = 5;
    let mut world = World::troubled(plan, vec![TestFault::MetricsMissing]);
    world.proxy.picks = 1.0;
    world.until("switched", |world| world.weights() == [0.0, 100.0]);
}

#[test]
fn bad_values_survive_the_controller() {
    let mut world = live(&[10, 100]);
    world.killed = true;
    world.trouble = vec![TestFault::MetricsBad];
    assert_eq!(world.until_ended().verdict, RolloutVerdict::RolledBack);
}
