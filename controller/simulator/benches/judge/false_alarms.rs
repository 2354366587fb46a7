//! Rollbacks of a healthy candidate over a million requests, with a look each second.

use std::time::Duration;

use serin_core::judge::Settings;
use serin_core::judge::coin_flip::Margin;
use serin_core::rollout::event::RolloutVerdict;
use serin_simulator::peers::DecisionRule;
use serin_simulator::traffic::{Bursts, Incident, LatencyModel, Traffic};
use serin_simulator::trial::Trial;
use serin_simulator::users::UserPopulation;
use statrs::distribution::{Beta, ContinuousCDF};

use crate::peers::plan;

/// At 100 requests a second: a million.
const LONG: Duration = Duration::from_secs(10_000);

const RULES: [&str; 4] = ["serin", "z:0.05", "flagger:60s:5", "argo:60s:3"];

pub(crate) fn table(runs: u32) {
    println!(
        "Rollbacks of a healthy candidate, 1e6 requests, a look each second ({runs} runs; serin with its 95 % interval)"
    );
    print!("  {:<44}", "traffic");
    RULES.iter().for_each(|rule| print!(" {rule:>24}"));
    println!();
    for errors in [0.001, 0.01, 0.05] {
        for split in [1, 5, 50] {
            let name = format!("errors {} %, split {split} %", errors * 100.0);
            let traffic = Traffic { errors, ..Traffic::default() };
            row(&name, &[split], &traffic, &by_errors(), runs);
            let errors = Margin { relative: 1.0, absolute: 0.0 };
            let strict = Settings { errors, ..by_errors() };
            row(&format!("{name}, no margin"), &[split], &traffic, &strict, runs);
        }
    }
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let incident = Incident { from: minutes(30), lasts: minutes(20), errors: 0.5 };
    let shared = Traffic { incident: Some(incident), ..Traffic::default() };
    let skewed = Traffic { scrape_skew: Duration::from_secs(1), ..shared.clone() };
    let changing = [1, 5, 25, 50];
    let bursts = Bursts { every: minutes(5), lasts: Duration::from_secs(2), errors: 0.2 };
    let latency = LatencyModel { median_ms: 2_000.0, p99_ms: 6_000.0 };
    let slow = Traffic { latency, errors: 0.05, ..Traffic::default() };
    for (name, splits, traffic) in [
        ("shared incident of 50 %, split 5 %", &[5][..], shared.clone()),
        ("shared incident, split 1-5-25-50 %", &changing, shared),
        ("the same, scrapes up to 1 s askew", &changing, skewed),
        (
            "errors x4 an hour, split 1-5-25-50 %",
            &changing,
            Traffic { drift: 4.0, ..Traffic::default() },
        ),
        (
            "3 proxies, 5 % of scrapes lost, restarts",
            &changing,
            Traffic {
                proxies: 3,
                scrape_loss: 0.05,
                restarts: Some(minutes(10)),
                ..Traffic::default()
            },
        ),
        ("median 2 s, fast errors of 5 %", &changing, slow),
    ] {
        row(name, splits, &traffic, &by_errors(), runs);
    }
    for dispersion in [1.0, 8.0] {
        let traffic = Traffic { bursts: Some(bursts), ..Traffic::default() };
        let settings = Settings { dispersion, ..by_errors() };
        row(&format!("arm-tied bursts, dispersion {dispersion}"), &[5], &traffic, &settings, runs);
    }
    for (name, count, zipf, failing) in
        [("1 % of 10000 Zipf users", 10_000, 1.0, 0.01), ("2 % of 200 callers", 200, 0.0, 0.02)]
    {
        for (hours, salts) in [(0, 1), (1, 16), (3, 16)] {
            for split in [1, 5, 50] {
                let users = UserPopulation {
                    count,
                    zipf,
                    failing,
                    failures: 0.5,
                    watched: Duration::from_secs(3_600 * hours),
                    salts,
                };
                let name = format!("{name} fail half, split {split} %, {hours} h watched");
                let traffic = Traffic { users: Some(users), ..Traffic::default() };
                row(&name, &[split], &traffic, &by_errors(), runs);
            }
        }
    }
}

fn by_errors() -> Settings {
    Settings { latency: None, ..Settings::default() }
}

fn row(name: &str, splits: &[u32], traffic: &Traffic, settings: &Settings, runs: u32) {
    let steps: Vec<u32> = splits.iter().copied().chain([100]).collect();
    let mut plan = plan(&steps, LONG / u32::try_from(splits.len()).expect("few steps"));
    plan.judge = settings.clone();
    if let Some(last) = plan.steps.last_mut() {
        (last.bake, last.requests) = (Duration::ZERO, 0);
    }
    print!("  {name:<44}");
    for rule in RULES {
        let rule: DecisionRule = rule.parse().expect("a rule");
        let runs = if rule == DecisionRule::Serin { runs } else { runs.div_ceil(10) };
        let trial = Trial { plan: plan.clone(), traffic: traffic.clone(), rule, horizon: LONG * 2 };
        let outcomes = trial.run(runs, 1, || {});
        let back =
            outcomes.iter().filter(|o| o.verdict == Some(RolloutVerdict::RolledBack)).count();
        let share = 100.0 * back as f64 / f64::from(runs);
        if rule == DecisionRule::Serin {
            let (low, high) = interval(back, runs as usize);
            print!(" {:>24}", format!("{share:.2} % ({:.2}-{:.2})", low * 100.0, high * 100.0));
        } else {
            print!(" {:>24}", format!("{share:.1} %"));
        }
    }
    println!();
}

/// Clopper and Pearson's 95 % interval of a share.
fn interval(part: usize, whole: usize) -> (f64, f64) {
    let quantile = |a: usize, b: usize, q: f64| {
        Beta::new(a as f64, b as f64).map_or(f64::NAN, |beta| beta.inverse_cdf(q))
    };
    let low = if part == 0 { 0.0 } else { quantile(part, whole - part + 1, 0.025) };
    let high = if part == whole { 1.0 } else { quantile(part + 1, whole - part, 0.975) };
    (low, high)
}
