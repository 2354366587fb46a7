//! Wealth spread over bets: the mixture behind every test of the judge.
//!
//! Each bet multiplies its wealth by its gain from a block. Under the null hypothesis no bet gains
//! in expectation, so the sum E is an e-process for any spread.
//!
//! A test of a whole rollout reserves half of its wealth and invests it slot by slot (the restart
//! mixture). Otherwise a long healthy time uses up the wealth, and a late fault is found late.
//! After n of S planned slots, `0.5 * (S-1) / (S-1+n)` is still reserved: a rollout that exceeds
//! its plan many times has wealth left, and E never falls far.

use serde::{Deserialize, Serialize};

/// The reserved share at the start.
const RESERVED_SHARE: f64 = 0.5;

/// The state of a test. A test of harm is never reset within a rollout: a restart would spend alpha
/// again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Wealth {
    /// ln of each bet's wealth.
    ln_bets: Vec<f64>,
    /// The reserve and its schedule.
    reserve: Option<Reserve>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Reserve {
    /// The number of planned slots, at least 2.
    slots: u32,
    /// The number of slots passed.
    passed: u32,
}

impl Wealth {
    /// Wealth of 1, spread evenly over `bets` bets.
    #[must_use]
    pub fn fully_invested(bets: usize) -> Self {
        Self { ln_bets: vec![-(bets as f64).ln(); bets], reserve: None }
    }

    /// Wealth of 1 on `bets` bets, half of it reserved over `slots` planned slots.
    #[must_use]
    pub fn with_reserve(slots: u32, bets: usize) -> Self {
        let ln_bets = vec![((1.0 - RESERVED_SHARE) / bets as f64).ln(); bets];
        Self { ln_bets, reserve: Some(Reserve { slots: slots.max(2), passed: 0 }) }
    }

    /// Ends a slot: invests the next part of the reserve.
    pub fn pass_slot(&mut self) {
        let before = self.reserved();
        let Some(restart) = &mut self.reserve else { return };
        restart.passed = restart.passed.saturating_add(1);
        let ln_stake = ((before - self.reserved()) / self.ln_bets.len() as f64).ln();
        for ln_worth in &mut self.ln_bets {
            *ln_worth = ln_sum_exp([*ln_worth, ln_stake]);
        }
    }

    /// Multiplies the wealth of each bet by `exp` of its gain, in the order of the bets.
    pub fn gain(&mut self, gains: impl Iterator<Item = f64>) {
        for (ln_worth, gain) in self.ln_bets.iter_mut().zip(gains) {
            *ln_worth += gain;
        }
    }

    /// ln E: the total wealth.
    #[must_use]
    pub fn ln_e(&self) -> f64 {
        ln_sum_exp([self.ln_invested(), self.reserved().ln()])
    }

    /// ln of the invested wealth, without the reserve.
    pub(super) fn ln_invested(&self) -> f64 {
        // Bets this far below the largest vanish in rounding. Skipping them saves most of the time
        // of a long healthy run.
        const NEGLIGIBLE: f64 = -40.0;
        let largest = self.ln_bets.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let below = self.ln_bets.iter().map(|worth| worth - largest);
        largest + below.filter(|below| *below > NEGLIGIBLE).map(f64::exp).sum::<f64>().ln()
    }

    /// The reserved wealth, 0 to 0.5.
    pub(super) fn reserved(&self) -> f64 {
        self.reserve.map_or(0.0, |Reserve { slots, passed }| {
            let planned = f64::from(slots) - 1.0;
            RESERVED_SHARE * planned / (planned + f64::from(passed))
        })
    }

    /// Multiplies the wealth of every bet by `exp(ln_factor)`, a factor below 1. An e-process that
    /// gives wealth away stays valid.
    pub(super) fn discount(&mut self, ln_factor: f64) {
        for ln_worth in &mut self.ln_bets {
            *ln_worth += ln_factor;
        }
    }
}

/// ln of the sum of exponentials, without overflow.
pub(super) fn ln_sum_exp<const N: usize>(terms: [f64; N]) -> f64 {
    let largest = terms.into_iter().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    largest + terms.into_iter().map(|term| (term - largest).exp()).sum::<f64>().ln()
}

/// ln of the mean of exponentials; `None` of nothing.
pub(super) fn mean_ln_e(all: impl ExactSizeIterator<Item = f64> + Clone) -> Option<f64> {
    let count = all.len();
    let largest = all.clone().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = all.map(|ln_e| (ln_e - largest).exp()).sum();
    (count > 0).then(|| largest + (sum / count as f64).ln())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_invested_gradually_and_never_runs_out() {
        let mut wealth = Wealth::with_reserve(30, 13);
        let mut before = wealth.reserved();
        for _ in 0..10_000 {
            wealth.pass_slot();
            assert!(wealth.reserved() < before && wealth.reserved() > 0.0);
            assert!(wealth.ln_e().abs() < 1e-9, "the investment comes from the reserve");
            before = wealth.reserved();
        }
    }

    #[test]
    fn without_a_reserve_nothing_is_invested() {
        let mut wealth = Wealth::fully_invested(4);
        wealth.gain([-1.0; 4].into_iter());
        wealth.pass_slot();
        assert!((wealth.ln_e() + 1.0).abs() < 1e-12, "{}", wealth.ln_e());
    }
}
