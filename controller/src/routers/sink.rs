//! Sinks of the filter's configuration: a file that one Envoy follows, a group of an xDS server,
//! or a WasmPlugin. The rollouts of one location share its sink.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serin_filter::config::{Config, wire};
use serin_filter::names::{Generation, ServiceName};

use super::RouteError;

/// A sink of the filter's configuration.
pub(super) trait ConfigSink: Debug + Send {
    /// The name of the filter's configuration in Envoy's statistics.
    fn filter(&self) -> &str;

    /// The present configuration.
    fn present(&self) -> &SinkConfig;

    /// The proxies that reject the configuration, with their reasons; `None` if proxies report
    /// none.
    fn rejection_reason(&self) -> Option<String> {
        None
    }

    /// Replaces the configuration.
    ///
    /// # Errors
    /// The write failed; the previous configuration remains.
    fn put(&mut self, config: SinkConfig) -> Result<(), RouteError>;
}

/// The configuration in a sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkConfig {
    /// The filter's configuration, with the sink's own generation.
    pub config: wire::Config,
    /// The generation of each rollout in the sink, by service.
    pub generations: BTreeMap<String, Generation>,
}

impl SinkConfig {
    /// A configuration with the generations of a text as in [`Self::generations_text`].
    pub(super) fn new(config: wire::Config, generations: &str) -> Self {
        Self { config, generations: parse_generations(generations) }
    }

    /// The generation of a service's rollout; `None` if no rollout of it was ever in this sink.
    pub(super) fn generation_of(&self, service: &ServiceName) -> Option<Generation> {
        self.generations.get(service.as_str()).copied()
    }

    /// The filter's configuration with this service, under a new generation of the sink.
    ///
    /// # Errors
    /// The filter would reject it.
    pub(super) fn with_service(
        &self,
        service: wire::Service,
        generation: Generation,
    ) -> Result<wire::Config, RouteError> {
        let mut config = wire::Config { generation, ..self.config.clone() };
        config.services.retain(|present| present.name != service.name);
        config.services.push(service);
        Config::try_from(config.clone()).map_err(RouteError::InvalidConfig)?;
        Ok(config)
    }

    /// The generations in the sink as text: its own, and that of each rollout, such as
    /// `12 cart=7 shop=12`.
    pub(super) fn generations_text(&self) -> String {
        let rollouts = self.generations.iter();
        let rollouts = rollouts.map(|(service, generation)| format!(" {service}={generation}"));
        format!("{}{}", self.config.generation, rollouts.collect::<String>())
    }
}

/// Ignores parts in other formats: serin did not write them.
fn parse_generations(text: &str) -> BTreeMap<String, Generation> {
    let rollouts = text.split(' ').filter_map(|part| part.split_once('='));
    let parsed = rollouts.filter_map(|(service, generation)| {
        Some((service.to_owned(), Generation(generation.parse().ok()?)))
    });
    parsed.collect()
}

/// A sink that several rollouts share.
pub(super) type SharedSink = Arc<Mutex<dyn ConfigSink>>;

/// Locks a sink. A panic with the lock leaves no partial state.
pub(super) fn lock(sink: &SharedSink) -> MutexGuard<'_, dyn ConfigSink + 'static> {
    sink.lock().unwrap_or_else(PoisonError::into_inner)
}
