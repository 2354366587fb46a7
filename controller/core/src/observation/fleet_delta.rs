//! The counts of a fleet since the last poll.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serin_filter::names::{Generation, VersionName};

use super::health::FleetHealth;
use super::slices::SliceCounts;
use super::version_delta::VersionDelta;

/// The result of one poll.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// No proxy was read. Its state is unknown, neither good nor bad.
    Unreachable {
        /// The error.
        reason: String,
    },
    /// The counts since the last poll.
    Delta(FleetDelta),
}

impl Observation {
    /// Adds a warning.
    #[must_use]
    pub fn with_warning(self, warning: Option<String>) -> Self {
        match (self, warning) {
            (Self::Delta(mut delta), warning) => {
                delta.health.warning = warning;
                Self::Delta(delta)
            }
            (Self::Unreachable { reason }, Some(warning)) => {
                Self::Unreachable { reason: format!("{reason}; {warning}") }
            }
            (observation, None) => observation,
        }
    }
}

/// The counts of a fleet since the last poll.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FleetDelta {
    /// The oldest generation that a proxy runs.
    pub generation: Option<Generation>,
    /// The newest generation that any proxy runs.
    pub newest_generation: Option<Generation>,
    /// Whether a worker reported that it runs the newest generation.
    pub workers_current: bool,
    /// Whether a worker reported that it runs an older generation.
    pub workers_behind: bool,
    /// Whether a proxy rejected a filter configuration.
    pub rejected: bool,
    /// The proxies that reject a configuration and their reasons, as far as proxies report them to
    /// the sender.
    pub rejection_reasons: Option<String>,
    /// Whether a proxy restarted.
    pub restarted: bool,
    /// Versions stopped by the filter's tripwire.
    pub tripped: BTreeSet<VersionName>,
    /// The counts of each version.
    pub versions: BTreeMap<VersionName, VersionDelta>,
    /// The counts of the slices of an A/A test.
    pub slices: SliceCounts,
    /// The age of the oldest scrape in it: a Prometheus may hold older values.
    pub age: Duration,
    /// The unhealthy proxies of the fleet.
    pub health: Box<FleetHealth>,
}

impl FleetDelta {
    /// Maps each generation. A configuration may carry several rollouts, each with its own
    /// numbers.
    pub fn map_generations(&mut self, number: impl Fn(Generation) -> Generation) {
        let health = &mut self.health;
        let outdated = health.outdated.iter_mut().map(|outdated| &mut outdated.generation);
        let unreachable =
            health.unreachable.iter_mut().map(|unreachable| &mut unreachable.generation);
        let own = [&mut self.generation, &mut self.newest_generation];
        for generation in own.into_iter().chain(outdated).chain(unreachable) {
            *generation = generation.map(&number);
        }
    }

    /// Whether a proxy rejects a filter configuration, or did when it was last read.
    #[must_use]
    pub fn is_rejected(&self) -> bool {
        self.rejected || self.health.outdated.iter().any(|proxy| proxy.rejected)
    }

    /// Adds the counts of another proxy. A tripwire under an older generation does not concern the
    /// newest.
    pub fn add(&mut self, other: &Self) {
        self.generation = self.generation.min(other.generation);
        match other.newest_generation.cmp(&self.newest_generation) {
            Ordering::Less => {}
            Ordering::Equal => self.tripped.extend(other.tripped.iter().cloned()),
            Ordering::Greater => self.tripped.clone_from(&other.tripped),
        }
        self.newest_generation = self.newest_generation.max(other.newest_generation);
        self.age = self.age.max(other.age);
        self.workers_current |= other.workers_current;
        self.workers_behind |= other.workers_behind;
        self.rejected |= other.rejected;
        self.restarted |= other.restarted;
        self.slices.add(&other.slices);
        for (version, counts) in &other.versions {
            self.versions.entry(version.clone()).or_default().add(counts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::health::{Outdated, ProxyName, Unreachable};
    use super::*;

    #[test]
    fn every_generation_is_mapped() {
        let name: ProxyName = "edge-1".into();
        let (reason, generation) = (String::new(), Some(Generation(9)));
        let unreachable =
            Unreachable { name: name.clone(), reason, since: Duration::ZERO, generation };
        let outdated = Outdated { name, generation: Some(Generation(8)), rejected: false };
        let health = FleetHealth {
            unreachable: vec![unreachable],
            outdated: vec![outdated],
            ..FleetHealth::default()
        };
        let (generation, newest_generation) = (Some(Generation(8)), Some(Generation(9)));
        let health = Box::new(health);
        let mut delta =
            FleetDelta { generation, newest_generation, health, ..FleetDelta::default() };
        // The fleet's generation 8 is the rollout's 2.
        delta.map_generations(|running| Generation(if running >= Generation(8) { 2 } else { 1 }));
        assert_eq!(
            (delta.generation, delta.newest_generation),
            (Some(Generation(2)), Some(Generation(2)))
        );
        assert!(delta.health.confirms(Generation(2)));
    }
}
