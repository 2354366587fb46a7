//! Aggregates the scrapes of several proxies into one observation.
//!
//! Counters are differenced for each proxy and then summed. After a failed scrape the next
//! difference of that proxy is left out for both versions: it reaches further back than the others,
//! perhaps into another split. A new proxy counts nothing at its first scrape; a proxy that is no
//! longer listed is forgotten.
//!
//! The simulator and the sources share this code.

use std::collections::BTreeMap;
use std::time::Duration;

use serin_filter::names::Generation;
use serin_filter::stat::FLUSH_INTERVAL;

use super::delta_tracker::DeltaTracker;
use super::fleet_delta::{FleetDelta, Observation};
use super::health::{FleetHealth, Outdated, ProxyName, Unreachable};
use super::snapshot::Snapshot;

/// The time without a report after which a worker is silent: five times [`FLUSH_INTERVAL`].
pub const SILENT_AFTER: Duration = FLUSH_INTERVAL.saturating_mul(5);

/// The most names in a message.
const MAX_LISTED_NAMES: usize = 5;

/// One scrape of a proxy.
#[derive(Debug, Clone)]
pub struct Scrape {
    /// The time of the scrape, on the clock of [`FleetAggregator::aggregate`].
    pub at: Duration,
    /// The counters.
    pub snapshot: Snapshot,
}

/// The state of a fleet of proxies.
#[derive(Debug, Default)]
pub struct FleetAggregator {
    proxies: BTreeMap<ProxyName, TrackedProxy>,
    /// The number of this poll.
    polls: u64,
    /// The number of the last poll that read a proxy.
    last_successful_poll: u64,
}

/// The state of one proxy.
#[derive(Debug)]
struct TrackedProxy {
    delta_tracker: DeltaTracker,
    /// The number of the last poll that listed the proxy.
    last_listed: u64,
    /// The number of the last poll that read the proxy; 0 before.
    last_scraped: u64,
    /// The time at which the proxy was last read, or first listed.
    last_reachable: Duration,
    /// The error of the last scrape.
    scrape_error: Option<String>,
    generation: Option<Generation>,
    /// Whether the proxy has rejected a configuration since it took this generation.
    rejected: bool,
    /// Whether workers have reported this generation, and none an older one.
    confirmed: bool,
    /// The time of the last worker report.
    last_worker_report: Duration,
}

impl FleetAggregator {
    /// Aggregates one scrape, or error, of each listed proxy. `now` never decreases.
    pub fn aggregate(
        &mut self,
        now: Duration,
        scrapes: impl IntoIterator<Item = (ProxyName, Result<Scrape, String>)>,
    ) -> Observation {
        self.polls += 1;
        let mut all: Option<FleetDelta> = None;
        for (name, scrape) in scrapes {
            let proxy = self.proxies.entry(name).or_insert_with(|| TrackedProxy::new(now));
            proxy.last_listed = self.polls;
            let scrape = match scrape {
                Ok(scrape) => scrape,
                Err(error) => {
                    proxy.scrape_error = Some(error);
                    continue;
                }
            };
            let mut delta = proxy.record(now, scrape);
            if std::mem::replace(&mut proxy.last_scraped, self.polls) != self.last_successful_poll {
                delta.versions.clear();
            }
            match &mut all {
                Some(all) => all.add(&delta),
                None => all = Some(delta),
            }
        }
        self.proxies.retain(|_, proxy| proxy.last_listed == self.polls);
        let Some(mut all) = all else {
            return Observation::Unreachable { reason: self.unreachable_reason() };
        };
        self.last_successful_poll = self.polls;
        all.health = Box::new(self.health(now, all.newest_generation));
        Observation::Delta(all)
    }

    fn health(&self, now: Duration, newest: Option<Generation>) -> FleetHealth {
        let mut health = FleetHealth { proxies: self.proxies.len(), ..FleetHealth::default() };
        if health.proxies == 1 {
            return health;
        }
        for (name, proxy) in &self.proxies {
            let name = || name.clone();
            let generation = proxy.generation;
            if let Some(reason) = &proxy.scrape_error {
                let since = now.saturating_sub(proxy.last_reachable);
                health.unreachable.push(Unreachable {
                    name: name(),
                    reason: reason.clone(),
                    since,
                    generation,
                });
                continue;
            }
            if generation < newest || proxy.rejected {
                let rejected = proxy.rejected;
                health.outdated.push(Outdated { name: name(), generation, rejected });
            } else if !proxy.confirmed {
                health.unconfirmed.push(name());
            }
            if proxy.last_reachable > proxy.last_worker_report + SILENT_AFTER {
                health.silent.push(name());
            }
        }
        health
    }

    /// The reason why no proxy was read.
    fn unreachable_reason(&self) -> String {
        let mut unreachable = self
            .proxies
            .iter()
            .filter_map(|(name, proxy)| Some((name, proxy.scrape_error.as_ref()?)));
        match (self.proxies.len(), unreachable.next()) {
            (_, None) => "there is no proxy".to_owned(),
            (1, Some((_, error))) => error.clone(),
            (all, Some(first)) => {
                let unreachable = std::iter::once(first).chain(unreachable);
                let named =
                    join_names(unreachable.map(|(name, error)| format!("{name} ({error})")));
                format!("none of {all} proxies can be read: {named}")
            }
        }
    }
}

impl TrackedProxy {
    fn new(now: Duration) -> Self {
        Self {
            delta_tracker: DeltaTracker::default(),
            last_listed: 0,
            last_scraped: 0,
            last_reachable: now,
            scrape_error: None,
            generation: None,
            rejected: false,
            confirmed: false,
            last_worker_report: now,
        }
    }

    fn record(&mut self, now: Duration, Scrape { at, snapshot }: Scrape) -> FleetDelta {
        let mut delta = self.delta_tracker.delta(snapshot);
        delta.age = now.saturating_sub(at);
        let first = self.last_scraped == 0;
        let other = delta.restarted || delta.generation != self.generation;
        self.generation = delta.generation;
        self.rejected = delta.rejected || self.rejected && !other;
        self.confirmed =
            !delta.workers_behind && !other && (self.confirmed || delta.workers_current);
        if delta.workers_current || first {
            self.last_worker_report = at;
        }
        self.scrape_error = None;
        self.last_reachable = at.min(now);
        delta
    }
}

/// The first few names, and the number of the others.
pub fn join_names<T: std::fmt::Display>(all: impl IntoIterator<Item = T>) -> String {
    let mut all = all.into_iter();
    let first: Vec<_> = all.by_ref().take(MAX_LISTED_NAMES).map(|one| one.to_string()).collect();
    let first = first.join(", ");
    match all.count() {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

#[cfg(test)]
mod tests;
