//! A mesh whose proxies run the filter: a WasmPlugin carries the split. The rollouts of its scope
//! share it.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use serin_core::ports::Router;
use serin_core::split::Split;
use serin_filter::config::wire;
use serin_filter::names::Generation;
use tokio::sync::Mutex;

use super::ClusterContext;
use crate::engine::start::StartError;
use crate::kubernetes::objects::{ClusterError, ManagedObject, api_resource};
use crate::kubernetes::patches::wasm_plugin::PluginError;
use crate::routers::filter::FilterRouter;
use crate::routers::plugin::PluginConfig;
use crate::routers::{PresentSplit, RouteError};

/// The plugins of an operator, by namespace and name. Each is opened once.
pub(crate) type Plugins = Arc<Mutex<HashMap<(String, String), Weak<ManagedPlugin>>>>;

/// One plugin.
#[derive(Debug)]
pub(crate) struct ManagedPlugin {
    object: ManagedObject,
    config: PluginConfig,
    /// Held during a write.
    writing: Mutex<()>,
}

impl ManagedPlugin {
    async fn open(
        cluster: &ClusterContext,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<Self>, ClusterError> {
        let key = (namespace.to_owned(), name.to_owned());
        let mut plugins = cluster.plugins.lock().await;
        plugins.retain(|_, plugin| plugin.strong_count() > 0);
        if let Some(plugin) = plugins.get(&key).and_then(Weak::upgrade) {
            return Ok(plugin);
        }
        let resource = api_resource("extensions.istio.io", "v1alpha1", "WasmPlugin");
        let (client, fence) = (cluster.client.clone(), cluster.fence.clone());
        let subject = ManagedObject::new(client, &resource, namespace, name, fence);
        let object = subject.read().await?;
        let config = PluginConfig::read(&object).map_err(|error| (subject.describe(), error))?;
        let plugin = Arc::new(Self { object: subject, config, writing: Mutex::default() });
        plugins.insert(key, Arc::downgrade(&plugin));
        Ok(plugin)
    }

    /// Writes the present configuration to the object.
    async fn write(&self) -> Result<(), ClusterError> {
        let _guard = self.writing.lock().await;
        self.object.change::<PluginError>(|object| self.config.edits(object)).await?;
        Ok(())
    }
}

/// One service in a plugin.
#[derive(Debug)]
pub(crate) struct PluginTarget {
    plugin: Arc<ManagedPlugin>,
    filter: FilterRouter,
}

impl PluginTarget {
    /// Opens the service in the plugin of this name. Nothing is written.
    ///
    /// # Errors
    /// The plugin can't be read, or the filter would reject the service.
    pub(crate) async fn open(
        cluster: &ClusterContext,
        namespace: &str,
        plugin: &str,
        service: &wire::Service,
    ) -> Result<Self, StartError> {
        let plugin = ManagedPlugin::open(cluster, namespace, plugin).await?;
        let filter = plugin.config.router(service).map_err(rejected)?;
        Ok(Self { plugin, filter })
    }

    /// The split in force.
    pub(crate) fn present(&self) -> PresentSplit {
        self.filter.present()
    }

    /// Permits splits that assign users by this A/A test.
    pub(crate) fn allow_aa_test(&mut self, test: wire::AaTest) -> Result<(), StartError> {
        self.filter.allow_aa_test(test).map_err(rejected)
    }

    /// The router to the plugin.
    pub(crate) fn connect(self) -> PluginRouter {
        let Self { plugin, filter } = self;
        PluginRouter { plugin, filter }
    }
}

fn rejected(cause: RouteError) -> StartError {
    StartError::Route { field: "spec.istio.plugin", cause }
}

/// Applies splits by a plugin.
#[derive(Debug)]
pub(crate) struct PluginRouter {
    plugin: Arc<ManagedPlugin>,
    filter: FilterRouter,
}

impl Router for PluginRouter {
    type Error = RouteError;

    async fn apply(&mut self, split: Split) -> Result<(), RouteError> {
        self.filter.put(split)?;
        Ok(self.plugin.write().await?)
    }

    fn generation_at(&self, running: Generation) -> Generation {
        self.filter.generation_at(running)
    }
}
