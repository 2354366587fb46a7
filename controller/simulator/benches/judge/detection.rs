//! Candidate requests until errors are detected, against the Wald bound: `ln(1/alpha)` over the information in one request of the candidate
//! (and the baseline's that come with it) against the nearest null.

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rayon::prelude::*;
use serin_core::judge::coin_flip::{BadCounts, CoinFlip, Direction, Margin, Odds};
use serin_core::judge::{Arm, Block, Judge, Settings};
use serin_simulator::sampling::binomial;

use crate::mean;

const RATE: u64 = 100;
const LIMIT: f64 = 4.605_170_185_988_092;

pub(crate) fn table(runs: u32) {
    println!(
        "Detection of errors at {RATE} requests a second: mean candidate requests ({runs} runs)"
    );
    println!(
        "  {:<12} {:>6} {:>8} | {:>26} | {:>26} | {:>18}",
        "change", "split", "bound", "no margin, no restart", "no margin, restart", "as by default"
    );
    for (p_b, p_c) in [(0.001, 0.01), (0.01, 0.02), (0.01, 0.05), (0.0, 1.0)] {
        for split in [0.01, 0.05, 0.5] {
            let bound = if p_b > 0.0 { wald(p_b, p_c, split) } else { f64::NAN };
            let cell = |detect: &(dyn Fn(u64) -> f64 + Sync)| {
                let seeds = (0..runs).into_par_iter().map(u64::from);
                mean(&seeds.map(detect).collect::<Vec<f64>>())
            };
            let (p, usual) = ((p_b, p_c), Settings { latency: None, ..Settings::default() });
            let errors = Margin { relative: 1.0, absolute: 0.0 };
            let plain = Settings { errors, cap: false, ..usual.clone() };
            let (without, without_ci) = cell(&|seed| by_test(seed, p, split));
            let (with, with_ci) = cell(&|seed| by_judge(seed, p, split, &plain));
            let (usual, usual_ci) = cell(&|seed| by_judge(seed, p, split, &usual));
            println!(
                "  {:<12} {:>6} {:>8.0} | {:>8.0} ± {:>3.0} ({:>5.2} x) | {:>8.0} ± {:>3.0} ({:>5.2} x) | {:>8.0} ± {:>3.0}",
                format!("{}->{} %", p_b * 100.0, p_c * 100.0),
                format!("{} %", split * 100.0),
                bound,
                without,
                without_ci,
                without / bound,
                with,
                with_ci,
                with / bound,
                usual,
                usual_ci
            );
        }
    }
}

/// Requests of the candidate until E reaches 1/alpha, one look a second, by the judge as it is.
fn by_judge(seed: u64, p: (f64, f64), split: f64, settings: &Settings) -> f64 {
    let mut judge = Judge::new(settings.clone());
    until(seed, p, split, |second, block| {
        judge.observe(second, block);
        judge.ln_e() >= settings.limit() - 1e-9
    })
}

/// The same by the bare test, without restart.
fn by_test(seed: u64, p: (f64, f64), split: f64) -> f64 {
    let Settings { block_min, .. } = Settings::default();
    let mut test = CoinFlip::fully_invested();
    let mut pending = Block::default();
    until(seed, p, split, |_, block| {
        pending.add(block);
        if pending.smaller_arm() < block_min {
            return false;
        }
        let Block { baseline, candidate } = std::mem::take(&mut pending);
        let (n_b, n_c) = (baseline.requests as f64, candidate.requests as f64);
        let bad =
            BadCounts { baseline: baseline.failures as f64, candidate: candidate.failures as f64 };
        let odds = Odds::new(Direction::Harm, 1.0, n_b, n_c).expect("both have requests");
        test.add(&odds, bad, 0.0, 1.0);
        test.ln_e() >= LIMIT
    })
}

fn until(
    seed: u64,
    (p_b, p_c): (f64, f64),
    split: f64,
    mut detected: impl FnMut(f64, &Block) -> bool,
) -> f64 {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut met = 0;
    for second in 1_u32.. {
        let candidate = binomial(RATE, split, &mut rng);
        met += candidate;
        let mut arm = |requests, rate| Arm {
            requests,
            failures: binomial(requests, rate, &mut rng),
            slower: Vec::new(),
        };
        let block = Block { baseline: arm(RATE - candidate, p_b), candidate: arm(candidate, p_c) };
        if detected(f64::from(second), &block) {
            break;
        }
    }
    met as f64
}

fn wald(p_b: f64, p_c: f64, split: f64) -> f64 {
    let ratio = (1.0 - split) / split;
    let q = (p_c + ratio * p_b) / (1.0 + ratio);
    LIMIT / (divergence(p_c, q) + ratio * divergence(p_b, q))
}

/// Kullback-Leibler divergence of Bernoulli distributions.
pub(crate) fn divergence(p: f64, q: f64) -> f64 {
    let part = |p: f64, q: f64| if p > 0.0 { p * (p / q).ln() } else { 0.0 };
    part(p, q) + part(1.0 - p, 1.0 - q)
}
