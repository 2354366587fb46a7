//! A mesh whose proxies run the filter: a WasmPlugin carries the split. The rollouts of its scope
//! share it.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use serin_core::ports::Router;
use serin_core::rollout::plan::Plan;
use serin_core::spec::Pods;
use serin_core::split::Split;
use serin_filter::config::wire;
use serin_filter::names::Generation;
use serin_filter::table::Weight;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::{ClusterContext, MeshHandles, MeshRouter, proxy_source};
use crate::kubernetes::objects::{ClusterError, ManagedObject, api_resource};
use crate::kubernetes::patches::wasm_plugin::PluginError;
use crate::operator::reconcile_error::{ReconcileError, invalid};
use crate::routers::capacity_gate::CapacityGate;
use crate::routers::filter::FilterRouter;
use crate::routers::plugin::PluginConfig;

/// The plugins of an operator, by namespace and name. Each is opened once.
pub(crate) type Plugins = Arc<Mutex<HashMap<(String, String), Weak<ManagedPlugin>>>>;

/// One plugin.
#[derive(Debug)]
pub(crate) struct ManagedPlugin {
    object: ManagedObject,
    config: PluginConfig,
    /// Held while it is written.
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

    /// Has the object carry what it shall.
    async fn write(&self) -> Result<(), ClusterError> {
        let _one_after_the_other = self.writing.lock().await;
        self.object.change::<PluginError>(|object| self.config.edits(object)).await?;
        Ok(())
    }
}

/// Where one service is split by a plugin.
#[derive(Debug)]
pub(crate) struct PluginTarget {
    plugin: Arc<ManagedPlugin>,
    filter: FilterRouter,
}

impl PluginTarget {
    /// The service in the plugin of this name. Nothing is written.
    pub(crate) async fn open(
        cluster: &ClusterContext,
        namespace: &str,
        plugin: &str,
        service: &wire::Service,
    ) -> Result<Self, ReconcileError> {
        let plugin = ManagedPlugin::open(cluster, namespace, plugin).await?;
        let filter = plugin.config.router(service).map_err(invalid)?;
        Ok(Self { plugin, filter })
    }

    /// The candidate's present share, and that of versions that take no part.
    pub(crate) fn current_weight(&self) -> (Weight, Weight) {
        (self.filter.candidate(), self.filter.others_weight())
    }

    /// The rollout's generation that is carried.
    pub(crate) fn generation(&self) -> Generation {
        self.filter.generation()
    }

    /// Lets splits ask for what the plan watches.
    pub(crate) fn allow_aa_test(&mut self, plan: &Plan) -> Result<(), ReconcileError> {
        plan.filter_aa_test()
            .map_or(Ok(()), |watch| self.filter.allow_aa_test(watch))
            .map_err(invalid)
    }

    /// Whether the plugin is ahead of this split, without more users at the candidate.
    pub(crate) fn rolled_back(&self, split: Split) -> bool {
        self.filter.generation() > split.generation && self.filter.candidate() <= split.candidate
    }

    /// Follows the proxies.
    pub(crate) fn follow(
        self,
        cluster: &ClusterContext,
        namespace: &str,
        pods: Pods,
        plan: &Plan,
    ) -> MeshHandles {
        let mut watches = JoinSet::new();
        let (source, proxies) = proxy_source(cluster, namespace, pods, plan, &mut watches);
        let Self { plugin, filter } = self;
        let share = filter.candidate();
        let router = MeshRouter::Plugin(Box::new(PluginRouter { plugin, filter }));
        MeshHandles { router: CapacityGate::new(router, share), source, watches, proxies }
    }
}

/// Splits in a plugin.
#[derive(Debug)]
pub(crate) struct PluginRouter {
    plugin: Arc<ManagedPlugin>,
    filter: FilterRouter,
}

impl Router for PluginRouter {
    async fn apply(&mut self, split: Split) -> Result<(), String> {
        self.filter.put(split).map_err(|error| error.to_string())?;
        self.plugin.write().await.map_err(|error| error.to_string())
    }

    fn generation_at(&self, running: Generation) -> Generation {
        self.filter.generation_at(running)
    }
}
