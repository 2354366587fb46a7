//! Candidate requests until a slower candidate is detected, by the latency test alone: no margin, no cap, at a split of 5 %.
//!
//! As in a rollout the baseline's requests of the time before the first judged block, [`LEARNED`], are learned from. The healthy latency is log-normal with a median of 100 ms and a p99 of 404 ms, for which the bounds are those of the design's table.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, LogNormal};
use rayon::prelude::*;
use serin_core::judge::coin_flip::Margin;
use serin_core::judge::{Arm, Block, Judge, Settings};
use serin_filter::histogram::BOUNDARIES_US;
use serin_simulator::sampling::binomial;

use crate::mean;

const RATE: u64 = 100;
const SPLIT: f64 = 0.05;
const SECONDS: u32 = 5_000;

/// From the start of a rollout to its first judged request, in seconds: the split goes live in about half a second, and the warm-up is
/// the baseline's p99.9, 0.64 s.
const LEARNED: u64 = 1;

/// What a request of the candidate takes, in milliseconds, from what it would take.
type Change = fn(f64, &mut SmallRng) -> f64;

pub(crate) fn table(runs: u32) {
    println!("Detection of latency at a split of 5 %: mean candidate requests ({runs} runs)");
    println!(
        "  {:<18} {:>8} {:>8} {:>16} {:>16} {:>8}",
        "change", "bound", "design", "serin", "without restart", "missed"
    );
    let changes: [(&str, f64, f64, Change); 5] = [
        ("all x1.1", 607.0, 987.0, |ms, _| ms * 1.1),
        ("all x1.2", 168.0, 291.0, |ms, _| ms * 1.2),
        ("all x2", 14.0, 26.0, |ms, _| ms * 2.0),
        (
            "2 % get +2 s",
            83.0,
            164.0,
            |ms, rng| if rng.random_bool(0.02) { ms + 2_000.0 } else { ms },
        ),
        ("0.5 % time out", 307.0, 573.0, |ms, rng| if rng.random_bool(0.005) { 1e4 } else { ms }),
    ];
    for (name, bound, design, change) in changes {
        let found: Vec<Option<(f64, f64)>> =
            (0..runs).into_par_iter().map(|run| detect(u64::from(run), change)).collect();
        let missed = found.iter().filter(|found| found.is_none()).count();
        let (without, with): (Vec<f64>, Vec<f64>) = found.into_iter().flatten().unzip();
        let ((without, without_ci), (with, with_ci)) = (mean(&without), mean(&with));
        println!(
            "  {name:<18} {bound:>8} {design:>8} {with:>10.0} ± {with_ci:>3.0} {without:>10.0} ± {without_ci:>3.0} {missed:>8}"
        );
    }
}

/// Candidate requests until E = 1/alpha: had all of the stake been put in at the start (half of it is, so E would be 2E - 1), and as it is.
fn detect(seed: u64, change: Change) -> Option<(f64, f64)> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let healthy = LogNormal::new(100_f64.ln(), 0.6).expect("a deviation above 0");
    let boundaries_ms: Vec<f64> =
        BOUNDARIES_US.iter().map(|us| f64::from(*us) / 1_000.0).filter(|ms| *ms >= 5.0).collect();
    let settings = Settings {
        latency: Some(Margin { relative: 1.0, absolute: 0.0 }),
        boundaries_ms: boundaries_ms.clone(),
        cap: false,
        ..Settings::default()
    };
    let mut judge = Judge::new(settings.clone());
    let mut met = 0;
    let mut without = None;
    let made = |change: Change, requests: u64, rng: &mut SmallRng| {
        let mut slower = vec![0; boundaries_ms.len()];
        for _ in 0..requests {
            let ms = change(healthy.sample(rng), rng);
            let below = boundaries_ms.partition_point(|boundary| *boundary < ms);
            slower.iter_mut().take(below).for_each(|count| *count += 1);
        }
        Arm { requests, failures: 0, slower }
    };
    judge.learn(0.0, made(|ms, _| ms, LEARNED * RATE, &mut rng));
    for second in 1..=SECONDS {
        let candidate = binomial(RATE, SPLIT, &mut rng);
        met += candidate;
        let baseline = made(|ms, _| ms, RATE - candidate, &mut rng);
        let block = Block { baseline, candidate: made(change, candidate, &mut rng) };
        let ruling = judge.observe(second.into(), &block);
        let e = ruling.and_then(|ruling| ruling.ln_e_latency).map_or(0.0, f64::exp);
        if 2.0 * e - 1.0 >= 1.0 / settings.alpha {
            without = without.or(Some(met as f64));
        }
        if e >= 1.0 / settings.alpha {
            return without.map(|without| (without, met as f64));
        }
    }
    None
}
