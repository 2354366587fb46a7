//! The simulated proxies and their callers.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serin_core::observation::{Counters, Snapshot};
use serin_core::split::{Split, UserAssignment};
use serin_filter::names::{Generation, VersionName};
use serin_filter::stat::FLUSH_INTERVAL;
use serin_filter::table::Weight;

use super::arm::{SimulatedArm, TimeSlice};
use super::latency::Buckets;
use super::sampling::either;
use super::traffic::{Bursts, Fault, FaultKind, Traffic};
use super::users::UserProfile;

/// The delay from the request of a split to its use by every worker.
const PROPAGATION_DELAY: Duration = Duration::from_millis(50);

/// The time resolution, in seconds.
const TIME_STEP: f64 = 1.0;

/// Proxies in virtual time.
#[derive(Debug)]
pub struct SimulatedFleet {
    traffic: Traffic,
    rng: SmallRng,
    /// The baseline and the candidate.
    versions: [VersionName; 2],
    /// Splits with the second of their start, in order.
    splits: Vec<(f64, Split)>,
    /// The profiles of the users of each slice, by weight.
    profiles: Vec<(Weight, UserProfile)>,
    healthy: Arc<Buckets>,
    faulty: Arc<Buckets>,
    proxies: Vec<SimulatedProxy>,
    /// The bursts of each version.
    bursting: [Burst; 2],
}

#[derive(Debug, Clone)]
struct SimulatedProxy {
    arms: [SimulatedArm; 2],
    /// The time of its last start, and the counts before.
    started: f64,
    before: [Counters; 2],
}

/// The last or next burst of one version, in seconds.
#[derive(Debug, Clone, Copy)]
struct Burst {
    from: f64,
    to: f64,
}

impl SimulatedFleet {
    /// Freshly started proxies, with all users at the baseline.
    #[must_use]
    pub fn new(
        traffic: Traffic,
        versions: [VersionName; 2],
        profiles: Vec<(Weight, UserProfile)>,
        seed: u64,
    ) -> Self {
        let healthy = Buckets::healthy(traffic.latency);
        let faulty = match traffic.fault {
            Some(Fault { kind, .. }) => Buckets::faulty(traffic.latency, kind),
            None => healthy.clone(),
        };
        let proxy = SimulatedProxy {
            arms: [SimulatedArm::new(), SimulatedArm::new()],
            started: 0.0,
            before: Default::default(),
        };
        let initial = Split {
            generation: Generation(0),
            candidate: Weight::ZERO,
            assignment: UserAssignment::ServiceSalt,
        };
        Self {
            rng: SmallRng::seed_from_u64(seed),
            versions,
            splits: vec![(0.0, initial)],
            profiles,
            healthy: Arc::new(healthy),
            faulty: Arc::new(faulty),
            proxies: vec![proxy; traffic.proxies.max(1)],
            bursting: [Burst { from: f64::NEG_INFINITY, to: f64::NEG_INFINITY }; 2],
            traffic,
        }
    }

    /// Requests a split.
    pub fn apply(&mut self, now: Duration, split: Split) {
        self.splits.push(((now + PROPAGATION_DELAY).as_secs_f64(), split));
    }

    /// Scrapes each proxy; `None` for a failed scrape.
    pub fn scrape(&mut self, now: Duration) -> Vec<Option<Snapshot>> {
        let seconds = now.as_secs_f64();
        (0..self.proxies.len()).map(|proxy| self.scrape_proxy(proxy, seconds)).collect()
    }

    fn scrape_proxy(&mut self, proxy: usize, now: f64) -> Option<Snapshot> {
        let skew = self.traffic.scrape_skew.as_secs_f64() * self.rng.random::<f64>();
        let late = usize::from(self.rng.random::<bool>());
        for arm in 0..2 {
            self.serve(proxy, arm, if arm == late { now - skew } else { now });
        }
        let lost = self.rng.random_bool(self.traffic.scrape_loss);
        let split = self.in_force(now);
        let mean = self.traffic.restarts.map(|mean| mean.as_secs_f64());
        let since = self.proxies.get(proxy).map_or(0.0, |proxy| proxy.started);
        let restarts = mean.is_some_and(|mean| self.rng.random_bool((TIME_STEP / mean).min(1.0)));
        let proxy = self.proxies.get_mut(proxy)?;
        if restarts && now > since {
            proxy.started = now;
            proxy.before = proxy.arms.each_ref().map(SimulatedArm::counters);
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates
        let ticks = ((now - proxy.started) / FLUSH_INTERVAL.as_secs_f64()) as u64;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates
        let started = 1 + proxy.started as u64;
        let arms = self.versions.iter().zip(&proxy.arms).zip(&proxy.before);
        let versions = arms
            .map(|((version, arm), before)| (version.clone(), arm.counters().since(before)))
            .collect();
        let generation = Some(split.generation);
        let snapshot = Snapshot { generation, started, ticks, versions, ..Snapshot::default() };
        (!lost).then_some(snapshot)
    }

    /// The counts of both versions at all proxies since the start, as a monitoring system without
    /// gaps has them.
    pub fn totals(&mut self, now: Duration) -> [Counters; 2] {
        let now = now.as_secs_f64();
        let mut totals: [Counters; 2] = Default::default();
        for proxy in 0..self.proxies.len() {
            for (arm, total) in totals.iter_mut().enumerate() {
                self.serve(proxy, arm, now);
                let made = self.proxies.get(proxy).and_then(|proxy| proxy.arms.get(arm));
                total.add(&made.map(SimulatedArm::counters).unwrap_or_default());
            }
        }
        totals
    }

    /// The candidate's requests, the failures among them, and the requests served while it was
    /// faulty.
    #[must_use]
    pub fn exposure(&self) -> (u64, u64, u64) {
        let candidates =
            self.proxies.iter().map(|SimulatedProxy { arms: [_, candidate], .. }| candidate);
        candidates.fold((0, 0, 0), |(met, failed, bad), arm| {
            let (ended, failures) = arm.totals();
            (met + ended, failed + failures, bad + arm.met_bad)
        })
    }

    /// The time at which the candidate first had users, in seconds.
    #[must_use]
    pub fn first_exposed(&self) -> f64 {
        let exposed = self.splits.iter().find(|(_, split)| split.candidate > Weight::ZERO);
        exposed.map_or(f64::INFINITY, |(from, _)| *from)
    }

    /// The largest weight that the candidate has had.
    #[must_use]
    pub fn largest_weight(&self) -> Weight {
        self.splits.iter().map(|(_, split)| split.candidate).max().unwrap_or_default()
    }

    fn in_force(&self, at: f64) -> Split {
        let since = self.splits.iter().rev().find(|(from, _)| *from <= at);
        since.or(self.splits.first()).map_or(
            Split {
                generation: Generation(0),
                candidate: Weight::ZERO,
                assignment: UserAssignment::ServiceSalt,
            },
            |(_, split)| *split,
        )
    }

    fn serve(&mut self, proxy: usize, arm: usize, until: f64) {
        while let Some(from) = self.proxies.get(proxy).and_then(|proxy| proxy.arms.get(arm))
            && from.served_until < until
        {
            let from = from.served_until;
            let change = self.splits.iter().map(|(at, _)| *at).filter(|at| *at > from);
            let to = change.fold(until, f64::min).min(from + TIME_STEP);
            let bursting = self.bursting(arm, from);
            let (healthy, faulty) = (self.healthy.clone(), self.faulty.clone());
            let time_slice = self.time_slice(arm, from, to, bursting, [&healthy, &faulty]);
            let Some(made) = self.proxies.get_mut(proxy).and_then(|p| p.arms.get_mut(arm)) else {
                return;
            };
            made.serve(&time_slice, &mut self.rng);
        }
    }

    fn bursting(&mut self, arm: usize, at: f64) -> f64 {
        let (Some(Bursts { every, lasts, errors }), Some(burst)) =
            (self.traffic.bursts, self.bursting.get_mut(arm))
        else {
            return 0.0;
        };
        while at >= burst.to {
            let begun = burst.to.max(0.0);
            let wait = -every.as_secs_f64() * (1.0 - self.rng.random::<f64>()).ln();
            *burst = Burst { from: begun + wait, to: begun + wait + lasts.as_secs_f64() };
        }
        if at >= burst.from { errors } else { 0.0 }
    }

    /// The requests that begin between two times at one proxy, for one version.
    fn time_slice<'b>(
        &self,
        arm: usize,
        from: f64,
        to: f64,
        bursting: f64,
        latency: [&'b Buckets; 2],
    ) -> TimeSlice<'b> {
        let weight = self.in_force(from).candidate;
        let habits = self.profiles.iter().find(|(of, _)| *of == weight).map(|(_, habits)| *habits);
        let candidate = habits.map_or(weight.share(), |habits| habits.share);
        let [healthy, faulty] = latency;
        let (share, habit, fault) = if arm == 0 {
            (1.0 - candidate, habits.map_or(0.0, |habits| habits.outside), None)
        } else {
            let fault = self.traffic.fault.filter(|fault| from >= fault.from.as_secs_f64());
            (candidate, habits.map_or(0.0, |habits| habits.inside), fault)
        };
        let kind = fault.map(|fault| fault.kind);
        let usual = match kind {
            Some(FaultKind::Errors(errors)) => errors,
            _ => self.traffic.errors_at(from),
        };
        let rate = self.traffic.rate_at(from) * share / self.proxies.len() as f64;
        TimeSlice {
            from,
            to,
            requests: rate * (to - from),
            errors: either(either(usual, habit), bursting),
            timeouts: match kind {
                Some(FaultKind::Timeouts(share, after)) => Some((share, after.as_secs_f64())),
                _ => None,
            },
            latency: if kind.is_some() { faulty } else { healthy },
            bad: kind.is_some(),
        }
    }
}
