//! The filter's configuration in a WasmPlugin. All rollouts in the plugin's scope share it.
//!
//! This module does no I/O: a split changes the desired configuration, and the caller writes the
//! edits ([`PluginConfig::edits`]). Proxies report the generation of the whole configuration, so
//! an annotation lists the generation of each rollout.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use serin_filter::config::wire;

use super::RouteError;
use super::filter::FilterRouter;
use crate::kubernetes::patches::wasm_plugin::PluginError;
use crate::kubernetes::patches::{Edits, wasm_plugin};
use crate::routers::sink::{ConfigSink, SinkConfig};

/// The desired configuration of a plugin. Clones share it.
#[derive(Debug, Clone)]
pub struct PluginConfig(Arc<Mutex<DesiredConfig>>);

#[derive(Debug)]
struct DesiredConfig(SinkConfig);

impl PluginConfig {
    /// Reads the configuration of a plugin.
    ///
    /// # Errors
    /// The object is not a WasmPlugin with a valid filter configuration.
    pub fn read(object: &Value) -> Result<Self, PluginError> {
        let config = wasm_plugin::config(object)?;
        let generations = wasm_plugin::generations_annotation(object).unwrap_or_default();
        let desired = DesiredConfig(SinkConfig::new(config, generations));
        Ok(Self(Arc::new(Mutex::new(desired))))
    }

    fn desired(&self) -> MutexGuard<'_, DesiredConfig> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A router for the service of one rollout. After each split the caller writes the edits.
    ///
    /// # Errors
    /// The filter would reject the service.
    pub fn router(&self, service: &wire::Service) -> Result<FilterRouter, RouteError> {
        FilterRouter::with_sink(self.0.clone(), service)
    }

    /// The edits that give the plugin the desired configuration.
    ///
    /// # Errors
    /// The object is not a WasmPlugin of serin.
    pub fn edits(&self, object: &Value) -> Result<Edits, PluginError> {
        let DesiredConfig(desired) = &*self.desired();
        wasm_plugin::with_generations(object, &desired.config, &desired.generations_text())
    }
}

impl ConfigSink for DesiredConfig {
    /// Empty: no client can read the counters of rejected configurations in Istio's proxies. The
    /// filter has counters of its own.
    fn filter(&self) -> &str {
        ""
    }

    fn present(&self) -> &SinkConfig {
        &self.0
    }

    fn put(&mut self, config: SinkConfig) -> Result<(), RouteError> {
        self.0 = config;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use serin_core::split::{Split, UserAssignment};
    use serin_filter::names::Generation;
    use serin_filter::table::Weight;

    use super::*;

    fn plugin() -> Value {
        json!({
            "apiVersion": "extensions.istio.io/v1alpha1",
            "kind": "WasmPlugin",
            "metadata": {"name": "serin", "namespace": "shop", "resourceVersion": "7"},
            "spec": {"url": "oci://x", "pluginConfig": {"schema": 1, "generation": 3, "services": []}},
        })
    }

    fn service(name: &str) -> wire::Service {
        let versions = ["v1", "v2"].map(|v| json!({"name": v, "cluster": format!("{name}-{v}")}));
        serde_json::from_value(json!({"name": name, "authorities": [name], "versions": versions}))
            .unwrap()
    }

    fn split(generation: u64, ppm: u32) -> Split {
        let candidate = Weight::from_ppm(ppm).unwrap();
        Split {
            generation: Generation(generation),
            candidate,
            assignment: UserAssignment::ServiceSalt,
        }
    }

    #[test]
    fn rollouts_share_a_plugin_and_resume_their_own_generations() {
        let object = plugin();
        let config = PluginConfig::read(&object).unwrap();
        assert!(!config.edits(&object).unwrap().is_empty(), "the annotation is missing");
        let mut shop = config.router(&service("shop")).unwrap();
        let mut cart = config.router(&service("cart")).unwrap();
        shop.put(split(4, 10_000)).unwrap();
        cart.put(split(1, 500_000)).unwrap();
        assert!(!config.edits(&object).unwrap().is_empty());
        let written = config.edits(&object).unwrap().applied(&object).unwrap();
        assert!(config.edits(&written).unwrap().is_empty());
        let annotation = "/metadata/annotations/serin.dev~1carried";
        assert_eq!(written.pointer(annotation).unwrap(), "5 cart=1 shop=4");
        // Another operator takes over.
        let config = PluginConfig::read(&written).unwrap();
        let shop = config.router(&service("shop")).unwrap();
        assert_eq!(
            (shop.present().generation, shop.present().candidate.ppm()),
            (Some(Generation(4)), 10_000)
        );
        assert_eq!(shop.sink_generation(), Generation(5));
        assert!(config.edits(&written).unwrap().is_empty());
    }

    #[test]
    fn a_plugin_of_another_filter_is_rejected() {
        let mut object = plugin();
        object["spec"]["pluginConfig"] = json!({"other": 1});
        PluginConfig::read(&object).unwrap_err();
    }
}
