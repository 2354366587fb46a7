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
//! fast moving average, which detects the outage early. It outlives a generation: the last step of a
//! rollout leaves the baseline without requests.

use std::cell::Cell;
use std::rc::Rc;

/// Evidence at which a version trips: twelve consecutive failures at a tolerated rate of 10 %,
/// fifty at 50 %.
const THRESHOLD: f64 = 5e8;

/// Weights of a request in the slow and the fast exponential moving average.
const EMA_WEIGHTS: [f64; 2] = [1.0 / 64.0, 1.0 / 4.0];

/// The current failure rate of a baseline.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct BaselineRate {
    averages: [f64; EMA_WEIGHTS.len()],
    requests: u32,
}

/// Bytes of a [`BaselineRate`].
const RATE_BYTES: usize = 8 * EMA_WEIGHTS.len() + 4;

impl BaselineRate {
    /// Number of observed requests.
    #[must_use]
    pub fn requests(&self) -> u32 {
        self.requests
    }

    fn observe(&mut self, failed: bool) {
        self.requests = self.requests.saturating_add(1);
        let failed = f64::from(u8::from(failed));
        for (average, weight) in self.averages.iter_mut().zip(EMA_WEIGHTS) {
            // The mean of the first requests: an average that starts at zero would be too low.
            let weight = weight.max(1.0 / f64::from(self.requests));
            *average += weight * (failed - *average);
        }
    }

    /// Encodes the rate for other workers.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        let averages = self.averages.iter().flat_map(|average| average.to_le_bytes());
        averages.chain(self.requests.to_le_bytes()).collect()
    }

    /// Decodes a rate.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; RATE_BYTES] = bytes.try_into().ok()?;
        let (averages, requests) = bytes.split_last_chunk()?;
        let mut rate = Self { requests: u32::from_le_bytes(*requests), ..Self::default() };
        for (average, bytes) in rate.averages.iter_mut().zip(averages.chunks_exact(8)) {
            *average = f64::from_le_bytes(bytes.try_into().ok()?).clamp(0.0, 1.0);
        }
        Some(rate)
    }
}

/// The tripwire of one service in one worker.
#[derive(Debug)]
pub struct Tripwire {
    tolerated: f64,
    baseline: Rc<Cell<BaselineRate>>,
    /// Evidence by version index. The baseline's is always one.
    evidence: Vec<f64>,
}

impl Tripwire {
    /// No evidence against any version. The baseline is the first, with the given failure rate.
    #[must_use]
    pub fn new(tolerated_ppm: u32, versions: usize, baseline: Rc<Cell<BaselineRate>>) -> Self {
        let tolerated = f64::from(tolerated_ppm) / 1e6;
        Self { tolerated, baseline, evidence: vec![1.0; versions] }
    }

    /// Adds a completed or overdue request of `version`. Returns whether the version trips.
    pub fn observe(&mut self, version: usize, failed: bool) -> bool {
        let mut baseline = self.baseline.get();
        if version == 0 {
            baseline.observe(failed);
            self.baseline.set(baseline);
            return false;
        }
        let p0 = baseline.averages.iter().fold(self.tolerated, |p0, rate| p0.max(2.0 * rate));
        let Some(evidence) = self.evidence.get_mut(version) else { return false };
        let ratio = if failed { (1.0 + p0) / (2.0 * p0) } else { 0.5 };
        *evidence = (*evidence * ratio).max(1.0);
        *evidence >= THRESHOLD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tripwire(tolerated_ppm: u32) -> Tripwire {
        Tripwire::new(tolerated_ppm, 2, Rc::default())
    }

    /// Number of requests of the candidate until it trips.
    fn requests(
        tolerated_ppm: u32,
        mut failed: impl FnMut(usize) -> (bool, bool),
    ) -> Option<usize> {
        let mut tripwire = tripwire(tolerated_ppm);
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
        let mut tripwire = tripwire(100_000);
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
    fn the_rate_of_the_baseline_outlives_a_generation() {
        let baseline = Rc::default();
        let mut first = Tripwire::new(100_000, 2, Rc::clone(&baseline));
        (0..50).for_each(|n| _ = first.observe(0, n % 2 == 0));
        let trips = |baseline: Rc<Cell<BaselineRate>>| {
            let mut next = Tripwire::new(100_000, 2, baseline);
            (0..10_000).any(|n| next.observe(1, n % 2 == 0))
        };
        assert!(trips(Rc::default()));
        assert!(!trips(Rc::clone(&baseline)));
        let copy = BaselineRate::from_bytes(&baseline.get().to_bytes()).unwrap();
        assert_eq!((copy, copy.requests()), (baseline.get(), 50));
        for bad in [&[][..], &[0; 19], &[0; 21]] {
            assert_eq!(BaselineRate::from_bytes(bad), None);
        }
    }

    #[test]
    fn few_requests_of_the_baseline_give_its_rate() {
        let mut tripwire = tripwire(100_000);
        (0..4).for_each(|n| _ = tripwire.observe(0, n % 2 == 0));
        assert!((0..1_000).all(|n| !tripwire.observe(1, n % 2 == 0)));
    }

    #[test]
    fn the_baseline_never_trips() {
        let mut tripwire = tripwire(100_000);
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
        let mut tripwire = tripwire(100_000);
        for _ in 0..2_000_000 {
            tripwire.observe(0, random.f64() < 0.01);
            assert!(!tripwire.observe(1, random.f64() < 0.01));
        }
    }
}
