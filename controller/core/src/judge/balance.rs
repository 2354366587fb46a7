//! Users are not requests: who falls into the candidate's slice has habits of their own, such as always failing, and keeps them. With
//! sticky users the slice is better or worse than the rest before the candidate has answered anything, and no test that compares it with
//! the rest can tell that from what the candidate does.
//!
//! So the slice is looked at while the baseline still serves everybody (an A/A comparison): for several salts, each of which
//! would choose other users, what the users of each future step did and what the others did. The salt whose slices differ least
//! is taken, and the most that they may still differ, as far as the counts can tell, widens the margins of each step. If it is right (which it
//! is but for the chance `miss`, over all salts, steps and SLIs), a candidate within its margins for each of its users
//! is within the wider ones for the slice, and the guarantee holds again.
//!
//! What it costs is what is not known: a slice of n requests with k failures may have a rate as high as k and n allow (Clopper and Pearson,
//! 1934). To rule out a bias, the slice has to have been watched for about as many requests as the rollout will judge.

use serde::{Deserialize, Serialize};
use statrs::distribution::{Beta, ContinuousCDF};

use super::{Arm, Bias, Slice};

/// How far the candidate's share of the requests may be from what its users sent before: a factor either way.
const SHARE_TOLERANCE: f64 = 2.0;

/// What the users of one future slice did while the baseline served everybody, and what the others did.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SliceObservation {
    /// The users who will meet the candidate.
    pub inside: Arm,
    /// All others.
    pub outside: Arm,
}

/// The slice to take.
#[derive(Debug, Clone, PartialEq)]
pub struct SaltChoice {
    /// Index of the salt.
    pub salt: usize,
    /// For each step, what is known of the users who will meet the candidate.
    pub slices: Vec<Slice>,
}

/// Chooses among salts, each with the slices of all steps in which the baseline still serves. `miss` is the chance, above 0 and below
/// 1, that any slice differs by more than is said. `None` without salts, or if a slice has not been seen at all.
#[must_use]
pub fn choose(salts: &[Vec<SliceObservation>], miss: f64) -> Option<SaltChoice> {
    let imbalance = |slices: &Vec<SliceObservation>| {
        slices.iter().map(SliceObservation::imbalance).fold(0.0, f64::max)
    };
    let seen = |slices: &Vec<SliceObservation>| {
        slices.iter().all(|slice| slice.inside.requests > 0 && slice.outside.requests > 0)
    };
    let eligible = salts.iter().enumerate().filter(|(_, slices)| seen(slices));
    let (salt, slices) = eligible.min_by(|(_, a), (_, b)| imbalance(a).total_cmp(&imbalance(b)))?;
    let statements =
        salts.iter().flatten().map(|slice| 1 + slice.inside.slower.len()).sum::<usize>();
    let each = miss / statements.max(1) as f64;
    Some(SaltChoice { salt, slices: slices.iter().map(|slice| slice.bounds(each)).collect() })
}

impl SliceObservation {
    /// How far bad requests inside are from their share of all, in standard deviations, whatever the SLI and the sign: a slice that is
    /// better than the rest hides harm.
    fn imbalance(&self) -> f64 {
        let z = |(inside, outside): (u64, u64)| {
            let (n, all) = (self.inside.requests, self.inside.requests + self.outside.requests);
            let rate = (inside + outside) as f64 / all.max(1) as f64;
            let deviation = (n as f64 * rate * (1.0 - rate)).sqrt();
            if deviation > 0.0 { (inside as f64 - n as f64 * rate).abs() / deviation } else { 0.0 }
        };
        self.slis().map(z).fold(0.0, f64::max)
    }

    /// Bad requests inside and outside, by errors and by each boundary of latency.
    fn slis(&self) -> impl Iterator<Item = (u64, u64)> {
        let Self { inside, outside } = self;
        let slower =
            (0..inside.slower.len()).map(|b| (inside.slower_than(b), outside.slower_than(b)));
        std::iter::once((inside.failures, outside.failures)).chain(slower)
    }

    /// What is known of the slice, each statement wrong with a chance of `miss` at the most.
    fn bounds(&self, miss: f64) -> Slice {
        let (inside, outside) = (self.inside.requests, self.outside.requests);
        let bias = |(bad_inside, bad_outside): (u64, u64)| {
            let most = upper_bound(bad_inside, inside, miss / 2.0);
            // A share is at least x if its complement is at most 1 - x.
            let least = 1.0 - upper_bound(outside.saturating_sub(bad_outside), outside, miss / 2.0);
            (most - least).clamp(0.0, 1.0)
        };
        let mut biases = self.slis().map(bias);
        let errors = biases.next().unwrap_or(0.0);
        let share = inside as f64 / (inside + outside).max(1) as f64;
        Slice {
            bias: Bias { errors, latency: biases.collect() },
            share: Some((share / SHARE_TOLERANCE, (share * SHARE_TOLERANCE).min(0.99))),
        }
    }
}

/// The upper limit of a share of which `bad` of `all` were seen, exceeded with a chance of `miss` at the most.
fn upper_bound(bad: u64, all: u64, miss: f64) -> f64 {
    if bad >= all {
        return 1.0;
    }
    let beta = Beta::new(bad as f64 + 1.0, (all - bad) as f64);
    beta.map_or(1.0, |beta| beta.inverse_cdf(1.0 - miss))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(inside: (u64, u64), outside: (u64, u64)) -> SliceObservation {
        let arm = |(requests, failures)| Arm { requests, failures, slower: Vec::new() };
        SliceObservation { inside: arm(inside), outside: arm(outside) }
    }

    /// The rule of three: no failure in n requests leaves about 3/n at 95 %.
    #[test]
    fn limits_are_those_of_clopper_and_pearson() {
        for (bad, all, miss, expected) in
            [(0, 1_000, 0.05, 0.002_991_2), (5, 100, 0.025, 0.112_834_9), (10, 10, 0.05, 1.0)]
        {
            let limit = upper_bound(bad, all, miss);
            assert!((limit - expected).abs() < 1e-6, "{limit} is not {expected}");
        }
    }

    #[test]
    fn the_most_balanced_salt_is_taken_with_what_bias_it_may_have() {
        let salts = [
            vec![slice((1_000, 9), (99_000, 500)), slice((50_000, 300), (50_000, 209))],
            vec![slice((1_000, 5), (99_000, 504)), slice((50_000, 255), (50_000, 254))],
            vec![slice((1_000, 0), (99_000, 509)), slice((50_000, 255), (50_000, 254))],
        ];
        let choice = choose(&salts, 0.002).unwrap();
        assert_eq!(choice.salt, 1);
        let biases: Vec<_> = choice.slices.iter().map(|slice| slice.bias.errors).collect();
        assert!(biases[0] > 0.005 && biases[0] < 0.02, "1000 requests tell little: {biases:?}");
        assert!(biases[1] > 0.000_5 && biases[1] < 0.003, "50000 tell more: {biases:?}");
        let (low, high) = choice.slices[0].share.unwrap();
        assert!((low - 0.005).abs() < 1e-12 && (high - 0.02).abs() < 1e-12);
    }

    #[test]
    fn a_slice_that_nobody_of_called_is_not_chosen() {
        let unseen = slice((0, 0), (1_000, 0));
        assert_eq!(choose(&[vec![unseen.clone()]], 0.01), None);
        let seen = slice((10, 0), (990, 0));
        assert_eq!(choose(&[vec![unseen], vec![seen]], 0.01).unwrap().salt, 1);
    }

    #[test]
    fn slow_habits_count_as_failing_ones_do() {
        let slow = |inside: u64| {
            let arm = |requests, slower| Arm { requests, failures: 0, slower: vec![slower] };
            vec![SliceObservation { inside: arm(1_000, inside), outside: arm(9_000, 450) }]
        };
        let choice = choose(&[slow(90), slow(52)], 0.01).unwrap();
        assert_eq!(choice.salt, 1);
        assert!(choice.slices[0].bias.latency[0] > 0.01);
    }
}
