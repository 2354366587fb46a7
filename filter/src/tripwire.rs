//! The local fuse: cuts off a version that fails hard, in each worker, with or without a controller. Pure.
//!
//! For each version but the baseline a CUSUM (E. S. Page, "Continuous inspection schemes", 1954) of likelihood ratios tests
//! "fails a share of p0 of its requests at most" against "fails half-way from p0 to all of them": a failure multiplies the evidence
//! by (1 + p0) / (2 p0), a success halves it, and below one it begins anew. By Wald's inequality and Lorden's argument the mean
//! number of requests between false alarms is at least the limit, 500 million, even at exactly p0.
//!
//! p0 is the configured share, or twice what the baseline fails at present if that is more: where everybody fails, the version is not
//! to blame. The baseline's present is the worse of a long and a short memory of it, so that an outage of both shows in time.

/// Evidence at which a version is cut off: with a tolerated share of 10 %, twelve failures in a row; with 50 %, fifty.
const LIMIT: f64 = 5e8;

/// What a request of the baseline weighs in the long memory and in the short one.
const MEMORIES: [f64; 2] = [1.0 / 64.0, 1.0 / 4.0];

/// The tripwire of one service in one worker.
#[derive(Debug, Clone)]
pub struct Tripwire {
    tolerated: f64,
    /// The baseline's share of failures, by each memory.
    baseline: [f64; MEMORIES.len()],
    /// Evidence against each version, by index; that against the baseline stays one.
    evidence: Vec<f64>,
}

impl Tripwire {
    /// No evidence yet against any of the versions, the first of which is the baseline.
    #[must_use]
    pub fn new(tolerated_ppm: u32, versions: usize) -> Self {
        let tolerated = f64::from(tolerated_ppm) / 1e6;
        Self { tolerated, baseline: [0.0; MEMORIES.len()], evidence: vec![1.0; versions] }
    }

    /// A request of `version` has ended, or is overdue. Returns whether the version is to be cut off.
    pub fn observe(&mut self, version: usize, failed: bool) -> bool {
        if version == 0 {
            let failed = f64::from(u8::from(failed));
            for (share, weight) in self.baseline.iter_mut().zip(MEMORIES) {
                *share += weight * (failed - *share);
            }
            return false;
        }
        let p0 = self.baseline.iter().fold(self.tolerated, |p0, share| p0.max(2.0 * share));
        let Some(evidence) = self.evidence.get_mut(version) else { return false };
        let ratio = if failed { (1.0 + p0) / (2.0 * p0) } else { 0.5 };
        *evidence = (*evidence * ratio).max(1.0);
        *evidence >= LIMIT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests of the candidate until it is cut off.
    fn requests(
        tolerated_ppm: u32,
        mut failed: impl FnMut(usize) -> (bool, bool),
    ) -> Option<usize> {
        let mut tripwire = Tripwire::new(tolerated_ppm, 2);
        (1..=10_000).find(|n| {
            let (baseline, candidate) = failed(*n);
            tripwire.observe(0, baseline);
            tripwire.observe(1, candidate)
        })
    }

    #[test]
    fn a_candidate_that_fails_every_request_is_cut_off_within_fifty() {
        assert_eq!(requests(100_000, |_| (false, true)), Some(12));
        assert_eq!(requests(500_000, |_| (false, true)), Some(50));
        assert_eq!(requests(10_000, |_| (false, true)), Some(6));
    }

    #[test]
    fn a_candidate_that_fails_half_is_cut_off_and_one_in_ten_is_not() {
        let every = |n: usize| move |i: usize| (false, i.is_multiple_of(n));
        assert!(requests(100_000, every(2)).is_some_and(|requests| requests < 60));
        assert_eq!(requests(100_000, every(10)), None);
    }

    #[test]
    fn where_both_fail_the_candidate_is_not_to_blame() {
        assert_eq!(requests(100_000, |_| (true, true)), None);
        assert_eq!(requests(100_000, |n| (n.is_multiple_of(2), n % 2 == 1)), None);
        // The candidate has nine requests to one of the baseline's.
        let mut tripwire = Tripwire::new(100_000, 2);
        for _ in 0..100 {
            tripwire.observe(0, true);
            assert!((0..9).all(|_| !tripwire.observe(1, true)));
        }
    }

    #[test]
    fn a_baseline_that_recovers_protects_the_candidate_no_longer() {
        let cut_off = requests(100_000, |n| (n <= 100, true));
        assert!(cut_off.is_some_and(|requests| (112..300).contains(&requests)), "{cut_off:?}");
    }

    #[test]
    fn the_baseline_is_never_cut_off() {
        let mut tripwire = Tripwire::new(100_000, 2);
        assert!((0..1_000).all(|_| !tripwire.observe(0, true)));
    }

    /// One candidate as good as its baseline, 1 % errors each. A cycle of the CUSUM reaches the limit with a probability of at most
    /// limit^(-theta), where theta solves E[ratio^theta] = 1 (Lundberg's inequality), and each request begins one at most.
    #[test]
    fn a_good_candidate_is_cut_off_in_less_than_one_of_a_thousand_runs_of_ten_million() {
        let excess = |theta: f64| 0.01 * 5.5_f64.powf(theta) + 0.99 * 0.5_f64.powf(theta) - 1.0;
        let (mut low, mut high) = (1.0, 4.0);
        assert!(excess(low) < 0.0 && excess(high) > 0.0);
        for _ in 0..60 {
            let middle = (low + high) / 2.0;
            *(if excess(middle) < 0.0 { &mut low } else { &mut high }) = middle;
        }
        assert!(1e7 * LIMIT.powf(-low) < 1e-3, "theta {low}");

        let mut random = fastrand::Rng::with_seed(7);
        let mut tripwire = Tripwire::new(100_000, 2);
        for _ in 0..2_000_000 {
            tripwire.observe(0, random.f64() < 0.01);
            assert!(!tripwire.observe(1, random.f64() < 0.01));
        }
    }
}
