//! A split as a table of buckets in the filter's configuration, for the service of one rollout.

use serin_filter::config::wire;
use serin_filter::names::Generation;
use serin_filter::table::{BucketRange, Table, TableError, Weight};

use super::carrier::{Carriers, Shared, lock, with};
use super::{Place, RouteError, Router, Split, Users};

/// The service of one rollout in the filter's configuration.
#[derive(Debug)]
pub struct FilterRouter {
    carrier: Shared,
    service: wire::Service,
    /// What may be watched.
    watch: Option<wire::AaTest>,
    table: Table,
    /// Users of versions that take no part in the rollout, which counts them as the baseline's.
    others: Weight,
    /// The rollout's generation that is carried.
    generation: Generation,
    /// The carrier's generation from which on it is.
    since: Generation,
}

impl FilterRouter {
    /// Opens a place for a rollout of `service`. Nothing is changed there.
    ///
    /// # Errors
    /// The file is not there (Envoy needs it to start), is not what it has to be, or another serin has it; there is no xDS server; or the
    /// filter would not take the service.
    pub fn open(
        carriers: &Carriers,
        place: &Place,
        service: &wire::Service,
    ) -> Result<Self, RouteError> {
        Self::carried_by(carriers.open(place)?, service)
    }

    /// The same for what is open already.
    pub(super) fn carried_by(carrier: Shared, service: &wire::Service) -> Result<Self, RouteError> {
        let mut service = service.clone();
        let (table, others, since, generation) = {
            let file = lock(&carrier);
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
            (table, others, since, file.carried(&service.name).unwrap_or(since))
        };
        let router = Self { carrier, service, watch: None, table, others, generation, since };
        router.check(Users::Usual)?;
        Ok(router)
    }

    /// Lets splits ask for this to be watched.
    ///
    /// # Errors
    /// The filter would not take it.
    pub fn allow(&mut self, watch: wire::AaTest) -> Result<(), RouteError> {
        self.watch = Some(watch);
        self.check(Users::Watched)
    }

    fn check(&self, users: Users) -> Result<(), RouteError> {
        let carrier = lock(&self.carrier);
        let (config, service) = (carrier.config(), self.service_with(&self.table, users));
        with(config, service, config.generation).map(drop)
    }

    /// The candidate's present weight.
    #[must_use]
    pub fn candidate(&self) -> Weight {
        self.table.weight(1)
    }

    /// The present weight of versions that take no part in the rollout.
    #[must_use]
    pub fn others(&self) -> Weight {
        self.others
    }

    /// Name of the filter's configuration, by which Envoy's statistics call it.
    #[must_use]
    pub fn filter(&self) -> String {
        lock(&self.carrier).filter().to_owned()
    }

    /// The rollout's generation that is carried.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The carrier's own generation, which proxies report.
    #[must_use]
    pub fn carrier_generation(&self) -> Generation {
        lock(&self.carrier).config().generation
    }

    /// Puts a split in force, with the least movement of users. To apply the same split again changes nothing but makes Envoy look again.
    ///
    /// # Errors
    /// It could not be put there; the old one is still in force.
    pub fn put(&mut self, split: Split) -> Result<(), RouteError> {
        let table = self.table.shifted(&[split.candidate.rest(), split.candidate])?;
        let service = self.service_with(&table, split.users);
        let mut carrier = lock(&self.carrier);
        let present = carrier.config();
        let (since, generation) = match split.generation == self.generation {
            true => (self.since, present.generation),
            false => {
                let next = split.generation.max(present.generation.next());
                (next, next)
            }
        };
        let config = with(present, service, generation)?;
        carrier.put(config, &self.service.name, split.generation)?;
        drop(carrier);
        (self.table, self.generation, self.since) = (table, split.generation, since);
        Ok(())
    }

    /// The service with this table.
    fn service_with(&self, table: &Table, users: Users) -> wire::Service {
        let name =
            |run: &BucketRange| self.service.versions.get(run.version).map(|v| v.name.clone());
        let buckets = |run| Some(wire::BucketRange { version: name(run)?, count: run.buckets });
        let buckets = table.ranges().iter().filter_map(buckets).collect();
        let mut service = wire::Service { buckets, ..self.service.clone() };
        match (users, &self.watch) {
            (Users::Watched, watch) => service.aa_test.clone_from(watch),
            (Users::Salted(index), Some(watch)) => {
                service.salt.clone_from(watch.salts.get(index).unwrap_or(&self.service.salt))
            }
            _ => {}
        }
        service
    }
}

impl Router for FilterRouter {
    async fn apply(&mut self, split: Split) -> Result<(), String> {
        self.put(split).map_err(|error| error.to_string())
    }

    /// Any generation of the carrier carries the rollout's from when it was put there on.
    fn generation_at(&self, running: Generation) -> Generation {
        match running {
            foreign if foreign > self.carrier_generation() => foreign,
            running if running >= self.since => self.generation,
            older => older.min(Generation(self.generation.0.saturating_sub(1))),
        }
    }

    fn refusals(&self) -> Option<String> {
        lock(&self.carrier).refusals()
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
