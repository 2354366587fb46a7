//! A split as a table of buckets in the filter's configuration, for the service of one rollout.

use serin_core::config::sink::SinkLocation;
use serin_core::ports::Router;
use serin_core::split::{Split, UserAssignment};
use serin_filter::config::wire;
use serin_filter::names::Generation;
use serin_filter::table::{BucketRange, Table, TableError, Weight};

use super::{PresentSplit, RouteError};
use crate::routers::sink::{SharedSink, lock, with_service};
use crate::routers::sinks::ConfigSinks;

/// The service of one rollout in the filter's configuration.
#[derive(Debug)]
pub struct FilterRouter {
    sink: SharedSink,
    service: wire::Service,
    /// What may be watched.
    aa_test: Option<wire::AaTest>,
    table: Table,
    /// Users of versions that take no part in the rollout, which counts them as the baseline's.
    others_weight: Weight,
    /// The rollout's generation that is carried.
    generation: Generation,
    /// The carrier's generation from which on it is.
    since_sink_generation: Generation,
}

impl FilterRouter {
    /// Opens a place for a rollout of `service`. Nothing is changed there.
    ///
    /// # Errors
    /// The file is not there (Envoy needs it to start), is not what it has to be, or another serin has it; there is no xDS server; or the
    /// filter would not take the service.
    pub fn open(
        carriers: &ConfigSinks,
        place: &SinkLocation,
        service: &wire::Service,
    ) -> Result<Self, RouteError> {
        Self::with_sink(carriers.open(place)?, service)
    }

    /// The same for what is open already.
    pub(super) fn with_sink(sink: SharedSink, service: &wire::Service) -> Result<Self, RouteError> {
        let mut service = service.clone();
        let (table, others_weight, since_sink_generation, generation) = {
            let file = lock(&sink);
            let present = file.config().services.iter().find(|s| s.name == service.name);
            let (table, others) = match present {
                Some(present) => present_table(present, &service)?,
                None => (Table::all(0), Weight::ZERO),
            };
            if let Some(present) = present
                && table.weight(1) > Weight::ZERO
            {
                // Another salt would give the candidate other users.
                service.salt.clone_from(&present.salt);
            }
            let since = file.config().generation;
            (table, others, since, file.generation_of(&service.name).unwrap_or(since))
        };
        let router = Self {
            sink,
            service,
            aa_test: None,
            table,
            others_weight,
            generation,
            since_sink_generation,
        };
        router.check(UserAssignment::ServiceSalt)?;
        Ok(router)
    }

    /// Lets splits ask for this to be watched.
    ///
    /// # Errors
    /// The filter would not take it.
    pub fn allow_aa_test(&mut self, watch: wire::AaTest) -> Result<(), RouteError> {
        self.aa_test = Some(watch);
        self.check(UserAssignment::AaTest)
    }

    fn check(&self, users: UserAssignment) -> Result<(), RouteError> {
        let sink = lock(&self.sink);
        let (config, service) = (sink.config(), self.service_with(&self.table, users));
        with_service(config, service, config.generation).map(drop)
    }

    /// The split in force.
    #[must_use]
    pub fn present(&self) -> PresentSplit {
        PresentSplit {
            generation: Some(self.generation),
            candidate: self.table.weight(1),
            others: self.others_weight,
        }
    }

    /// Name of the filter's configuration, by which Envoy's statistics call it.
    #[must_use]
    pub fn filter(&self) -> String {
        lock(&self.sink).filter().to_owned()
    }

    /// The carrier's own generation, which proxies report.
    #[must_use]
    pub fn sink_generation(&self) -> Generation {
        lock(&self.sink).config().generation
    }

    /// Puts a split in force, with the least movement of users. To apply the same split again changes nothing but makes Envoy look again.
    ///
    /// # Errors
    /// It could not be put there; the old one is still in force.
    pub fn put(&mut self, split: Split) -> Result<(), RouteError> {
        let table = self.table.shifted(&[split.candidate.rest(), split.candidate])?;
        let service = self.service_with(&table, split.assignment);
        let mut sink = lock(&self.sink);
        let present = sink.config();
        let (since, generation) = match split.generation == self.generation {
            true => (self.since_sink_generation, present.generation),
            false => {
                let next = split.generation.max(present.generation.next());
                (next, next)
            }
        };
        let config = with_service(present, service, generation)?;
        sink.put(config, &self.service.name, split.generation)?;
        drop(sink);
        (self.table, self.generation, self.since_sink_generation) =
            (table, split.generation, since);
        Ok(())
    }

    /// The service with this table.
    fn service_with(&self, table: &Table, users: UserAssignment) -> wire::Service {
        let name =
            |run: &BucketRange| self.service.versions.get(run.version).map(|v| v.name.clone());
        let buckets = |run| Some(wire::BucketRange { version: name(run)?, count: run.buckets });
        let buckets = table.ranges().iter().filter_map(buckets).collect();
        let mut service = wire::Service { buckets, ..self.service.clone() };
        match (users, &self.aa_test) {
            (UserAssignment::AaTest, watch) => service.aa_test.clone_from(watch),
            (UserAssignment::TestedSalt(index), Some(watch)) => {
                service.salt.clone_from(watch.salts.get(index).unwrap_or(&self.service.salt))
            }
            _ => {}
        }
        service
    }
}

impl Router for FilterRouter {
    type Error = RouteError;

    async fn apply(&mut self, split: Split) -> Result<(), RouteError> {
        self.put(split)
    }

    /// Any generation of the carrier carries the rollout's from when it was put there on.
    fn generation_at(&self, running: Generation) -> Generation {
        match running {
            foreign if foreign > self.sink_generation() => foreign,
            running if running >= self.since_sink_generation => self.generation,
            older => older.min(Generation(self.generation.0.saturating_sub(1))),
        }
    }

    fn rejection_reason(&self) -> Option<String> {
        lock(&self.sink).rejection_reason()
    }
}

/// The present division of users between baseline and candidate, and the weight of versions that take no part in this rollout: their users
/// count as the baseline's.
fn present_table(
    present: &wire::Service,
    service: &wire::Service,
) -> Result<(Table, Weight), TableError> {
    if present.buckets.is_empty() {
        return Ok((Table::all(0), Weight::ZERO));
    }
    let mut others = 0;
    let table = Table::new(present.buckets.iter().map(|buckets| {
        let version = service.versions.iter().position(|v| v.name == buckets.version);
        others += if version.is_none() { buckets.count } else { 0 };
        BucketRange { version: version.unwrap_or(0), buckets: buckets.count }
    }))?;
    Ok((table, Weight::from_ppm(others).unwrap_or(Weight::ALL)))
}

#[cfg(test)]
mod tests;
