//! The filter's configuration for a group of proxies, pushed to them by xDS. It is kept, so that the same is served after a restart.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serin_core::observation::aggregator::join_names;
use serin_filter::config::{Config, wire};
use serin_filter::names::{Generation, ServiceName};
use thiserror::Error;

use super::RouteError;
use crate::routers::sink::ConfigSink;
use crate::xds::publisher::Publisher;
use crate::xds::template::FilterTemplate;

/// What a group is served, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupConfig {
    /// The filter's configuration.
    pub config: wire::Config,
    /// The generation of each rollout that it carries, by service.
    pub generations: BTreeMap<String, Generation>,
}

/// A store of groups could not be read or written.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct GroupStoreError(Box<dyn Error + Send + Sync>);

impl GroupStoreError {
    /// An error of the store's own kind.
    #[must_use]
    pub fn new(error: impl Error + Send + Sync + 'static) -> Self {
        Self(Box::new(error))
    }
}

/// Keeps what groups are served.
pub trait GroupStore: Debug + Send + Sync {
    /// All that was kept, by group.
    ///
    /// # Errors
    /// It can't be read.
    fn load(&self) -> Result<Vec<(String, GroupConfig)>, GroupStoreError>;

    /// Keeps what a group is served.
    ///
    /// # Errors
    /// It can't be written.
    fn save(&self, group: &str, served: &GroupConfig) -> Result<(), GroupStoreError>;
}

/// The groups of an xDS server.
#[derive(Debug)]
pub struct XdsGroups {
    publisher: Publisher,
    template: Arc<FilterTemplate>,
    store: Arc<dyn GroupStore>,
    open: Mutex<BTreeMap<String, Arc<Mutex<XdsGroup>>>>,
}

impl XdsGroups {
    /// Publishes what was kept.
    ///
    /// # Errors
    /// It can't be read.
    pub fn start(
        publisher: Publisher,
        template: FilterTemplate,
        store: Arc<dyn GroupStore>,
    ) -> Result<Self, RouteError> {
        let groups =
            Self { publisher, template: Arc::new(template), store, open: Mutex::default() };
        for (group, config) in groups.store.load()? {
            let served = XdsGroup { config, ..groups.empty(&group)? };
            served.publish(&served.config.config)?;
            groups.insert(group, served);
        }
        Ok(groups)
    }

    pub(super) fn open(&self, group: &str) -> Result<Arc<Mutex<XdsGroup>>, RouteError> {
        let known = self.open.lock().unwrap_or_else(PoisonError::into_inner).get(group).cloned();
        match known {
            Some(known) => Ok(known),
            None => Ok(self.insert(group.to_owned(), self.empty(group)?)),
        }
    }

    fn insert(&self, name: String, group: XdsGroup) -> Arc<Mutex<XdsGroup>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.entry(name).or_insert_with(|| Arc::new(Mutex::new(group))).clone()
    }

    /// A group that is served what the template says.
    fn empty(&self, group: &str) -> Result<XdsGroup, RouteError> {
        let wrong = |reason: String| RouteError::Group { group: group.to_owned(), reason };
        let text = self.template.configuration().as_bytes();
        Config::parse(text).map_err(RouteError::Wanted)?;
        let config = serde_json::from_slice(text).map_err(|error| wrong(error.to_string()))?;
        Ok(XdsGroup {
            group: group.to_owned(),
            publisher: self.publisher.clone(),
            template: self.template.clone(),
            store: self.store.clone(),
            config: GroupConfig { config, generations: BTreeMap::new() },
        })
    }
}

/// One group.
#[derive(Debug)]
pub(super) struct XdsGroup {
    group: String,
    publisher: Publisher,
    template: Arc<FilterTemplate>,
    store: Arc<dyn GroupStore>,
    config: GroupConfig,
}

impl XdsGroup {
    fn publish(&self, config: &wire::Config) -> Result<(), RouteError> {
        let text = serde_json::to_string(config).map_err(|error| RouteError::Group {
            group: self.group.clone(),
            reason: error.to_string(),
        })?;
        let resource = self.template.resource(config.generation.to_string(), text);
        self.publisher.publish(&self.group, resource);
        Ok(())
    }
}

/// What a proxy says, without the rest of a long text.
fn truncate(reason: &str) -> String {
    const LONGEST: usize = 300;
    let mut rest = reason.trim().chars();
    let first: String = rest.by_ref().take(LONGEST).collect();
    if rest.next().is_some() { first + "..." } else { first }
}

impl ConfigSink for XdsGroup {
    fn filter(&self) -> &str {
        self.template.name()
    }

    fn config(&self) -> &wire::Config {
        &self.config.config
    }

    fn generations(&self) -> &BTreeMap<String, Generation> {
        &self.config.generations
    }

    fn rejection_reason(&self) -> Option<String> {
        let proxies = self.publisher.proxies(&self.group);
        let refusing = proxies.iter().filter_map(|proxy| {
            let rejection = proxy.resources.get(self.template.name())?.rejected.as_ref()?;
            Some(format!("{}: {}", proxy.node, truncate(&rejection.reason)))
        });
        Some(join_names(refusing)).filter(|refusing| !refusing.is_empty())
    }

    /// Published first: a rollback waits for no disk. What could not be kept is kept with the next.
    fn put(
        &mut self,
        config: wire::Config,
        service: &ServiceName,
        generation: Generation,
    ) -> Result<(), RouteError> {
        self.publish(&config)?;
        self.config.config = config;
        self.config.generations.insert(service.to_string(), generation);
        if let Err(why) = self.store.save(&self.group, &self.config) {
            tracing::error!(group = self.group, error = %why, "served configuration not persisted");
        }
        Ok(())
    }
}
