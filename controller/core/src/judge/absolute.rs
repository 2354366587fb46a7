//! Tests whether a share is above a fixed limit. It is the test behind absolute objectives: "at
//! most 1 % of the requests fail", and "p99 below 500 ms", which is "at most 1 % of the requests
//! take longer than 500 ms".
//!
//! Null hypothesis: `p <= p0` at any time. Each bet is the likelihood ratio of a rate p1 above p0,
//!
//! ```text
//! l(p1) += k*ln(p1/p0) + (n-k)*ln((1-p1)/(1-p0))
//! ```
//!
//! for k bad of n requests. For p1 below p0 it tests the opposite, `p >= p0`.

use serde::{Deserialize, Serialize};

use super::coin_flip::Direction;
use crate::judge::wealth::Wealth;

/// The assumed factors above (or below) the limit, one bet for each.
const FACTORS: [f64; 8] = [1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0];

/// Shares far above any limit, one bet for each.
const FAR_ABOVE: [f64; 2] = [0.5, 0.999];

/// The state of one test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AbsoluteTest {
    limit: f64,
    direction: Direction,
    pub(super) wealth: Wealth,
}

impl AbsoluteTest {
    /// A test of a `limit` above 0 and below 0.999 from now on: with [`Direction::Harm`] that the
    /// share is above it, with [`Direction::Safe`] that it is below.
    #[must_use]
    pub fn fully_invested(direction: Direction, limit: f64) -> Self {
        Self { limit, direction, wealth: Wealth::fully_invested(rates(direction, limit).count()) }
    }

    /// A test that stays sensitive over a rollout planned to last `slots` slots.
    #[must_use]
    pub fn restarting(direction: Direction, limit: f64, slots: u32) -> Self {
        let wealth = Wealth::with_reserve(slots, rates(direction, limit).count());
        Self { limit, direction, wealth }
    }

    /// Adds `bad` of `requests`.
    pub fn add(&mut self, bad: u64, requests: u64) {
        let (k, n, p0) = (bad as f64, requests as f64, self.limit);
        let gain = |p1: f64| k * (p1 / p0).ln() + (n - k) * ((1.0 - p1) / (1.0 - p0)).ln();
        self.wealth.gain(rates(self.direction, p0).map(gain));
    }

    /// ln E. Evidence at level alpha when it reaches `ln(1/alpha)`.
    #[must_use]
    pub fn ln_e(&self) -> f64 {
        self.wealth.ln_e()
    }
}

/// The assumed shares, one for each bet.
fn rates(direction: Direction, limit: f64) -> impl Iterator<Item = f64> {
    let above = FACTORS.iter().map(move |factor| limit * factor).filter(|rate| *rate < 0.5);
    let far = FAR_ABOVE.into_iter().filter(move |rate| *rate > limit);
    let below = FACTORS.iter().map(move |factor| limit / factor);
    let harm = direction == Direction::Harm;
    above.chain(far).filter(move |_| harm).chain(below.filter(move |_| !harm))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected numbers were computed independently, from the formula above.
    #[test]
    fn golden_vector() {
        let mut test = AbsoluteTest::fully_invested(Direction::Harm, 0.01);
        let seen = [(0, 100), (3, 50), (9, 200)].map(|(bad, requests)| {
            test.add(bad, requests);
            test.ln_e()
        });
        let expected = [-1.561828760318386, -0.343309153280725, 4.620797169475974];
        for (seen, expected) in seen.into_iter().zip(expected) {
            assert!((seen - expected).abs() < 1e-9, "{seen} is not {expected}");
        }
    }

    fn binomial(n: u32, k: u32, p: f64) -> f64 {
        let ways = (0..k).fold(1.0, |ways, i| ways * f64::from(n - i) / f64::from(i + 1));
        ways * p.powi(k as i32) * (1.0 - p).powi((n - k) as i32)
    }

    #[test]
    fn expectation_never_exceeds_one_on_the_boundary_nor_within() {
        for direction in [Direction::Harm, Direction::Safe] {
            for (n, limit) in [(12_u32, 0.01), (9, 0.2), (6, 0.45), (6, 0.7)] {
                let within =
                    if direction == Direction::Harm { limit / 2.0 } else { (1.0 + limit) / 2.0 };
                for rate in [limit, within] {
                    let mut expectation = 0.0;
                    for first in 0..=n {
                        for second in 0..=n {
                            let mut test = AbsoluteTest::restarting(direction, limit, 3);
                            test.add(first.into(), n.into());
                            test.wealth.pass_slot();
                            test.add(second.into(), n.into());
                            let chance = binomial(n, first, rate) * binomial(n, second, rate);
                            expectation += chance * test.ln_e().exp();
                        }
                    }
                    assert!(expectation <= 1.0 + 1e-12, "{direction:?} {limit}: {expectation}");
                    assert!(rate != limit || expectation > 1.0 - 1e-9, "{expectation}");
                }
            }
        }
    }
}
