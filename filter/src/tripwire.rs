//! The tripwire: stops requests to a failing version within one worker, without the controller.
//!
//! For each version except the baseline, a CUSUM of likelihood ratios (E. S. Page, "Continuous
//! inspection schemes", 1954) tests a failure rate of at most p0 against (1 + p0) / 2. A failure
//! multiplies the evidence by (1 + p0) / (2 p0), a success halves it, and its minimum is one. By
//! Wald's inequality and Lorden's argument, the mean number of requests between false alarms is at
//! least the threshold, 500 million, even at exactly p0.
//!
//! p0 is the tolerated rate, or twice the baseline's current failure rate if that is higher, so
//! that a common outage does not trip the candidate. The current rate is the higher of a slow and a
//! fast moving average, which detects the outage early.

/// Evidence at which a version trips: twelve consecutive failures at a tolerated rate of 10 %,
/// fifty at 50 %.
const THRESHOLD: f64 = 5e8;

/// Weights of a request in the slow and the fast exponential moving average.
const EMA_WEIGHTS: [f64; 2] = [1.0 / 64.0, 1.0 / 4.0];

/// The tripwire of one service in one worker.
#[derive(Debug, Clone)]
pub struct Tripwire {
    tolerated: f64,
    /// Failure rate of the baseline, per moving average.
    baseline: [f64; EMA_WEIGHTS.len()],
    /// Evidence by version index. The baseline's is always one.
    evidence: Vec<f64>,
}

impl Tripwire {
    /// No evidence against any version. The baseline is the first.
    #[must_use]
    pub fn new(tolerated_ppm: u32, versions: usize) -> Self {
        let tolerated = f64::from(tolerated_ppm) / 1e6;
        Self { tolerated, baseline: [0.0; EMA_WEIGHTS.len()], evidence: vec![1.0; versions] }
    }

    /// Adds a completed or overdue request of `version`. Returns whether the version trips.
    pub fn observe(&mut self, version: usize, failed: bool) -> bool {
        if version == 0 {
            let failed = f64::from(u8::from(failed));
            for (rate, weight) in self.baseline.iter_mut().zip(EMA_WEIGHTS) {
                *rate += weight * (failed - *rate);
            }
            return false;
        }
        let p0 = self.baseline.iter().fold(self.tolerated, |p0, rate| p0.max(2.0 * rate));
        let Some(evidence) = self.evidence.get_mut(version) else { return false };
        let ratio = if failed { (1.0 + p0) / (2.0 * p0) } else { 0.5 };
        *evidence = (*evidence * ratio).max(1.0);
        *evidence >= THRESHOLD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Number of requests of the candidate until it trips.
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
    fn a_candidate_that_fails_all_requests_trips_within_fifty() {
        assert_eq!(requests(100_000, |_| (false, true)), Some(12));
        assert_eq!(requests(500_000, |_| (false, true)), Some(50));
        assert_eq!(requests(10_000, |_| (false, true)), Some(6));
    }

    #[test]
    fn a_candidate_trips_at_half_its_requests_failed_but_not_at_a_tenth() {
        let every = |n: usize| move |i: usize| (false, i.is_multiple_of(n));
        assert!(requests(100_000, every(2)).is_some_and(|requests| requests < 60));
        assert_eq!(requests(100_000, every(10)), None);
    }

    #[test]
    fn a_candidate_does_not_trip_while_the_baseline_fails_too() {
        assert_eq!(requests(100_000, |_| (true, true)), None);
        assert_eq!(requests(100_000, |n| (n.is_multiple_of(2), n % 2 == 1)), None);
        // Nine candidate requests per baseline request.
        let mut tripwire = Tripwire::new(100_000, 2);
        for _ in 0..100 {
            tripwire.observe(0, true);
            assert!((0..9).all(|_| !tripwire.observe(1, true)));
        }
    }

    #[test]
    fn a_candidate_trips_after_the_baseline_recovers() {
        let tripped = requests(100_000, |n| (n <= 100, true));
        assert!(tripped.is_some_and(|requests| (112..300).contains(&requests)), "{tripped:?}");
    }

    #[test]
    fn the_baseline_never_trips() {
        let mut tripwire = Tripwire::new(100_000, 2);
        assert!((0..1_000).all(|_| !tripwire.observe(0, true)));
    }

    /// Both versions fail 1 % of requests. A cycle of the CUSUM reaches the threshold with a
    /// probability of at most threshold^(-theta), where theta solves E[ratio^theta] = 1 (Lundberg's
    /// inequality). Each request starts at most one cycle.
    #[test]
    fn false_trips_are_rarer_than_one_in_a_thousand_runs_of_ten_million_requests() {
        let excess = |theta: f64| 0.01 * 5.5_f64.powf(theta) + 0.99 * 0.5_f64.powf(theta) - 1.0;
        let (mut low, mut high) = (1.0, 4.0);
        assert!(excess(low) < 0.0 && excess(high) > 0.0);
        for _ in 0..60 {
            let middle = (low + high) / 2.0;
            *(if excess(middle) < 0.0 { &mut low } else { &mut high }) = middle;
        }
        assert!(1e7 * THRESHOLD.powf(-low) < 1e-3, "theta {low}");

        let mut random = fastrand::Rng::with_seed(7);
        let mut tripwire = Tripwire::new(100_000, 2);
        for _ in 0..2_000_000 {
            tripwire.observe(0, random.f64() < 0.01);
            assert!(!tripwire.observe(1, random.f64() < 0.01));
        }
    }
}
