//! The filter's configuration for a group of proxies, pushed to them by xDS. The store contains
//! it, so that a restarted server serves the same configuration.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use serin_core::observation::aggregator::join_names;
use serin_filter::config::{Config, wire};
use thiserror::Error;

use super::RouteError;
use crate::routers::sink::{ConfigSink, SinkConfig};
use crate::xds::publisher::Publisher;
use crate::xds::template::FilterTemplate;

/// The store of groups can't be read or written.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct GroupStoreError(Box<dyn Error + Send + Sync>);

impl GroupStoreError {
    /// Wraps an error of the store.
    #[must_use]
    pub fn new(error: impl Error + Send + Sync + 'static) -> Self {
        Self(Box::new(error))
    }
}

/// Persists the configuration of each group.
pub trait GroupStore: Debug + Send + Sync {
    /// The stored configurations, by group.
    ///
    /// # Errors
    /// The read failed.
    fn load(&self) -> Result<Vec<(String, SinkConfig)>, GroupStoreError>;

    /// Stores the configuration of a group.
    ///
    /// # Errors
    /// The write failed.
    fn save(&self, group: &str, config: &SinkConfig) -> Result<(), GroupStoreError>;
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
    /// Publishes the stored configurations.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn start(
        publisher: Publisher,
        template: FilterTemplate,
        store: Arc<dyn GroupStore>,
    ) -> Result<Self, RouteError> {
        let groups =
            Self { publisher, template: Arc::new(template), store, open: Mutex::default() };
        for (name, present) in groups.store.load()? {
            let group = XdsGroup { present, ..groups.empty(&name)? };
            group.publish(&group.present.config)?;
            groups.insert(name, group);
        }
        Ok(groups)
    }

    pub(super) fn open(&self, group: &str) -> Result<Arc<Mutex<XdsGroup>>, RouteError> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).get(group).cloned();
        match open {
            Some(open) => Ok(open),
            None => Ok(self.insert(group.to_owned(), self.empty(group)?)),
        }
    }

    fn insert(&self, name: String, group: XdsGroup) -> Arc<Mutex<XdsGroup>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.entry(name).or_insert_with(|| Arc::new(Mutex::new(group))).clone()
    }

    /// A group with the template's configuration.
    fn empty(&self, group: &str) -> Result<XdsGroup, RouteError> {
        let invalid = |reason: String| RouteError::Group { group: group.to_owned(), reason };
        let text = self.template.configuration().as_bytes();
        Config::parse(text).map_err(RouteError::InvalidConfig)?;
        let config = serde_json::from_slice(text).map_err(|error| invalid(error.to_string()))?;
        Ok(XdsGroup {
            group: group.to_owned(),
            publisher: self.publisher.clone(),
            template: self.template.clone(),
            store: self.store.clone(),
            present: SinkConfig { config, generations: BTreeMap::new() },
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
    present: SinkConfig,
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

/// Limits the length of a proxy's message.
fn truncate(reason: &str) -> String {
    const MAX_CHARS: usize = 300;
    let mut rest = reason.trim().chars();
    let first: String = rest.by_ref().take(MAX_CHARS).collect();
    if rest.next().is_some() { first + "..." } else { first }
}

impl ConfigSink for XdsGroup {
    fn filter(&self) -> &str {
        self.template.name()
    }

    fn present(&self) -> &SinkConfig {
        &self.present
    }

    fn rejection_reason(&self) -> Option<String> {
        let proxies = self.publisher.proxies(&self.group);
        let rejections = proxies.iter().filter_map(|proxy| {
            let rejection = proxy.resources.get(self.template.name())?.rejected.as_ref()?;
            Some(format!("{}: {}", proxy.node, truncate(&rejection.reason)))
        });
        Some(join_names(rejections)).filter(|rejections| !rejections.is_empty())
    }

    /// Publishes before it stores: a rollback does not wait for the disk. After a failed write the
    /// next write stores the newer configuration.
    fn put(&mut self, config: SinkConfig) -> Result<(), RouteError> {
        self.publish(&config.config)?;
        self.present = config;
        if let Err(error) = self.store.save(&self.group, &self.present) {
            tracing::error!(group = self.group, %error, "served configuration not persisted");
        }
        Ok(())
    }
}
