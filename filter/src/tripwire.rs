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
//! fast moving average, which detects the outage early. The slow average outlives a generation: the
//! last step of a rollout leaves the baseline without requests. Until the baseline has requests
//! of the generation, p0 is at most `MAX_CARRIED_P0`, so that the candidate can trip.

use std::cell::Cell;
use std::rc::Rc;

/// Evidence at which a version trips: twelve consecutive failures at a tolerated rate of 10 %,
/// fifty at 50 %.
const THRESHOLD: f64 = 5e8;

/// The factor of a success.
const SUCCESS_RATIO: f64 = 0.5;

/// Requests in the window of the slow exponential moving average.
const WINDOW: u32 = 64;

/// Weight of a request in the fast moving average.
const FAST_WEIGHT: f64 = 1.0 / 4.0;

/// Weight of the prior, half the tolerated rate, in requests.
const PRIOR_REQUESTS: u32 = 16;

/// Requests of the baseline from which overdue requests are failures. Fewer do not show how slow
/// the service is.
const MIN_REQUESTS_FOR_OVERDUE: u32 = 20;

/// Limit of p0 for a rate of an earlier generation: that of the highest tolerance.
const MAX_CARRIED_P0: f64 = 0.5;

/// The slow moving average of a baseline's failures.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct BaselineRate {
    average: f64,
    /// Requests in the average, of all workers that passed it on.
    requests: u32,
    /// Requests that this worker observed.
    own_requests: u32,
}

/// Bytes of a [`BaselineRate`].
const RATE_BYTES: usize = 12;

impl BaselineRate {
    /// Number of requests in the rate.
    #[must_use]
    pub fn requests(&self) -> u32 {
        self.requests
    }

    /// The rate at the start of a generation, from this worker's rate and the shared one. A worker
    /// whose own requests fill the window keeps its rate.
    #[must_use]
    pub fn or_shared(self, shared: Option<Self>) -> Self {
        match shared {
            Some(shared) if self.own_requests < WINDOW => {
                Self { own_requests: self.own_requests, ..shared }
            }
            _ => self,
        }
    }

    /// Whether this rate, with new requests, replaces the shared one: its window is as full.
    #[must_use]
    pub fn replaces(&self, shared: Option<Self>) -> bool {
        let window = |rate: Self| rate.requests.min(WINDOW);
        shared.is_none_or(|shared| window(shared) <= window(*self))
    }

    fn observe(&mut self, failed: bool) {
        self.requests = self.requests.saturating_add(1);
        self.own_requests = self.own_requests.saturating_add(1);
        // The mean of the prior and the first requests.
        let weight = self.requests.saturating_add(PRIOR_REQUESTS).min(WINDOW);
        self.average += (f64::from(u8::from(failed)) - self.average) / f64::from(weight);
    }

    /// Encodes the rate for other workers.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        [&self.average.to_le_bytes()[..], &self.requests.to_le_bytes()].concat()
    }

    /// Decodes a rate.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; RATE_BYTES] = bytes.try_into().ok()?;
        let (average, requests) = bytes.split_last_chunk()?;
        let average = f64::from_le_bytes(average.try_into().ok()?).clamp(0.0, 1.0);
        Some(Self { average, requests: u32::from_le_bytes(*requests), own_requests: 0 })
    }
}

/// The tripwire of one service in one worker.
#[derive(Debug)]
pub struct Tripwire {
    tolerated: f64,
    /// Over all generations. Requests of an earlier one can still end.
    baseline: Rc<Cell<BaselineRate>>,
    /// The slow average in this generation.
    slow: BaselineRate,
    fast: f64,
    /// By version index. The baseline's is always one.
    evidence: Vec<Evidence>,
}

/// The evidence against a version.
#[derive(Debug, Clone, Copy)]
struct Evidence {
    value: f64,
    /// Established streams that have not ended.
    established: u32,
    /// Logarithm of the factor by which their successes reduced the value.
    credit: f64,
}

impl Evidence {
    const NONE: Self = Self { value: 1.0, established: 0, credit: 0.0 };

    fn multiply(&mut self, ratio: f64) {
        self.value = (self.value * ratio).max(1.0);
    }

    /// Removes an established stream. Returns its part of the credit.
    fn end_established(&mut self) -> f64 {
        if self.established == 0 {
            return 0.0;
        }
        let part = self.credit / f64::from(self.established);
        self.credit -= part;
        self.established -= 1;
        part
    }
}

impl Tripwire {
    /// No evidence against any version. The baseline is the first, with the failure rate of the
    /// earlier generations.
    #[must_use]
    pub fn new(tolerated_ppm: u32, versions: usize, baseline: Rc<Cell<BaselineRate>>) -> Self {
        let tolerated = f64::from(tolerated_ppm) / 1e6;
        let mut slow = baseline.get();
        if slow.requests == 0 {
            slow.average = tolerated / 2.0;
            baseline.set(slow);
        }
        slow.average = slow.average.min(MAX_CARRIED_P0 / 2.0);
        let fast = slow.average;
        Self { tolerated, baseline, slow, fast, evidence: vec![Evidence::NONE; versions] }
    }

    /// Adds a completed request of `version`. Returns whether the version trips.
    pub fn observe(&mut self, version: usize, failed: bool) -> bool {
        if version == 0 {
            self.observe_baseline(failed);
            return false;
        }
        let p0 = self.tolerated.max(2.0 * self.slow.average).max(2.0 * self.fast);
        let Some(evidence) = self.evidence.get_mut(version) else { return false };
        evidence.multiply(if failed { (1.0 + p0) / (2.0 * p0) } else { SUCCESS_RATIO });
        if evidence.value <= 1.0 {
            // Without the earlier successes of streams the value would be the same.
            evidence.credit = 0.0;
        }
        evidence.value >= THRESHOLD
    }

    fn observe_baseline(&mut self, failed: bool) {
        let mut baseline = self.baseline.get();
        baseline.observe(failed);
        self.baseline.set(baseline);
        self.slow.observe(failed);
        self.fast += FAST_WEIGHT * (f64::from(u8::from(failed)) - self.fast);
    }

    /// Whether an overdue request is a failure of `version`.
    #[must_use]
    pub fn counts_overdue(&self, version: usize) -> bool {
        version == 0 || self.slow.requests >= MIN_REQUESTS_FOR_OVERDUE
    }

    /// Adds the success of an established stream of `version`.
    pub fn observe_established(&mut self, version: usize) {
        if version == 0 {
            self.observe(version, false);
        } else if let Some(evidence) = self.evidence.get_mut(version) {
            let before = evidence.value;
            evidence.multiply(SUCCESS_RATIO);
            evidence.credit += (before / evidence.value).ln();
            evidence.established += 1;
        }
    }

    /// Ends an established stream of `version`. A failure replaces its success. Returns whether the
    /// version trips.
    pub fn end_established(&mut self, version: usize, failed: bool) -> bool {
        if let Some(evidence) = self.evidence.get_mut(version) {
            let credit = evidence.end_established();
            if failed {
                evidence.multiply(credit.exp());
            }
        }
        failed && self.observe(version, true)
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
        assert_eq!((copy.average, copy.requests()), (baseline.get().average, 50));
        for bad in [&[][..], &[0; 11], &[0; 13]] {
            assert_eq!(BaselineRate::from_bytes(bad), None);
        }
    }

    /// The candidate's failures until it trips, after this history of the baseline and 20
    /// generations in which the baseline has no requests.
    fn failures_after_history(tolerated_ppm: u32, history: &[(usize, bool)]) -> Option<usize> {
        let baseline = Rc::default();
        let mut first = Tripwire::new(tolerated_ppm, 2, Rc::clone(&baseline));
        for (requests, failed) in history {
            (0..*requests).for_each(|_| _ = first.observe(0, *failed));
        }
        let next = || Tripwire::new(tolerated_ppm, 2, Rc::clone(&baseline));
        let mut last = (1..20).fold(next(), |_, _| next());
        (1..=100).find(|_| last.observe(1, true))
    }

    #[test]
    fn a_failing_candidate_trips_after_the_baseline_ended_with_failures() {
        let history = [(1_000, false), (3, true)];
        assert_eq!(failures_after_history(100_000, &history), Some(12));
        assert_eq!(failures_after_history(100_000, &[(1, true)]), Some(20));
        assert_eq!(failures_after_history(10_000, &history), Some(12));
        for tolerated_ppm in [10_000, 100_000, 500_000] {
            assert_eq!(failures_after_history(tolerated_ppm, &[(1_000, true)]), Some(50));
        }
    }

    /// At the last step, the baseline's requests of the earlier generation end.
    #[test]
    fn requests_of_an_earlier_generation_do_not_prevent_a_trip() {
        let baseline = Rc::default();
        let mut first = Tripwire::new(100_000, 2, Rc::clone(&baseline));
        (0..1_000).for_each(|_| _ = first.observe(0, false));
        let mut next = Tripwire::new(100_000, 2, Rc::clone(&baseline));
        (0..64).for_each(|_| _ = first.observe(0, true));
        assert_eq!((1..=100).find(|_| next.observe(1, true)), Some(12));
        assert!(baseline.get().average > 0.5);
    }

    #[test]
    fn the_first_failure_of_the_baseline_does_not_prevent_a_trip() {
        let mut tripwire = tripwire(100_000);
        assert!(!tripwire.observe(0, true));
        let trips = (1..=100).find(|_| tripwire.observe(1, true));
        assert!(trips.is_some_and(|failures| failures < 100), "{trips:?}");
    }

    #[test]
    fn a_worker_with_own_requests_keeps_its_rate() {
        let rate =
            |requests, own_requests, average| BaselineRate { average, requests, own_requests };
        let [stale, fresh] = [rate(100_000, 0, 0.5), rate(64, 64, 0.0)];
        assert_eq!(fresh.or_shared(Some(stale)), fresh);
        assert_eq!(fresh.or_shared(None), fresh);
        // The copy is that of a worker which passed the rate on.
        assert_eq!(rate(63, 63, 0.0).or_shared(Some(stale)), rate(100_000, 63, 0.5));
        assert_eq!(rate(0, 0, 0.0).or_shared(Some(fresh)), rate(64, 0, 0.0));
        for (own, shared, replaces) in
            [(64, 100_000, true), (100_000, 64, true), (63, 64, false), (3, 2, true), (2, 3, false)]
        {
            let [own, shared] = [own, shared].map(|requests| rate(requests, requests, 0.0));
            assert_eq!(own.replaces(Some(shared)), replaces, "{own:?} {shared:?}");
            assert!(own.replaces(None));
        }
    }

    #[test]
    fn the_failure_of_an_established_stream_replaces_its_success() {
        let trips_after = |tolerated_ppm, live: usize| {
            let mut tripwire = tripwire(tolerated_ppm);
            (0..live).for_each(|_| tripwire.observe_established(1));
            (1..=100).find(|_| {
                let trips = tripwire.end_established(1, true);
                tripwire.observe_established(1);
                trips
            })
        };
        // The minimum of the evidence absorbs the successes of the first streams.
        assert_eq!([1, 4].map(|live| trips_after(100_000, live)), [12, 13].map(Some));
        assert_eq!([1, 4].map(|live| trips_after(500_000, live)), [50, 55].map(Some));
        // A stream that ends without a failure takes its part of the credit along.
        let mut tripwire = tripwire(100_000);
        tripwire.observe(1, true);
        (0..2).for_each(|_| tripwire.observe_established(1));
        assert!(!tripwire.end_established(1, false));
        let credit = tripwire.evidence[1].credit;
        assert!((credit - 2_f64.ln()).abs() < 1e-9, "{credit}");
        (0..2).for_each(|_| _ = tripwire.observe(1, false));
        assert_eq!(tripwire.evidence[1].credit, 0.0);
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
