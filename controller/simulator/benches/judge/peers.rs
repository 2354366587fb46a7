//! Time to rollback and requests that met a bad candidate, by serin and by the peers' rules, against the same traffic.

use std::time::Duration;

use serin_core::judge::Settings;
use serin_core::rollout::event::RolloutVerdict;
use serin_core::rollout::plan::{Plan, Step};
use serin_filter::histogram::BOUNDARIES_US;
use serin_filter::table::Weight;
use serin_simulator::traffic::{Fault, FaultKind, Traffic};
use serin_simulator::trial::{Outcome, Trial};

const RULES: [&str; 7] = [
    "serin",
    "flagger:10s:1",
    "flagger:60s:5",
    "flagger:60s:10",
    "argo:60s:0",
    "argo:60s:3",
    "argo:5m:3",
];

/// Steps of these percentages, each of the same bake and 100 requests, judged as by default.
pub(crate) fn plan(percents: &[u32], bake: Duration) -> Plan {
    let step = |percent: &u32| Step {
        bake,
        requests: 100,
        ..Step::at(Weight::from_ppm(percent * 10_000).expect("a percentage"))
    };
    let boundaries = BOUNDARIES_US.iter().filter(|us| **us >= 5_000);
    Plan {
        name: "shop-v2".to_owned(),
        service: "shop".parse().expect("a name"),
        baseline: "v1".parse().expect("a name"),
        candidate: "v2".parse().expect("a name"),
        steps: percents.iter().map(step).collect(),
        window: Duration::ZERO,
        budget: None,
        breaking: false,
        freezes: Default::default(),
        judge: Settings {
            boundaries_ms: boundaries.map(|us| f64::from(*us) / 1_000.0).collect(),
            ..Settings::default()
        },
        interval: Duration::from_secs(1),
        sticky: false,
        aa_test: None,
        hooks: Default::default(),
        replacement: None,
        metrics: None,
    }
}

pub(crate) fn table(runs: u32) {
    println!("By rule, at 200 requests a second, steps 5-25-50-100 % of 5 minutes ({runs} runs)");
    println!(
        "each cell: rolled back; median time to rollback (95th percentile); median requests that met the bad version until the end"
    );
    print!("  {:<16}", "fault");
    RULES.iter().for_each(|rule| print!(" | {rule:^29}"));
    println!();
    let faults = [
        ("0->100 % fail", 0.0, Some(FaultKind::Errors(1.0))),
        ("0.1->1 % fail", 0.001, Some(FaultKind::Errors(0.01))),
        ("1->5 % fail", 0.01, Some(FaultKind::Errors(0.05))),
        ("all x1.2 slower", 0.001, Some(FaultKind::Slower(1.2))),
        ("2 % get +2 s", 0.001, Some(FaultKind::Tail(0.02, Duration::from_secs(2)))),
        ("none, 0.1 % fail", 0.001, None),
        ("none, 1 % fail", 0.01, None),
    ];
    for (name, errors, fault) in faults {
        print!("  {name:<16}");
        for rule in RULES {
            let trial = Trial {
                plan: plan(&[5, 25, 50, 100], Duration::from_secs(300)),
                traffic: Traffic {
                    rate: 200.0,
                    errors,
                    fault: fault.map(|kind| Fault { from: Duration::ZERO, kind }),
                    ..Traffic::default()
                },
                rule: rule.parse().expect("a rule"),
                horizon: Duration::from_secs(7_200),
            };
            print!(" | {:>29}", cell(&trial.run(runs, 1, || {})));
        }
        println!();
    }
}

fn cell(outcomes: &[Outcome]) -> String {
    let back = || outcomes.iter().filter(|o| o.verdict == Some(RolloutVerdict::RolledBack));
    let share = 100.0 * back().count() as f64 / outcomes.len() as f64;
    let met = quantile(outcomes.iter().map(|o| o.met_bad as f64), 0.5);
    if share == 0.0 {
        return format!("0 %; never; {met:.0}");
    }
    let seconds = |q| quantile(back().map(|o| o.bad_seconds), q);
    format!("{share:.0} %; {:.0} s ({:.0}); {met:.0}", seconds(0.5), seconds(0.95))
}

fn quantile(of: impl Iterator<Item = f64>, q: f64) -> f64 {
    let mut all: Vec<f64> = of.collect();
    all.sort_by(f64::total_cmp);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // an index
    let index = (q * (all.len() as f64 - 1.0)).round() as usize;
    all.get(index).copied().unwrap_or(f64::NAN)
}
