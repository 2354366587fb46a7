//! The likelihood-ratio e-process: the test of the [coin flip](super::coin_flip) for common bad
//! requests.
//!
//! The coin flip uses bad requests only. Where more than one request in ten is "bad", as beyond a
//! latency boundary near the median, the good ones are nearly as informative, and the coin flip
//! takes twice the requests. This test uses both. For each bet, with the baseline's recent rate
//! `p_b` and a rate `p_c` of the candidate above the margin, it takes the point
//! `(q_b, q_c = r*q_b + d)` of the null nearest to them in Kullback-Leibler divergence for these numbers of requests,
//! and gains
//!
//! ```text
//! l += k_c*ln(1 + (1-q_c)*c_c) + (n_c-k_c)*ln(1 - q_c*c_c) + k_b*ln(1 + (1-q_b)*c_b) + (n_b-k_b)*ln(1 - q_b*c_b)
//! ```
//!
//! with `c_c = (p_c - q_c) / (q_c*(1-q_c))` and `c_b = -r*n_c*c_c / n_b`. That is the likelihood
//! ratio when q is the nearest point exactly. As `ln(1 + y) <= y`, the logarithm of the expectation
//! is at most `n_c*c_c*(s_c - q_c) + n_b*c_b*(s_b - q_b) = n_c*c_c*(s_c - r*s_b - d)` for true
//! rates s, so never above 0 under the null: whatever `p_b` and q are, and if the rates change
//! within the block. Only how fast evidence gathers depends on them.

use serde::{Deserialize, Serialize};

use super::coin_flip::{BadCounts, Margin};
use crate::judge::wealth::Wealth;

/// The assumed odds ratios of the candidate, one bet for each.
const ODDS_RATIOS: [f64; 6] = [1.1, 1.3, 1.8, 3.0, 8.0, 50.0];

/// The number of the baseline's requests that estimate its rate. Older ones decay, so the estimate
/// follows the time of day.
const MAX_REMEMBERED_REQUESTS: f64 = 10_000.0;

/// The iterations towards the nearest point; more make no difference.
const ITERATIONS: usize = 2;

/// The largest fraction of its wealth that a bet loses by one request.
const MAX_BET_FRACTION: f64 = 0.9;

/// Requests of both versions in one block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct RequestCounts {
    pub(super) baseline: f64,
    pub(super) candidate: f64,
}

/// The state of one test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct LikelihoodRatio {
    pub(super) wealth: Wealth,
    /// The decayed counts of the baseline's requests and of the bad ones.
    remembered: f64,
    remembered_bad: f64,
}

impl LikelihoodRatio {
    /// A test that stays sensitive over a rollout planned to last `slots` slots, after a baseline
    /// with `bad` of `requests`.
    pub(super) fn restarting(slots: u32, requests: f64, bad: f64) -> Self {
        let wealth = Wealth::with_reserve(slots, ODDS_RATIOS.len());
        Self { wealth, remembered: requests, remembered_bad: bad }
    }

    /// Adds a block in which both versions have requests.
    pub(super) fn add(
        &mut self,
        n: RequestCounts,
        bad: BadCounts,
        margin: Margin,
        dispersion: f64,
    ) {
        // Strictly between 0 and 1.
        let usual = (self.remembered_bad + 0.5) / (self.remembered + 1.0);
        let gain = |odds: f64| Bet::new(odds, usual, n, margin).map_or(0.0, |bet| bet.gain(n, bad));
        self.wealth.gain(ODDS_RATIOS.into_iter().map(|odds| gain(odds) / dispersion));
        let kept = (-n.baseline / MAX_REMEMBERED_REQUESTS).exp();
        self.remembered = kept * self.remembered + n.baseline;
        self.remembered_bad = kept * self.remembered_bad + bad.baseline;
    }
}

/// A bet on one block: the point of the null, and the gain of each bad request.
struct Bet {
    q_b: f64,
    q_c: f64,
    c_b: f64,
    c_c: f64,
}

impl Bet {
    /// `None` if the assumed rate is within the margin.
    fn new(
        odds: f64,
        p_b: f64,
        n: RequestCounts,
        Margin { relative, absolute }: Margin,
    ) -> Option<Self> {
        let allowed = relative * p_b + absolute;
        let p_c = odds * allowed / (1.0 - allowed + odds * allowed);
        if allowed >= 1.0 {
            return None;
        }
        let variance = |q: f64| q * (1.0 - q);
        let q_c = |q_b: f64| (relative * q_b + absolute).min(0.999_999);
        let mut q_b = p_b;
        for _ in 0..ITERATIONS {
            let of_b = n.baseline / variance(q_b);
            let of_c = relative * n.candidate / variance(q_c(q_b));
            let nearest = (of_b * p_b + of_c * (p_c - absolute)) / (of_b + relative * of_c);
            q_b = nearest.clamp(1e-6, 1.0 - 1e-6);
        }
        let q_c = q_c(q_b);
        // With a clamped rate the point is not on the null's boundary.
        if relative * q_b + absolute > q_c || p_c <= q_c {
            return None;
        }
        let c_c = (p_c - q_c) / variance(q_c);
        let c_b = -relative * n.candidate * c_c / n.baseline;
        let boldness = (q_c * c_c).max(-(1.0 - q_b) * c_b);
        let tame = (MAX_BET_FRACTION / boldness).min(1.0);
        Some(Self { q_b, q_c, c_b: c_b * tame, c_c: c_c * tame })
    }

    fn gain(&self, n: RequestCounts, bad: BadCounts) -> f64 {
        let Self { q_b, q_c, c_b, c_c } = self;
        let part = |n: f64, k: f64, q: f64, c: f64| {
            k * ((1.0 - q) * c).ln_1p() + (n - k) * (-q * c).ln_1p()
        };
        part(n.candidate, bad.candidate, *q_c, *c_c) + part(n.baseline, bad.baseline, *q_b, *c_b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binomial(n: u32, k: u32, p: f64) -> f64 {
        let ways = (0..k).fold(1.0, |ways, i| ways * f64::from(n - i) / f64::from(i + 1));
        ways * p.powi(k as i32) * (1.0 - p).powi((n - k) as i32)
    }

    /// Enumerates all outcomes of two blocks on the boundary of the null, for several past rates of
    /// the baseline.
    #[test]
    fn expectation_never_exceeds_one_on_the_boundary() {
        let margins = [(1.0, 0.0), (1.1, 0.005), (1.5, 0.1)];
        for (relative, absolute) in margins {
            let margin = Margin { relative, absolute };
            for (n_b, n_c, p_b, remembered) in
                [(9_u32, 3_u32, 0.5, 0.5), (5, 5, 0.3, 0.05), (4, 9, 0.15, 0.6), (9, 2, 0.02, 0.9)]
            {
                let p_c = relative * p_b + absolute;
                let n = RequestCounts { baseline: n_b.into(), candidate: n_c.into() };
                let outcomes = || {
                    (0..=n_b).flat_map(move |k_b| (0..=n_c).map(move |k_c| (k_b, k_c))).map(
                        move |(k_b, k_c)| {
                            let chance = binomial(n_b, k_b, p_b) * binomial(n_c, k_c, p_c);
                            (chance, BadCounts { baseline: k_b.into(), candidate: k_c.into() })
                        },
                    )
                };
                let mut expectation = 0.0;
                for (first_chance, first) in outcomes() {
                    let mut test = LikelihoodRatio::restarting(3, 100.0, 100.0 * remembered);
                    test.add(n, first, margin, 1.0);
                    test.wealth.pass_slot();
                    for (second_chance, second) in outcomes() {
                        let mut test = test.clone();
                        test.add(n, second, margin, 1.0);
                        expectation += first_chance * second_chance * test.wealth.ln_e().exp();
                    }
                }
                assert!(expectation <= 1.0 + 1e-12, "{margin:?} {p_b}: {expectation}");
                assert!(expectation > 0.5, "{margin:?} {p_b} hardly bets: {expectation}");
            }
        }
    }

    #[test]
    fn where_bad_requests_are_common_it_gathers_more_than_the_coin_flip() {
        let n = RequestCounts { baseline: 9_500.0, candidate: 500.0 };
        let bad = BadCounts { baseline: 4_750.0, candidate: 300.0 };
        let margin = Margin { relative: 1.0, absolute: 0.0 };
        let mut ratio = LikelihoodRatio::restarting(30, 1_000.0, 500.0);
        ratio.add(n, bad, margin, 1.0);
        let mut flip = super::super::coin_flip::CoinFlip::restarting(30);
        let odds = super::super::coin_flip::Odds::new(
            super::super::coin_flip::Direction::Harm,
            1.0,
            9_500.0,
            500.0,
        );
        flip.add(&odds.unwrap(), bad, 0.0, 1.0);
        let (ratio, flip) = (ratio.wealth.ln_e(), flip.ln_e());
        assert!(ratio > 1.5 * flip && flip > 0.0, "{ratio} {flip}");
    }
}
