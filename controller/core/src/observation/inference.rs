//! Infers the split that a proxy follows, from the requests that it served, where the mesh splits.
//!
//! In that mode the filter only observes, and its generation says nothing about weights. The
//! candidate's share of each proxy's requests is compared with the requested split and the
//! previous one by a sequential likelihood ratio (CUSUM, as the time of the change is unknown). It
//! separates distant splits after few requests. A proxy with too little traffic is taken to follow
//! after [`PROPAGATION_TIME`], unless its requests favour the previous split: a proxy without
//! requests misroutes no request.
//!
//! The inferred generation replaces the one that a splitting filter reports, so the rest of the
//! code is the same in both modes.

use std::collections::HashMap;
use std::time::Duration;

use serin_filter::names::{Generation, VersionName};
use serin_filter::stat::Stat;
use serin_filter::table::Weight;

use super::health::ProxyName;
use super::snapshot::Snapshot;

/// The time in which a mesh updates all proxies: Istio may batch changes for 10 s.
pub const PROPAGATION_TIME: Duration = Duration::from_secs(12);

/// The odds between two splits that decide.
const DECISIVE_ODDS: f64 = 50.0;

/// The tolerance of a split: requests in flight end after a change.
const WEIGHT_TOLERANCE: f64 = 1e-4;

/// A split requested from the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SplitRequest {
    /// The rollout's number of the split.
    pub generation: Generation,
    /// The candidate's share.
    pub weight: Weight,
    /// The candidate's share before; `None` if unknown.
    pub previous_weight: Option<Weight>,
    /// The time of the request, on the clock of [`SplitInference::infer`]; `None` if the mesh does
    /// not have it.
    pub sent_at: Option<Duration>,
}

/// Infers the split of each proxy.
#[derive(Debug)]
pub struct SplitInference {
    baseline: VersionName,
    candidate: VersionName,
    proxies: HashMap<ProxyName, ProxyInference>,
}

/// The state of one proxy.
#[derive(Debug, Default)]
struct ProxyInference {
    /// The requests served by baseline and candidate.
    served: [u64; 2],
    generation: Option<Generation>,
    /// The log odds of the requested split over the previous one, since their minimum.
    ln_odds_requested: f64,
    /// The log odds of the previous split over the requested one, since their minimum.
    ln_odds_previous: f64,
    follows: bool,
}

impl SplitInference {
    /// No proxy is known.
    #[must_use]
    pub fn new(baseline: VersionName, candidate: VersionName) -> Self {
        Self { baseline, candidate, proxies: HashMap::new() }
    }

    /// Replaces the filter's generation in `snapshot` by that of the split which the proxy
    /// follows. A proxy without a filter keeps none.
    pub fn infer(
        &mut self,
        now: Duration,
        name: &ProxyName,
        snapshot: &mut Snapshot,
        request: SplitRequest,
    ) {
        let served = [&self.baseline, &self.candidate].map(|version| {
            snapshot.versions.get(version).map_or(0, |counters| counters.count(Stat::Requests))
        });
        let proxy = self.proxies.entry(name.clone()).or_default();
        proxy.update(now, served, request);
        let SplitRequest { generation, .. } = request;
        let before = Generation(generation.0.saturating_sub(1));
        if snapshot.generation.is_some() {
            snapshot.generation = Some(if proxy.follows { generation } else { before });
        }
    }

    /// Forgets all proxies for which `listed` is false.
    pub fn retain(&mut self, listed: impl Fn(&ProxyName) -> bool) {
        self.proxies.retain(|name, _| listed(name));
    }
}

impl ProxyInference {
    fn update(&mut self, now: Duration, served: [u64; 2], request: SplitRequest) {
        let last = std::mem::replace(&mut self.served, served);
        if self.generation.replace(request.generation) != Some(request.generation) {
            // Requests so far may belong to either split.
            (self.ln_odds_requested, self.ln_odds_previous, self.follows) = (0.0, 0.0, false);
            if request.previous_weight == Some(request.weight) {
                self.follows = request.sent_at.is_some();
            }
            return;
        }
        let Some(sent_at) = request.sent_at else {
            self.follows = false;
            return;
        };
        // A restarted proxy counts from zero.
        let since = |index: usize| {
            let (now, last) = (served.get(index).copied(), last.get(index).copied());
            let (now, last) = (now.unwrap_or(0), last.unwrap_or(0));
            if now < last { now } else { now - last }
        };
        let (baseline, candidate) = (since(0) as f64, since(1) as f64);
        if let Some(before) = request.previous_weight {
            let share =
                |weight: Weight| weight.share().clamp(WEIGHT_TOLERANCE, 1.0 - WEIGHT_TOLERANCE);
            let (new, old) = (share(request.weight), share(before));
            let ratio = candidate * (new / old).ln() + baseline * ((1.0 - new) / (1.0 - old)).ln();
            self.ln_odds_requested = (self.ln_odds_requested + ratio).max(0.0);
            self.ln_odds_previous = (self.ln_odds_previous - ratio).max(0.0);
        }
        let limit = DECISIVE_ODDS.ln();
        self.follows |= self.ln_odds_requested >= limit;
        self.follows |= now >= sent_at + PROPAGATION_TIME && self.ln_odds_previous < limit;
    }
}

#[cfg(test)]
mod tests {
    use super::super::counters::Counters;
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn weight(percent: u32) -> Weight {
        Weight::from_ppm(percent * 10_000).unwrap()
    }

    fn request(generation: u64, before: u32, percent: u32, sent_at: u64) -> SplitRequest {
        SplitRequest {
            generation: Generation(generation),
            weight: weight(percent),
            previous_weight: Some(weight(before)),
            sent_at: Some(at(sent_at)),
        }
    }

    /// One proxy and its served requests.
    struct World {
        served: SplitInference,
        counts: [u64; 2],
    }

    impl World {
        fn new() -> Self {
            let served = SplitInference::new("v1".parse().unwrap(), "v2".parse().unwrap());
            Self { served, counts: [0, 0] }
        }

        /// The inferred generation after so many more requests.
        fn after(&mut self, now: u64, baseline: u64, candidate: u64, request: SplitRequest) -> u64 {
            self.counts = [self.counts[0] + baseline, self.counts[1] + candidate];
            let counters = self
                .counts
                .map(|count| -> Counters { [(Stat::Requests, count)].into_iter().collect() });
            let [v1, v2] = counters;
            let mut snapshot = Snapshot {
                generation: Some(Generation(77)),
                versions: [("v1".parse().unwrap(), v1), ("v2".parse().unwrap(), v2)].into(),
                ..Snapshot::default()
            };
            self.served.infer(at(now), &"edge".into(), &mut snapshot, request);
            snapshot.generation.unwrap().0
        }
    }

    #[test]
    fn a_distant_split_shows_within_few_requests() {
        let mut world = World::new();
        let first = request(4, 0, 5, 10);
        assert_eq!(world.after(10, 500, 0, first), 3);
        // Still the previous one.
        assert_eq!(world.after(11, 40, 0, first), 3);
        assert_eq!(world.after(12, 20, 1, first), 4);
        let all = request(5, 5, 100, 20);
        assert_eq!(world.after(20, 95, 5, all), 4);
        assert_eq!(world.after(21, 20, 2, all), 4);
        assert_eq!(world.after(22, 0, 5, all), 5);
        let back = request(6, 100, 0, 30);
        assert_eq!(world.after(30, 0, 10, back), 5);
        assert_eq!(world.after(31, 0, 10, back), 5);
        assert_eq!(world.after(32, 1, 0, back), 6);
    }

    #[test]
    fn a_proxy_with_little_traffic_follows_after_the_propagation_time() {
        let mut world = World::new();
        let small = request(4, 0, 1, 10);
        assert_eq!(world.after(10, 0, 0, small), 3);
        assert_eq!(world.after(21, 30, 0, small), 3);
        assert_eq!(world.after(22, 0, 0, small), 4);
        // It keeps following.
        assert_eq!(world.after(23, 900, 0, small), 4);
    }

    #[test]
    fn a_proxy_on_the_previous_split_never_follows() {
        let mut world = World::new();
        let half = request(4, 0, 50, 10);
        assert_eq!(world.after(10, 10, 0, half), 3);
        assert_eq!(world.after(30, 10, 0, half), 3);
        assert_eq!(world.after(60, 10, 0, half), 3);
        assert_eq!(world.after(61, 4, 5, half), 4);
    }

    #[test]
    fn no_proxy_follows_an_unwritten_split() {
        let mut world = World::new();
        let unwritten = SplitRequest { sent_at: None, ..request(4, 0, 50, 0) };
        assert_eq!(world.after(10, 10, 10, unwritten), 3);
        assert_eq!(world.after(90, 10, 10, unwritten), 3);
        // The same for proxies that followed before the weights were reverted.
        let written = request(4, 0, 50, 100);
        assert_eq!(world.after(101, 10, 10, written), 4);
        assert_eq!(world.after(102, 0, 0, unwritten), 3);
    }

    #[test]
    fn a_restarted_proxy_or_one_without_a_filter_is_handled() {
        let mut world = World::new();
        let first = request(4, 0, 50, 10);
        world.after(10, 500, 0, first);
        world.counts = [0, 0];
        assert_eq!(world.after(11, 5, 5, first), 4);
        let mut none = Snapshot::default();
        world.served.infer(at(12), &"edge".into(), &mut none, first);
        assert_eq!(none.generation, None);
    }

    #[test]
    fn all_proxies_follow_before_the_first_request() {
        let present = request(0, 0, 0, 0);
        assert_eq!(World::new().after(1, 5, 0, present), 0);
    }
}
