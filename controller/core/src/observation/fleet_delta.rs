//! The counts of a fleet since the last poll.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serin_filter::names::{Generation, VersionName};

use super::health::FleetHealth;
use super::slices::SliceCounts;
use super::version_delta::VersionDelta;

/// What a look at the proxy showed.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// Nothing: how the proxy does is unknown, which is neither good nor bad.
    Unreachable {
        /// What went wrong.
        reason: String,
    },
    /// The filter's statistics.
    Delta(FleetDelta),
}

impl Observation {
    /// The same with what went wrong beside it.
    #[must_use]
    pub fn with_warning(self, warning: Option<String>) -> Self {
        match (self, warning) {
            (Self::Delta(mut seen), warning) => {
                seen.health.warning = warning;
                Self::Delta(seen)
            }
            (Self::Unreachable { reason }, Some(warning)) => {
                Self::Unreachable { reason: format!("{reason}; {warning}") }
            }
            (look, None) => look,
        }
    }
}

/// What happened since the last look.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FleetDelta {
    /// The generation that the filter runs; of several proxies, that of the one furthest behind.
    pub generation: Option<Generation>,
    /// The newest generation that any proxy runs.
    pub newest_generation: Option<Generation>,
    /// Whether any worker said that it runs the newest generation.
    pub workers_current: bool,
    /// Whether any worker said that it runs an older one.
    pub workers_behind: bool,
    /// Whether the proxy refused a filter configuration.
    pub rejected: bool,
    /// Who refuses one and why, as far as proxies tell whoever gives it to them.
    pub rejection_reasons: Option<String>,
    /// Whether the proxy was started anew.
    pub restarted: bool,
    /// Versions that the filter's tripwire has cut off.
    pub tripped: BTreeSet<VersionName>,
    /// What each version did.
    pub versions: BTreeMap<VersionName, VersionDelta>,
    /// What the users of future slices did, if they are watched.
    pub slices: SliceCounts,
    /// How old the oldest of this is: what is known of a proxy may be from before the last look.
    pub age: Duration,
    /// Who of several proxies is not as it should be.
    pub health: Box<FleetHealth>,
}

impl FleetDelta {
    /// Calls each generation by another number: what proxies run may carry several rollouts, each of which counts for itself.
    pub fn map_generations(&mut self, number: impl Fn(Generation) -> Generation) {
        let health = &mut self.health;
        let behind = health.outdated.iter_mut().map(|behind| &mut behind.generation);
        let lost = health.unreachable.iter_mut().map(|lost| &mut lost.generation);
        let own = [&mut self.generation, &mut self.newest_generation];
        for generation in own.into_iter().chain(behind).chain(lost) {
            *generation = generation.map(&number);
        }
    }

    /// Whether any proxy refuses a filter configuration, or has when it was last seen.
    #[must_use]
    pub fn is_rejected(&self) -> bool {
        self.rejected || self.health.outdated.iter().any(|proxy| proxy.rejected)
    }

    /// Adds what another proxy did. What a proxy has cut off under an older generation says nothing of the newest.
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
        for (version, activity) in &other.versions {
            self.versions.entry(version.clone()).or_default().add(activity);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::health::{Outdated, ProxyName, Unreachable};
    use super::*;

    #[test]
    fn every_generation_is_called_by_the_number_of_the_rollout() {
        let name: ProxyName = "edge-1".into();
        let (reason, generation) = (String::new(), Some(Generation(9)));
        let lost = Unreachable { name: name.clone(), reason, since: Duration::ZERO, generation };
        let behind = Outdated { name, generation: Some(Generation(8)), rejected: false };
        let roster = FleetHealth {
            unreachable: vec![lost],
            outdated: vec![behind],
            ..FleetHealth::default()
        };
        let (generation, newest_generation) = (Some(Generation(8)), Some(Generation(9)));
        let health = Box::new(roster);
        let mut seen =
            FleetDelta { generation, newest_generation, health, ..FleetDelta::default() };
        // What was carried from 8 on is the rollout's 2.
        seen.map_generations(|running| Generation(if running >= Generation(8) { 2 } else { 1 }));
        assert_eq!(
            (seen.generation, seen.newest_generation),
            (Some(Generation(2)), Some(Generation(2)))
        );
        assert!(seen.health.confirms(Generation(2)));
    }
}
