use serin_core::judge::Settings;
use serin_core::rollout::event::RolloutVerdict;
use serin_core::rollout::plan::Step;
use serin_filter::table::Weight;

use super::*;
use crate::traffic::{Fault, FaultKind, Traffic};
use crate::trial::{Outcome, Trial};

const MINUTE: Duration = Duration::from_secs(60);

fn run(rule: &str, fault: Option<FaultKind>) -> Outcome {
    let step = |percent: u32| Step {
        bake: 10 * MINUTE,
        requests: 1,
        ..Step::at(Weight::from_ppm(percent * 10_000).unwrap())
    };
    let trial = Trial {
        plan: Plan {
            name: "shop-v2".to_owned(),
            service: "shop".parse().unwrap(),
            baseline: "v1".parse().unwrap(),
            candidate: "v2".parse().unwrap(),
            steps: [10, 50, 100].map(step).into(),
            window: Duration::ZERO,
            budget: None,
            breaking: false,
            freezes: Default::default(),
            judge: Settings::default(),
            interval: Duration::from_secs(1),
            sticky: false,
            aa_test: None,
            hooks: Default::default(),
            replacement: None,
            metrics: None,
        },
        traffic: Traffic {
            fault: fault.map(|kind| Fault { from: Duration::ZERO, kind }),
            ..Traffic::default()
        },
        rule: rule.parse().unwrap(),
        horizon: 120 * MINUTE,
    };
    trial.run_once(1)
}

/// The times that follow from the sources: a permanent fault is rolled back (T+1) intervals after
/// the first shift, n weights take n+2.
#[test]
fn flagger_rolls_back_after_its_threshold() {
    for (rule, expected) in
        [("flagger:60s:5", 360.0), ("flagger:60s:10", 660.0), ("flagger:10s:1", 20.0)]
    {
        let outcome = run(rule, Some(FaultKind::Errors(1.0)));
        assert_eq!(outcome.verdict, Some(RolloutVerdict::RolledBack));
        assert!((outcome.bad_seconds - expected).abs() < 1.0, "{rule}: {outcome:?}");
    }
    let healthy = run("flagger:60s:5", None);
    assert_eq!((healthy.verdict, healthy.seconds), (Some(RolloutVerdict::Promoted), 180.0));
}

/// With a limit of 3 the fourth failed measurement ends it.
#[test]
fn argo_rolls_back_after_its_limit() {
    for (rule, expected) in [("argo:60s:0", 10.0), ("argo:60s:3", 190.0), ("argo:5m:3", 910.0)] {
        let outcome = run(rule, Some(FaultKind::Errors(1.0)));
        assert_eq!(outcome.verdict, Some(RolloutVerdict::RolledBack), "{rule}");
        assert!((outcome.seconds - expected).abs() <= 10.0, "{rule}: {outcome:?}");
    }
    let healthy = run("argo:60s:3", None);
    assert_eq!((healthy.verdict, healthy.seconds), (Some(RolloutVerdict::Promoted), 1_800.0));
}

#[test]
fn a_fault_below_the_threshold_is_not_seen_by_the_peers_and_is_by_the_others() {
    for (rule, expected) in [
        ("flagger:60s:5", RolloutVerdict::Promoted),
        ("argo:60s:3", RolloutVerdict::Promoted),
        ("z:0.001", RolloutVerdict::RolledBack),
        ("serin", RolloutVerdict::RolledBack),
    ] {
        let outcome = run(rule, Some(FaultKind::Errors(0.005)));
        assert_eq!(outcome.verdict, Some(expected), "{rule}: {outcome:?}");
    }
}

#[test]
fn rules_are_written_as_they_are_read() {
    for rule in ["serin", "flagger:1m:5", "argo:10s:0", "z:0.05"] {
        assert_eq!(rule.parse::<DecisionRule>().unwrap().to_string(), rule);
    }
}

#[test]
fn invalid_rules_are_refused() {
    for bad in ["", "flagger", "flagger:1s:5", "flagger:60s", "argo:60:3", "z:0.7", "serin:1"] {
        assert!(bad.parse::<DecisionRule>().is_err(), "{bad}");
    }
}
