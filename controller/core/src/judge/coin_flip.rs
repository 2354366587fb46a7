//! The stratified coin-flip e-process: tests whether the candidate's share of bad requests is
//! above, or below, the margin over the baseline's.
//!
//! Null hypothesis of the test of [harm](Direction::Harm): `p_c <= r * p_b + d` in every block,
//! with a relative tolerance r >= 1 and an absolute one d >= 0. In a block with `n_b` and `n_c`
//! requests, a bad request would under the null be the candidate's with probability at most `u =
//! r*n_c / (r*n_c + n_b)`; for each factor g > 1 of a grid the process bets that it is more often.
//! For every g,
//!
//! ```text
//! l(g) += k_c*ln g - (k_c + k_b)*ln(1 + x) - d*n_c*(g-1)*(1-u)/(1+x),   x = u*(g-1)
//! ```
//!
//! is the logarithm of a non-negative process whose expectation never exceeds 1 under the null,
//! whatever `p_b` does and however often one looks: it is at most `exp(n_c*(a-1)*(p_c - r*p_b -
//! d))` with `a = g/(1+x)`. So the mixture E reaches 1/alpha with a probability of at most alpha
//! (Ville's inequality). Comparing within each block is what makes an incident that both versions
//! share harmless.
//!
//! With g < 1 the sign of `a - 1` turns round, and the same formula tests the opposite null `p_c >=
//! r * p_b + d`: evidence that the candidate is [safe](Direction::Safe), no worse than its margin.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::{Arm, Block};
use crate::judge::wealth::Wealth;

/// The number of bets.
pub(super) const BETS: usize = 13;

/// The assumed factors above the margin, one bet for each.
const HARM_FACTORS: [f64; BETS] =
    [1.25, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 32.0, 64.0, 128.0, 1024.0];

/// See [`CoinFlip::restarting_where_rare`].
const RARE_MIN_FACTOR: f64 = 8.0;

/// The assumed factors below the margin, for the test of safety. A candidate as good as the
/// baseline is close to its margin, so the bets are dense there.
const SAFETY_FACTORS: [f64; BETS] =
    [1.1, 1.2, 1.4, 1.6, 1.8, 2.1, 2.5, 3.0, 4.0, 6.0, 12.0, 40.0, 1024.0];

/// The hypothesis that a test gathers evidence for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Direction {
    /// The candidate is worse than its margin allows.
    Harm,
    /// The candidate is better than its margin allows.
    Safe,
}

/// The factors g of a direction with their logarithms.
#[derive(Debug)]
struct FactorGrid {
    g: [f64; BETS],
    ln_g: [f64; BETS],
}

static HARM: LazyLock<FactorGrid> = LazyLock::new(|| FactorGrid::new(HARM_FACTORS));
static SAFE: LazyLock<FactorGrid> =
    LazyLock::new(|| FactorGrid::new(SAFETY_FACTORS.map(f64::recip)));

impl FactorGrid {
    fn new(g: [f64; BETS]) -> Self {
        Self { g, ln_g: g.map(f64::ln) }
    }
}

impl Direction {
    fn grid(self) -> &'static FactorGrid {
        match self {
            Self::Harm => &HARM,
            Self::Safe => &SAFE,
        }
    }
}

/// The tolerated excess over the baseline.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Margin {
    /// r: the factor allowed, at least 1.
    pub relative: f64,
    /// d: the share of requests allowed on top, 0 to 1.
    pub absolute: f64,
}

/// Bad requests of both versions in one block. Whole numbers when observed, any when expected.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct BadCounts {
    /// k_b: the baseline's.
    pub baseline: f64,
    /// k_c: the candidate's.
    pub candidate: f64,
}

impl BadCounts {
    /// The bad requests of a block, of those that `count` counts.
    pub(super) fn of(block: &Block, count: impl Fn(&Arm) -> u64) -> Self {
        Self { baseline: count(&block.baseline) as f64, candidate: count(&block.candidate) as f64 }
    }
}

/// The odds of a block from its numbers of requests, before the bad ones: the same for every SLI
/// with the same relative tolerance.
#[derive(Debug, Clone)]
pub struct Odds {
    grid: &'static FactorGrid,
    /// ln(1 + x) for each g: what each bad request costs a bet.
    ln_cost: [f64; BETS],
    /// What each unit of d costs a bet.
    allowance: [f64; BETS],
}

impl Odds {
    /// The odds in a block; `None` if a version has no requests, as then nothing is compared.
    #[must_use]
    pub fn new(direction: Direction, relative: f64, baseline: f64, candidate: f64) -> Option<Self> {
        if baseline <= 0.0 || candidate <= 0.0 {
            return None;
        }
        let weighted = relative * candidate;
        let u = weighted / (weighted + baseline);
        let grid = direction.grid();
        let x = grid.g.map(|g| u * (g - 1.0));
        let allowance = grid.g.map(|g| candidate * (g - 1.0) * (1.0 - u) / (1.0 + u * (g - 1.0)));
        Some(Self { grid, ln_cost: x.map(f64::ln_1p), allowance })
    }

    /// The odds of an observed block.
    pub(super) fn of(direction: Direction, relative: f64, block: &Block) -> Option<Self> {
        let requests = |arm: &Arm| arm.requests as f64;
        Self::new(direction, relative, requests(&block.baseline), requests(&block.candidate))
    }

    /// The gain of each bet by `bad`, without the absolute tolerance.
    pub(super) fn gains(&self, bad: BadCounts) -> impl Iterator<Item = f64> {
        let all = bad.candidate + bad.baseline;
        let terms = self.grid.ln_g.iter().zip(&self.ln_cost);
        terms.map(move |(ln_g, ln_cost)| bad.candidate * ln_g - all * ln_cost)
    }

    /// The loss of each bet by each unit of the absolute tolerance.
    pub(super) fn allowance(&self) -> impl Iterator<Item = f64> {
        self.allowance.iter().copied()
    }
}

/// The state of one test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CoinFlip {
    pub(super) wealth: Wealth,
    /// The number of bets left out, on the smallest factors.
    skipped_bets: usize,
}

impl CoinFlip {
    /// A test that stays sensitive over a rollout planned to last `slots` slots.
    #[must_use]
    pub fn restarting(slots: u32) -> Self {
        Self { wealth: Wealth::with_reserve(slots, BETS), skipped_bets: 0 }
    }

    /// The same for rare bad requests: there a worse candidate is many times worse, and bets below
    /// [`RARE_MIN_FACTOR`] would be lost.
    #[must_use]
    pub(super) fn restarting_where_rare(slots: u32) -> Self {
        let skipped_bets = HARM_FACTORS.iter().take_while(|g| **g < RARE_MIN_FACTOR).count();
        Self { wealth: Wealth::with_reserve(slots, BETS - skipped_bets), skipped_bets }
    }

    /// A test from now on, without a reserve.
    #[must_use]
    pub fn fully_invested() -> Self {
        Self { wealth: Wealth::fully_invested(BETS), skipped_bets: 0 }
    }

    /// Adds a block: its odds, its bad requests, the absolute tolerance d, and the dispersion (at
    /// least 1), the variance / mean of bursts. A fraction of a gain keeps the expectation at most
    /// 1.
    pub fn add(&mut self, odds: &Odds, bad: BadCounts, absolute: f64, dispersion: f64) {
        let gains = odds.gains(bad).zip(odds.allowance()).skip(self.skipped_bets);
        self.wealth.gain(gains.map(|(gain, unit)| (gain - absolute * unit) / dispersion));
    }

    /// ln E. Evidence at level alpha when it reaches `ln(1/alpha)`.
    #[must_use]
    pub fn ln_e(&self) -> f64 {
        self.wealth.ln_e()
    }
}

#[cfg(test)]
mod tests;
