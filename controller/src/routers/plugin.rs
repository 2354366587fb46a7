//! The filter's configuration in a WasmPlugin, which all rollouts of its scope share.
//!
//! Nothing is written here: a split changes what shall be carried, and whoever knows the API server writes it ([`PluginConfig::edits`]). What each
//! rollout's generation is stands in an annotation, as proxies report that of the whole.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use serin_filter::config::wire;
use serin_filter::names::{Generation, ServiceName};

use super::RouteError;
use super::filter::FilterRouter;
use crate::kubernetes::patches::wasm_plugin::PluginError;
use crate::kubernetes::patches::{Edits, wasm_plugin};
use crate::routers::sink::{ConfigSink, generations_text, parse_generations};

/// What a plugin shall carry. Clones are of the same.
#[derive(Debug, Clone)]
pub struct PluginConfig(Arc<Mutex<DesiredConfig>>);

#[derive(Debug)]
struct DesiredConfig {
    config: wire::Config,
    /// The generation of each rollout that it carries, by service.
    generations: BTreeMap<String, Generation>,
}

impl PluginConfig {
    /// What a plugin carries.
    ///
    /// # Errors
    /// The object is no WasmPlugin with a configuration of the filter.
    pub fn read(object: &Value) -> Result<Self, PluginError> {
        let config = wasm_plugin::config(object)?;
        let generations =
            parse_generations(wasm_plugin::generations_annotation(object).unwrap_or_default());
        Ok(Self(Arc::new(Mutex::new(DesiredConfig { config, generations }))))
    }

    fn desired(&self) -> MutexGuard<'_, DesiredConfig> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A router for the service of one rollout. What it puts in force has to be written then.
    ///
    /// # Errors
    /// The filter would not take the service.
    pub fn router(&self, service: &wire::Service) -> Result<FilterRouter, RouteError> {
        FilterRouter::with_sink(self.0.clone(), service)
    }

    /// What has to change for the plugin to carry what it shall.
    ///
    /// # Errors
    /// The object is no WasmPlugin of serin's.
    pub fn edits(&self, object: &Value) -> Result<Edits, PluginError> {
        let draft = self.desired();
        let carried = generations_text(draft.config.generation, &draft.generations);
        wasm_plugin::with_generations(object, &draft.config, &carried)
    }
}

impl ConfigSink for DesiredConfig {
    /// Istio's proxies count refused configurations where no client can read them; the filter counts its
    /// own.
    fn filter(&self) -> &str {
        ""
    }

    fn config(&self) -> &wire::Config {
        &self.config
    }

    fn generations(&self) -> &BTreeMap<String, Generation> {
        &self.generations
    }

    fn put(
        &mut self,
        config: wire::Config,
        service: &ServiceName,
        generation: Generation,
    ) -> Result<(), RouteError> {
        self.config = config;
        self.generations.insert(service.to_string(), generation);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use serin_core::split::{Split, UserAssignment};
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
    fn several_rollouts_share_a_plugin_and_each_finds_its_own_again() {
        let object = plugin();
        let config = PluginConfig::read(&object).unwrap();
        assert!(!config.edits(&object).unwrap().is_empty(), "it does not say yet whom it carries");
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
    fn what_is_no_plugin_of_serins_is_refused() {
        let mut object = plugin();
        object["spec"]["pluginConfig"] = json!({"other": 1});
        PluginConfig::read(&object).unwrap_err();
    }
}
