//! A confidence interval of the difference of the failure rates, valid at all times together.
//!
//! The coin-flip test (see [`super::coin_flip`]) can be evaluated for every absolute margin d at
//! once: with A0 the part of each bet's gain without d, and B the part that each unit of d takes
//! from it, `ln E(d) = LSE(ln w + A0 - d*B)`. The interval contains the differences that are not
//! rejected, at half the error probability on each side: from below by the test of harm, from above
//! by the test of safety. The number of looks does not matter.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Block;
use super::coin_flip::{BETS, BadCounts, Direction, Odds};
use super::wealth::mean_ln_e;

/// The probability that the interval ever misses the difference.
const MISS_PROBABILITY: f64 = 0.05;

/// The 95 % confidence interval of the candidate's failure rate minus the baseline's, valid at all
/// times together. From -1 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Interval {
    /// Lower limit.
    pub low: f64,
    /// Upper limit.
    pub high: f64,
}

/// The state of the interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Difference {
    harm: OneSidedBets,
    safe: OneSidedBets,
}

/// The bets of one direction, each with A0 and B.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct OneSidedBets {
    direction: Direction,
    bets: [(f64, f64); BETS],
}

impl Difference {
    pub(super) fn new() -> Self {
        let side = |direction| OneSidedBets { direction, bets: [(0.0, 0.0); BETS] };
        Self { harm: side(Direction::Harm), safe: side(Direction::Safe) }
    }

    pub(super) fn add(&mut self, block: &Block) {
        self.harm.add(block);
        self.safe.add(block);
    }

    pub(super) fn interval(&self) -> Interval {
        let refuted = (2.0 / MISS_PROBABILITY).ln();
        Interval {
            // A larger margin lowers the evidence of harm and raises that of safety.
            low: bisect(-1.0, 1.0, |d| self.harm.ln_e(d) < refuted),
            high: bisect(-1.0, 1.0, |d| self.safe.ln_e(d) >= refuted),
        }
    }
}

impl OneSidedBets {
    fn add(&mut self, block: &Block) {
        let Some(odds) = Odds::of(self.direction, 1.0, block) else { return };
        let gains = odds.gains(BadCounts::of(block, |arm| arm.failures)).zip(odds.allowance());
        for ((gained, taken), (gain, unit)) in self.bets.iter_mut().zip(gains) {
            *gained += gain;
            *taken += unit;
        }
    }

    fn ln_e(&self, d: f64) -> f64 {
        mean_ln_e(self.bets.iter().map(|(gained, taken)| gained - d * taken)).unwrap_or(0.0)
    }
}

/// The smallest number from `below` to `above` at which the condition holds; `above` if it never
/// does.
pub(super) fn bisect(mut below: f64, mut above: f64, holds: impl Fn(f64) -> bool) -> f64 {
    if holds(below) {
        return below;
    }
    for _ in 0..40 {
        let middle = f64::midpoint(below, above);
        if holds(middle) { above = middle } else { below = middle }
    }
    above
}

#[cfg(test)]
mod tests {
    use super::super::Arm;
    use super::*;

    fn seen(blocks: u64, failures: (u64, u64)) -> Interval {
        let arm = |requests, failures| Arm { requests, failures, slower: Vec::new() };
        let mut difference = Difference::new();
        for _ in 0..blocks {
            let (baseline, candidate) = failures;
            let block = Block { baseline: arm(950, baseline), candidate: arm(50, candidate) };
            difference.add(&block);
        }
        difference.interval()
    }

    #[test]
    fn it_begins_with_everything_and_narrows_around_the_difference() {
        assert_eq!(seen(0, (0, 0)), Interval { low: -1.0, high: 1.0 });
        let [few, many] = [5, 500].map(|blocks| seen(blocks, (19, 3)));
        for Interval { low, high } in [few, many] {
            assert!(low < 0.04 && high > 0.04, "{low} {high}");
        }
        assert!(many.low > 0.03 && many.high < 0.05, "{many:?}");
        assert!(few.high - few.low > 3.0 * (many.high - many.low), "{few:?}");
    }

    #[test]
    fn a_better_candidate_has_a_negative_difference() {
        let Interval { low, high } = seen(500, (95, 1));
        assert!(low > -0.1 && high < -0.06, "{low} {high}");
    }
}
