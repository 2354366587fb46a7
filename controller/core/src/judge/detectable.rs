//! The smallest degradation that traffic could have revealed.

use super::coin_flip::{BadCounts, CoinFlip, Direction, Odds};
use super::difference::bisect;
use super::{Arm, Block, Judge};
use crate::judge::non_inferiority::least_requests;

impl Judge {
    /// The smallest failure rate (0 to 1) at which the candidate's requests in `seen` would, as
    /// expected counts in one block, have been evidence of harm in a fresh test, given the
    /// baseline's counts. `None` if even a rate of 1 would not.
    ///
    /// It is the value of an open gate: a worse candidate would most likely have been rolled back.
    #[must_use]
    pub fn detectable_failure_rate(&self, counts: &Block) -> Option<f64> {
        let baseline_rate = counts.baseline.failure_rate()?;
        let detects = |rate: f64| self.detects(&counts.baseline, &counts.candidate, rate);
        if !detects(1.0) {
            return None;
        }
        Some(bisect(baseline_rate, 1.0, detects))
    }

    /// Whether the candidate's failures in `seen` suffice for a fresh test to find harm.
    #[must_use]
    pub fn shows(&self, counts: &Block) -> bool {
        let failed = counts.candidate.failure_rate();
        failed.is_some_and(|rate| self.detects(&counts.baseline, &counts.candidate, rate))
    }

    /// Estimates the candidate's requests until a `failure_rate` (0 to 1) is found, if the baseline
    /// fails at its past rate and the candidate gets a `share` (above 0, below 1) of the requests.
    /// `None` above a billion: such a candidate is within its margin, or barely beyond.
    #[must_use]
    pub fn requests_to_harm(&self, failure_rate: f64, share: f64) -> Option<u64> {
        let baseline_rate = self.history.failure_rate().unwrap_or(0.0);
        least_requests(|candidate| {
            let baseline = candidate as f64 * (1.0 - share) / share;
            let bad = BadCounts {
                baseline: baseline * baseline_rate,
                candidate: candidate as f64 * failure_rate,
            };
            self.worth(baseline, candidate as f64, bad) >= self.settings.limit()
        })
    }

    fn detects(&self, baseline: &Arm, candidate: &Arm, failure_rate: f64) -> bool {
        let (n_b, n_c) = (baseline.requests as f64, candidate.requests as f64);
        let bad = BadCounts { baseline: baseline.failures as f64, candidate: n_c * failure_rate };
        self.worth(n_b, n_c, bad) >= self.settings.limit()
    }

    /// The contribution to ln E of a fresh test of errors after one block.
    fn worth(&self, n_b: f64, n_c: f64, bad: BadCounts) -> f64 {
        let margin = self.margins().errors();
        let Some(odds) = Odds::new(Direction::Harm, margin.relative, n_b, n_c) else { return 0.0 };
        let mut test = CoinFlip::restarting(self.settings.slots);
        test.add(&odds, bad, margin.absolute, self.settings.dispersion);
        self.settings.weights().errors.ln() + test.ln_e()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;

    fn detectable(candidate_requests: u64) -> Option<f64> {
        let arm = |requests, failures| Arm { requests, failures, slower: Vec::new() };
        let counts = Block { baseline: arm(100_000, 100), candidate: arm(candidate_requests, 0) };
        Judge::new(Settings::default()).detectable_failure_rate(&counts)
    }

    /// A failure rate within the margin is never found.
    #[test]
    fn worse_candidates_take_fewer_requests_and_harmless_ones_are_never_found() {
        let baseline = Arm { requests: 1_000_000, failures: 1_000, slower: Vec::new() };
        let mut judge = Judge::new(Settings::default());
        judge.learn(0.0, baseline);
        let needed = [1.0, 0.05, 0.01].map(|rate| judge.requests_to_harm(rate, 0.05).unwrap());
        assert!(needed[0] < 10 && needed.is_sorted() && needed[2] < 2_000, "{needed:?}");
        assert_eq!(judge.requests_to_harm(0.002, 0.05), None);
    }

    #[test]
    fn more_requests_show_smaller_degradations() {
        assert_eq!(detectable(0), None);
        let [few, some, many] = [20, 500, 50_000].map(|requests| detectable(requests).unwrap());
        assert!(1.0 > few && few > some && some > many && many > 0.0022, "{few} {some} {many}");
        assert!(some < 0.03, "{some}");
    }
}
