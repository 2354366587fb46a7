//! Random counts, and the probability of a union.

use rand::Rng;
use rand_distr::{Binomial, Distribution, Poisson};

/// Draws from a binomial distribution: the successes among `n` trials with probability `chance`.
#[must_use]
pub fn binomial(n: u64, chance: f64, rng: &mut impl Rng) -> u64 {
    match Binomial::new(n, chance.clamp(0.0, 1.0)) {
        Ok(distribution) if n > 0 && chance > 0.0 => distribution.sample(rng),
        _ => 0,
    }
}

/// Draws from a Poisson distribution.
#[must_use]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // whole and not negative
pub fn poisson(mean: f64, rng: &mut impl Rng) -> u64 {
    if mean > 0.0 {
        Poisson::new(mean).map_or(0, |distribution| distribution.sample(rng) as u64)
    } else {
        0
    }
}

/// The probability of `a` or `b` if both are independent.
pub(super) fn either(a: f64, b: f64) -> f64 {
    1.0 - (1.0 - a) * (1.0 - b)
}
