//! Users with habits, and the slices that they form.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;
use serin_core::judge::Arm;
use serin_core::judge::balance::SliceObservation;

use super::sampling::{binomial, either, poisson};

/// The users of a service. Users stay with their version and keep their habits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UserPopulation {
    /// The number of users.
    pub count: usize,
    /// The inequality: the request rate of the user of rank n is proportional to n to the power of
    /// minus this. 0 makes all equal.
    pub zipf: f64,
    /// The share of users whose requests often fail with any version.
    pub failing: f64,
    /// The share of their requests that fails.
    pub failures: f64,
    /// The duration of the A/A test; zero for none.
    pub watched: Duration,
    /// The number of salts to select from, at least 1.
    pub salts: usize,
}

/// The profile of the users of a slice.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UserProfile {
    /// Their share of all requests.
    pub share: f64,
    /// The share of their requests that fails by habit.
    pub inside: f64,
    /// The share of the others' requests that fails by habit.
    pub outside: f64,
}

impl UserPopulation {
    /// The slices of these weights (shares of users, rising), for each salt. Each slice holds those
    /// before it.
    pub fn slices(&self, weights: &[f64], rng: &mut SmallRng) -> Vec<Vec<UserProfile>> {
        let users: Vec<(f64, bool)> = (1..=self.count)
            .map(|rank| ((rank as f64).powf(-self.zipf), rng.random_bool(self.failing)))
            .collect();
        (0..self.salts.max(1)).map(|_| self.salted(&users, weights, rng)).collect()
    }

    /// The mean number of users who reach a version with a `share` of the users, after `requests`
    /// of its requests.
    #[must_use]
    pub fn exposed(&self, share: f64, requests: f64) -> f64 {
        if share <= 0.0 {
            return 0.0;
        }
        let activity = |rank: usize| (rank as f64).powf(-self.zipf);
        let all: f64 = (1..=self.count).map(activity).sum();
        let calls = requests / (share * all);
        (1..=self.count).map(|rank| share * (1.0 - (-calls * activity(rank)).exp())).sum()
    }

    fn salted(
        &self,
        users: &[(f64, bool)],
        weights: &[f64],
        rng: &mut SmallRng,
    ) -> Vec<UserProfile> {
        // The requests, and those of failing users, of each slice without its predecessors; the
        // last entry is of no slice.
        let mut sums = vec![(0.0, 0.0); weights.len() + 1];
        for (requests, fails) in users {
            let bucket: f64 = rng.random();
            let slice = weights.partition_point(|weight| *weight <= bucket);
            if let Some((all, failing)) = sums.get_mut(slice) {
                *all += requests;
                *failing += if *fails { *requests } else { 0.0 };
            }
        }
        let add = |a: (f64, f64), b: &(f64, f64)| (a.0 + b.0, a.1 + b.1);
        let total = sums.iter().fold((0.0, 0.0), add);
        let nested = sums.iter().take(weights.len()).scan((0.0, 0.0), |inside, slice| {
            *inside = add(*inside, slice);
            Some(*inside)
        });
        let rate = |(all, failing): (f64, f64)| {
            if all > 0.0 { failing / all * self.failures } else { 0.0 }
        };
        nested
            .map(|inside| UserProfile {
                share: inside.0 / total.0,
                inside: rate(inside),
                outside: rate((total.0 - inside.0, total.1 - inside.1)),
            })
            .collect()
    }
}

impl UserProfile {
    /// Draws the counts of the slice and of the others in `requests` requests, of which `errors`
    /// fail with any version.
    pub fn watch(&self, requests: f64, errors: f64, rng: &mut SmallRng) -> SliceObservation {
        let mut arm = |share: f64, habit: f64| {
            let n = poisson(requests * share, rng);
            let failures = binomial(n, either(errors, habit), rng);
            Arm { requests: n, failures, slower: Vec::new() }
        };
        SliceObservation {
            inside: arm(self.share, self.inside),
            outside: arm(1.0 - self.share, self.outside),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn slices_are_of_their_weight_and_hold_those_before() {
        let users = UserPopulation {
            count: 10_000,
            zipf: 0.0,
            failing: 0.01,
            failures: 0.5,
            watched: Duration::ZERO,
            salts: 2,
        };
        let mut rng = SmallRng::seed_from_u64(7);
        let salts = users.slices(&[0.05, 0.5], &mut rng);
        assert_ne!(salts[0], salts[1]);
        for slices in salts {
            let [small, large] = slices[..] else { panic!("{slices:?}") };
            assert!((small.share - 0.05).abs() < 0.01 && (large.share - 0.5).abs() < 0.02);
            let mean = |slice: UserProfile| {
                slice.share * slice.inside + (1.0 - slice.share) * slice.outside
            };
            assert!((mean(small) - mean(large)).abs() < 1e-12);
            assert!(mean(small) > 0.003 && mean(small) < 0.007);
        }
    }
}
