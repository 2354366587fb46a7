//! What several proxies did, made into one sighting.
//!
//! Differences are per proxy, then summed. A proxy that could not be read is unknown: what it counted meanwhile is left out for both versions, as
//! it reaches further back than what the others show, perhaps into another split. A proxy that is new counts for nothing at its first
//! reading; one that has vanished from the list is forgotten.
//!
//! Pure: the simulator and the sources of evidence share it.

use std::collections::BTreeMap;
use std::time::Duration;

use serin_filter::names::Generation;
use serin_filter::stat::FLUSH_INTERVAL;

use super::delta_tracker::DeltaTracker;
use super::fleet_delta::{FleetDelta, Observation};
use super::health::{FleetHealth, Outdated, ProxyName, Unreachable};
use super::snapshot::Snapshot;

/// Workers report every [`FLUSH_INTERVAL`]; not one of them for this long is not for being busy.
pub const SILENT_AFTER: Duration = FLUSH_INTERVAL.saturating_mul(5);

/// Names in a message, at the most.
const MAX_LISTED_NAMES: usize = 5;

/// What a proxy showed.
#[derive(Debug, Clone)]
pub struct Scrape {
    /// As of when, on the clock of [`FleetAggregator::look`].
    pub at: Duration,
    /// Its counters.
    pub snapshot: Snapshot,
}

/// What is known of several proxies.
#[derive(Debug, Default)]
pub struct FleetAggregator {
    proxies: BTreeMap<ProxyName, TrackedProxy>,
    /// Number of this look.
    polls: u64,
    /// Number of the last look that showed anything.
    last_successful_poll: u64,
}

/// What is known of one proxy.
#[derive(Debug)]
struct TrackedProxy {
    delta_tracker: DeltaTracker,
    /// Number of the last look that had it in its list.
    last_listed: u64,
    /// Number of the last look that could read it, 0 at first.
    last_scraped: u64,
    /// When it was last read, or first looked for.
    last_reachable: Duration,
    /// Why it can't be read, if it can't.
    scrape_error: Option<String>,
    generation: Option<Generation>,
    /// Whether it has refused a configuration since it took this generation.
    rejected: bool,
    /// Whether workers have said that they run this generation, and none that it does not.
    confirmed: bool,
    /// When a worker last reported.
    last_worker_report: Duration,
}

impl FleetAggregator {
    /// What these proxies did since the last look, which are all that there are. `now` never goes back.
    pub fn aggregate(
        &mut self,
        now: Duration,
        readings: impl IntoIterator<Item = (ProxyName, Result<Scrape, String>)>,
    ) -> Observation {
        self.polls += 1;
        let mut all: Option<FleetDelta> = None;
        for (name, reading) in readings {
            let seen = self.proxies.entry(name).or_insert_with(|| TrackedProxy::new(now));
            seen.last_listed = self.polls;
            let scrape = match reading {
                Ok(reading) => reading,
                Err(why) => {
                    seen.scrape_error = Some(why);
                    continue;
                }
            };
            let mut delta = seen.record(now, scrape);
            if std::mem::replace(&mut seen.last_scraped, self.polls) != self.last_successful_poll {
                delta.versions.clear();
            }
            match &mut all {
                Some(all) => all.add(&delta),
                None => all = Some(delta),
            }
        }
        self.proxies.retain(|_, seen| seen.last_listed == self.polls);
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
        for (name, seen) in &self.proxies {
            let name = || name.clone();
            let generation = seen.generation;
            if let Some(reason) = &seen.scrape_error {
                let since = now.saturating_sub(seen.last_reachable);
                health.unreachable.push(Unreachable {
                    name: name(),
                    reason: reason.clone(),
                    since,
                    generation,
                });
                continue;
            }
            if generation < newest || seen.rejected {
                let rejected = seen.rejected;
                health.outdated.push(Outdated { name: name(), generation, rejected });
            } else if !seen.confirmed {
                health.unconfirmed.push(name());
            }
            if seen.last_reachable > seen.last_worker_report + SILENT_AFTER {
                health.silent.push(name());
            }
        }
        health
    }

    /// Why there is nothing to be seen.
    fn unreachable_reason(&self) -> String {
        let mut lost = self
            .proxies
            .iter()
            .filter_map(|(name, seen)| Some((name, seen.scrape_error.as_ref()?)));
        match (self.proxies.len(), lost.next()) {
            (_, None) => "there is no proxy".to_owned(),
            (1, Some((_, why))) => why.clone(),
            (all, Some(first)) => {
                let lost = std::iter::once(first).chain(lost);
                let named = join_names(lost.map(|(name, why)| format!("{name} ({why})")));
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
        let mut sighting = self.delta_tracker.delta(snapshot);
        sighting.age = now.saturating_sub(at);
        let first = self.last_scraped == 0;
        let other = sighting.restarted || sighting.generation != self.generation;
        self.generation = sighting.generation;
        self.rejected = sighting.rejected || self.rejected && !other;
        self.confirmed =
            !sighting.workers_behind && !other && (self.confirmed || sighting.workers_current);
        if sighting.workers_current || first {
            self.last_worker_report = at;
        }
        self.scrape_error = None;
        self.last_reachable = at.min(now);
        sighting
    }
}

/// The first few of these, and how many more there are.
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
