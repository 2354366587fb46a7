//! A split as a table of buckets in the filter's configuration, for the service of one rollout.

use serin_core::config::sink::SinkLocation;
use serin_core::ports::Router;
use serin_core::split::{Split, UserAssignment};
use serin_filter::config::wire;
use serin_filter::names::Generation;
use serin_filter::table::{BucketRange, Table, TableError, Weight};

use super::{PresentSplit, RouteError};
use crate::routers::sink::{SharedSink, SinkConfig, lock};
use crate::routers::sinks::ConfigSinks;

/// The service of one rollout in the filter's configuration.
#[derive(Debug)]
pub struct FilterRouter {
    sink: SharedSink,
    service: wire::Service,
    /// The A/A test that splits may ask for.
    aa_test: Option<wire::AaTest>,
    table: Table,
    /// The weight of versions outside the rollout. Their users count as the baseline's.
    others_weight: Weight,
    /// The rollout's generation in the sink.
    generation: Generation,
    /// The first generation of the sink that contains it.
    since_sink_generation: Generation,
}

impl FilterRouter {
    /// Opens the sink at `location` for a rollout of `service`. Changes nothing.
    ///
    /// # Errors
    /// The file is missing (Envoy needs it to start) or invalid, or another process has locked it;
    /// this process runs no xDS server; or the filter would reject the service.
    pub fn open(
        sinks: &ConfigSinks,
        location: &SinkLocation,
        service: &wire::Service,
    ) -> Result<Self, RouteError> {
        Self::with_sink(sinks.open(location)?, service)
    }

    /// A router for `service` in an open sink.
    pub(super) fn with_sink(sink: SharedSink, service: &wire::Service) -> Result<Self, RouteError> {
        let mut service = service.clone();
        let (table, others_weight, since_sink_generation, generation) = {
            let sink = lock(&sink);
            let SinkConfig { config, .. } = sink.present();
            let present = config.services.iter().find(|s| s.name == service.name);
            let (table, others) = match present {
                Some(present) => present_table(present, &service)?,
                None => (Table::all(0), Weight::ZERO),
            };
            if let Some(present) = present
                && table.weight(1) > Weight::ZERO
            {
                // Another salt would reassign the candidate's users.
                service.salt.clone_from(&present.salt);
            }
            let since = config.generation;
            let generation = sink.present().generation_of(&service.name).unwrap_or(since);
            (table, others, since, generation)
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

    /// Permits splits that ask for this A/A test.
    ///
    /// # Errors
    /// The filter would reject it.
    pub fn allow_aa_test(&mut self, test: wire::AaTest) -> Result<(), RouteError> {
        self.aa_test = Some(test);
        self.check(UserAssignment::AaTest)
    }

    fn check(&self, users: UserAssignment) -> Result<(), RouteError> {
        let sink = lock(&self.sink);
        let (present, service) = (sink.present(), self.service_with(&self.table, users));
        present.with_service(service, present.config.generation).map(drop)
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

    /// The name of the filter's configuration in Envoy's statistics.
    #[must_use]
    pub fn filter(&self) -> String {
        lock(&self.sink).filter().to_owned()
    }

    /// The sink's own generation, which proxies report.
    #[must_use]
    pub fn sink_generation(&self) -> Generation {
        lock(&self.sink).present().config.generation
    }

    /// Puts a split in force with the fewest reassigned users. A repeated split writes the same
    /// configuration, which Envoy then loads again.
    ///
    /// # Errors
    /// The write failed; the previous split remains in force.
    pub fn put(&mut self, split: Split) -> Result<(), RouteError> {
        let table = self.table.shifted(&[split.candidate.rest(), split.candidate])?;
        let service = self.service_with(&table, split.assignment);
        let mut sink = lock(&self.sink);
        let present = sink.present();
        let sink_generation = present.config.generation;
        let (since, generation) = match split.generation == self.generation {
            true => (self.since_sink_generation, sink_generation),
            false => {
                let next = split.generation.max(sink_generation.next());
                (next, next)
            }
        };
        let config = present.with_service(service, generation)?;
        let mut generations = present.generations.clone();
        generations.insert(self.service.name.to_string(), split.generation);
        sink.put(SinkConfig { config, generations })?;
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
            (UserAssignment::AaTest, test) => service.aa_test.clone_from(test),
            (UserAssignment::TestedSalt(index), Some(test)) => {
                service.salt.clone_from(test.salts.get(index).unwrap_or(&self.service.salt))
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

    /// The sink contains the rollout's generation from the write of it on.
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

/// The present table of baseline and candidate, and the weight of versions outside the rollout.
/// Their users count as the baseline's.
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
