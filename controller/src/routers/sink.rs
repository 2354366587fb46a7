//! A sink carries the filter's configuration to proxies: a file that one Envoy follows, or xDS for a
//! group of them. The rollouts of one location share its sink.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serin_filter::config::{Config, wire};
use serin_filter::names::{Generation, ServiceName};

use super::RouteError;

/// A configuration on its way to proxies.
pub(super) trait ConfigSink: Debug + Send {
    /// Name of the filter's configuration, by which Envoy's statistics call it.
    fn filter(&self) -> &str;

    /// What it carries.
    fn config(&self) -> &wire::Config;

    /// The generation of a service's rollout that it carries; `None` if no rollout has said.
    fn generation_of(&self, service: &ServiceName) -> Option<Generation> {
        self.generations().get(service.as_str()).copied()
    }

    /// The generation of each rollout that it carries, by service.
    fn generations(&self) -> &BTreeMap<String, Generation>;

    /// Who refuses it, and why; `None` where proxies do not tell.
    fn rejection_reason(&self) -> Option<String> {
        None
    }

    /// Carries this configuration from now on, with this generation of a service's rollout.
    ///
    /// # Errors
    /// It can't; the one before is still carried.
    fn put(
        &mut self,
        config: wire::Config,
        service: &ServiceName,
        generation: Generation,
    ) -> Result<(), RouteError>;
}

/// The configuration that a carrier would carry with this service in it, under this generation.
///
/// # Errors
/// The filter would not take it.
pub(super) fn with_service(
    present: &wire::Config,
    service: wire::Service,
    generation: Generation,
) -> Result<wire::Config, RouteError> {
    let mut config = wire::Config { generation, ..present.clone() };
    config.services.retain(|present| present.name != service.name);
    config.services.push(service);
    Config::try_from(config.clone()).map_err(RouteError::Wanted)?;
    Ok(config)
}

/// What tells which generations a carrier carries: its own, and that of each rollout.
pub(super) fn generations_text(
    generation: Generation,
    carried: &BTreeMap<String, Generation>,
) -> String {
    let rollouts = carried.iter().map(|(service, carried)| format!(" {service}={carried}"));
    format!("{generation}{}", rollouts.collect::<String>())
}

/// Parses the text of [`generations_text`]. Other forms were not written by serin and are ignored.
pub(super) fn parse_generations(version: &str) -> BTreeMap<String, Generation> {
    let rollouts = version.split(' ').filter_map(|part| part.split_once('='));
    let read = rollouts.filter_map(|(service, generation)| {
        Some((service.to_owned(), Generation(generation.parse().ok()?)))
    });
    read.collect()
}

/// A carrier that rollouts share.
pub(super) type SharedSink = Arc<Mutex<dyn ConfigSink>>;

/// A panic with the lock leaves no partial state.
pub(super) fn lock(sink: &SharedSink) -> MutexGuard<'_, dyn ConfigSink + 'static> {
    sink.lock().unwrap_or_else(PoisonError::into_inner)
}
