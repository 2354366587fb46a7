//! Users are not requests. A user in the candidate's slice keeps their habits, such as requests
//! that always fail. With sticky users the slice is better or worse than the rest before the
//! candidate has answered a request, and no comparison with the rest can tell that from harm.
//!
//! So the slices are compared while the baseline serves all users (an A/A test): for several salts,
//! each of which assigns other users, the counts of each future step's slice and of the others. The
//! salt with the smallest differences is used, and the largest difference that the counts allow
//! widens the margins of each step. If that bound holds (it fails with probability `miss` over all
//! salts, steps and SLIs), a candidate within its margins for each user is within the wider ones
//! for the slice, and the guarantee holds.
//!
//! The cost is uncertainty: a slice of n requests with k failures may have a rate as high as k and
//! n allow (Clopper and Pearson, 1934). To rule out a bias, the test takes about as many requests
//! as the rollout will judge.

use serde::{Deserialize, Serialize};
use statrs::distribution::{Beta, ContinuousCDF};

use super::{Arm, Bias, Slice};

/// The tolerated factor, in both directions, between the candidate's share of the requests and that
/// of its users before.
const SHARE_TOLERANCE: f64 = 2.0;

/// The counts of one future slice, and of the other users, while the baseline served all.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SliceObservation {
    /// The users who will be sent to the candidate.
    pub inside: Arm,
    /// All others.
    pub outside: Arm,
}

/// The selected salt.
#[derive(Debug, Clone, PartialEq)]
pub struct SaltChoice {
    /// Index of the salt.
    pub salt: usize,
    /// For each step, the bounds of its slice.
    pub slices: Vec<Slice>,
}

/// Selects the salt, from the slices of all steps that have a baseline. `miss` (above 0, below 1)
/// is the probability that a slice differs by more than its bounds. `None` without salts, or if a
/// slice has no requests.
#[must_use]
pub fn choose(salts: &[Vec<SliceObservation>], miss: f64) -> Option<SaltChoice> {
    let imbalance = |slices: &Vec<SliceObservation>| {
        slices.iter().map(SliceObservation::imbalance).fold(0.0, f64::max)
    };
    let has_requests = |slices: &Vec<SliceObservation>| {
        slices.iter().all(|slice| slice.inside.requests > 0 && slice.outside.requests > 0)
    };
    let eligible = salts.iter().enumerate().filter(|(_, slices)| has_requests(slices));
    let (salt, slices) = eligible.min_by(|(_, a), (_, b)| imbalance(a).total_cmp(&imbalance(b)))?;
    let statements =
        salts.iter().flatten().map(|slice| 1 + slice.inside.slower.len()).sum::<usize>();
    let each = miss / statements.max(1) as f64;
    Some(SaltChoice { salt, slices: slices.iter().map(|slice| slice.bounds(each)).collect() })
}

impl SliceObservation {
    /// The deviation of the slice's bad requests from their expected number, in standard
    /// deviations, for the worst SLI and in either direction: a slice that is better than the rest
    /// hides harm.
    fn imbalance(&self) -> f64 {
        let z = |(inside, outside): (u64, u64)| {
            let (n, all) = (self.inside.requests, self.inside.requests + self.outside.requests);
            let rate = (inside + outside) as f64 / all.max(1) as f64;
            let deviation = (n as f64 * rate * (1.0 - rate)).sqrt();
            if deviation > 0.0 { (inside as f64 - n as f64 * rate).abs() / deviation } else { 0.0 }
        };
        self.slis().map(z).fold(0.0, f64::max)
    }

    /// Bad requests inside and outside, by errors and by each latency boundary.
    fn slis(&self) -> impl Iterator<Item = (u64, u64)> {
        let Self { inside, outside } = self;
        let slower =
            (0..inside.slower.len()).map(|b| (inside.slower_than(b), outside.slower_than(b)));
        std::iter::once((inside.failures, outside.failures)).chain(slower)
    }

    /// The bounds of the slice, each exceeded with a probability of at most `miss`.
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

/// The upper bound of a share with `bad` of `all` observed, exceeded with a probability of at most
/// `miss`.
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
    fn the_most_balanced_salt_is_selected_with_its_possible_bias() {
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
    fn a_slice_without_requests_is_not_selected() {
        let unseen = slice((0, 0), (1_000, 0));
        assert_eq!(choose(&[vec![unseen.clone()]], 0.01), None);
        let has_requests = slice((10, 0), (990, 0));
        assert_eq!(choose(&[vec![unseen], vec![has_requests]], 0.01).unwrap().salt, 1);
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
