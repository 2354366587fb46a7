use std::time::Duration;

use serin_core::judge::Settings;
use serin_core::rollout::event::RolloutVerdict;
use serin_core::rollout::plan::{Plan, Step};
use serin_filter::table::Weight;

use super::peers::DecisionRule;
use super::traffic::{Bursts, Fault, FaultKind, Incident, LatencyModel, Traffic};
use super::trial::{Outcome, Trial};
use super::users::UserPopulation;

const MINUTE: Duration = Duration::from_secs(60);

/// Steps of these percentages, each of this bake, judged by errors.
fn trial(percents: &[u32], bake: Duration, traffic: Traffic) -> Trial {
    let step = |percent: &u32| Step {
        bake,
        requests: 100,
        ..Step::at(Weight::from_ppm(percent * 10_000).unwrap())
    };
    Trial {
        plan: Plan {
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
            interval: Duration::from_secs(1),
            sticky: false,
            aa_test: None,
            hooks: Default::default(),
            replacement: None,
            metrics: None,
        },
        traffic,
        rule: DecisionRule::Serin,
        horizon: 24 * 60 * MINUTE,
    }
}

fn rolled_back(outcomes: &[Outcome]) -> usize {
    outcomes.iter().filter(|outcome| outcome.verdict == Some(RolloutVerdict::RolledBack)).count()
}

#[test]
fn the_same_seed_gives_the_same_runs_and_another_gives_others() {
    let trial = trial(&[10, 100], MINUTE, Traffic { errors: 0.01, ..Traffic::default() });
    let runs = trial.run(20, 7, || {});
    assert_eq!(trial.run(20, 7, || {}), runs);
    assert_ne!(trial.run(20, 8, || {}), runs);
    assert!(runs.windows(2).any(|pair| pair[0] != pair[1]));
}

#[test]
fn a_fault_is_rolled_back_soon_after_it_begins() {
    let fault = Fault { from: 3 * MINUTE, kind: FaultKind::Errors(0.2) };
    let traffic = Traffic { fault: Some(fault), ..Traffic::default() };
    let outcomes = trial(&[5, 25, 100], 5 * MINUTE, traffic).run(50, 1, || {});
    assert_eq!(rolled_back(&outcomes), 50);
    let mean = |of: fn(&Outcome) -> f64| outcomes.iter().map(of).sum::<f64>() / 50.0;
    let (delay, met) = (mean(|o| o.bad_seconds), mean(|o| o.met_bad as f64));
    assert!((1.0..20.0).contains(&delay), "{delay}");
    assert!((met / (5.0 * delay) - 1.0).abs() < 0.2, "{met} requests at 5 a second in {delay} s");
}

#[test]
fn disturbances_of_both_versions_cause_no_rollback() {
    let incident = Incident { from: 5 * MINUTE, lasts: 5 * MINUTE, errors: 0.5 };
    let shared = Traffic { incident: Some(incident), errors: 0.01, ..Traffic::default() };
    let askew = Traffic { scrape_skew: Duration::from_secs(1), ..shared.clone() };
    let fleet =
        Traffic { proxies: 3, scrape_loss: 0.1, restarts: Some(2 * MINUTE), ..shared.clone() };
    let slow = LatencyModel { median_ms: 2_000.0, p99_ms: 6_000.0 };
    let slow = Traffic { latency: slow, errors: 0.05, ..Traffic::default() };
    for traffic in [shared, askew, fleet, slow] {
        let outcomes = trial(&[1, 25, 50, 100], 4 * MINUTE, traffic.clone()).run(40, 1, || {});
        assert!(rolled_back(&outcomes) <= 1, "{} of 40: {traffic:?}", rolled_back(&outcomes));
        assert!(outcomes.iter().all(|outcome| outcome.verdict.is_some()));
    }
}

/// Two percent of 200 users fail half of their requests with any version. Half of the users are
/// seldom exactly as bad as the others.
#[test]
fn an_aa_test_prevents_rollbacks_for_the_habits_of_users() {
    let users = |watched, salts| {
        let (failing, failures) = (0.02, 0.5);
        let users = UserPopulation { count: 200, zipf: 0.0, failing, failures, watched, salts };
        let traffic = Traffic { users: Some(users), ..Traffic::default() };
        rolled_back(&trial(&[50, 100], 30 * MINUTE, traffic).run(40, 1, || {}))
    };
    assert!(users(Duration::ZERO, 1) > 10, "the scenario is a hard one");
    assert!(users(60 * MINUTE, 16) <= 1);
}

/// The bounds of the users do not hide a fault.
#[test]
fn a_fault_is_found_after_an_aa_test() {
    let (failing, failures) = (0.02, 0.5);
    let watched = 60 * MINUTE;
    let users = UserPopulation { count: 200, zipf: 0.0, failing, failures, watched, salts: 16 };
    let fault = Fault { from: Duration::ZERO, kind: FaultKind::Errors(0.1) };
    let traffic = Traffic { users: Some(users), fault: Some(fault), ..Traffic::default() };
    assert_eq!(rolled_back(&trial(&[5, 50, 100], 10 * MINUTE, traffic).run(40, 1, || {})), 40);
}

#[test]
fn a_configured_dispersion_tolerates_bursts() {
    let bursts = Bursts { every: 2 * MINUTE, lasts: Duration::from_secs(2), errors: 0.3 };
    let mut trial =
        trial(&[50, 100], 30 * MINUTE, Traffic { bursts: Some(bursts), ..Traffic::default() });
    let unaware = rolled_back(&trial.run(40, 1, || {}));
    trial.plan.judge.dispersion = 20.0;
    let aware = rolled_back(&trial.run(40, 1, || {}));
    assert!(unaware > 10 && aware <= 2, "{unaware} {aware}");
}
