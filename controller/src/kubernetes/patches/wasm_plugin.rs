//! Istio's WasmPlugin: the filter in the proxies of a scope, with its configuration.
//!
//! Istio makes a protobuf `Struct` of `pluginConfig` and hands it to the filter as JSON again: the same text but for the order of fields, and with
//! every number as a double. So a generation may not pass 2^53.
//!
//! The object is made once; after that only `spec.pluginConfig` is ever changed. What users add to it (a checksum, a pull secret, ports) stays.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};
use serin_filter::config::{Config, ConfigError, wire};
use thiserror::Error;

use super::field::Field;
use super::{Edits, FieldError};

const API_VERSION: &str = "extensions.istio.io/v1alpha1";
/// The schemes of addresses that Istio gets a module from. Without one, `oci` is meant.
const SCHEMES: [&str; 4] = ["http", "https", "oci", "file"];
/// The annotation that tells which generation of each rollout a plugin carries.
const GENERATIONS_ANNOTATION: &str = "serin.dev/carried";
/// The greatest whole number up to which a double tells all from their neighbours.
const MAX_EXACT_INTEGER: u64 = 1 << 53;

/// Why there is no plugin to be written.
#[derive(Debug, Error)]
#[allow(missing_docs)] // the messages say it
pub enum PluginError {
    #[error(transparent)]
    Field(#[from] FieldError),
    #[error("spec.pluginConfig: {0}")]
    Config(#[from] ConfigError),
    #[error(
        "spec.pluginConfig.generation: {0} is more than the {MAX_EXACT_INTEGER} that Istio hands on exactly"
    )]
    Generation(u64),
    #[error("spec.url: {0:?} is not an address such as oci://registry.example/serin:1.0.0")]
    Url(String),
    #[error(
        "spec.selector.matchLabels: {0:?} is not a label; patterns are not allowed, nor an empty name"
    )]
    Label(String),
}

/// A plugin as it is made the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WasmPlugin {
    /// Its name.
    pub name: String,
    /// Its namespace. In Istio's root namespace it is every namespace's.
    pub namespace: String,
    /// Where the module is: `oci://`, `https://`, `http://` or `file://`.
    pub url: String,
    /// The labels of the pods whose sidecars and gateways load it; all pods of the namespace if empty. It acts on the requests that
    /// they send: there the version is chosen.
    pub labels: BTreeMap<String, String>,
    /// Where among the filters it stands; before the router if absent.
    pub phase: Option<PluginPhase>,
    /// The order among plugins of one phase: the highest first.
    pub priority: Option<i32>,
}

/// Where among a proxy's filters a plugin stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PluginPhase {
    /// Before those that authenticate.
    Authn,
    /// After those, before those that authorize.
    Authz,
    /// After those, before Istio's statistics.
    Stats,
}

impl WasmPlugin {
    /// The object to be created, with this configuration.
    ///
    /// # Errors
    /// The filter would refuse the configuration, or Istio the object.
    pub fn object(&self, config: &wire::Config) -> Result<Value, PluginError> {
        let mut spec = Map::new();
        let mut put = |name: &str, value| spec.insert(name.to_owned(), value);
        put("url", self.checked_url()?.into());
        // Where the tag is `latest`, Istio's default is to fetch the module again at each change of the object: no weight would change, nor
        // be taken back, without the registry.
        put("imagePullPolicy", "IfNotPresent".into());
        check_labels(&self.labels)?;
        if !self.labels.is_empty() {
            put("selector", json!({ "matchLabels": self.labels }));
        }
        put("match", json!([{ "mode": "CLIENT" }]));
        if let Some(phase) = self.phase {
            put("phase", json!(phase));
        }
        if let Some(priority) = self.priority {
            put("priority", priority.into());
        }
        // Istio's default answers 503 for good once a proxy can't get the module, or the module fails.
        put("failStrategy", "FAIL_OPEN".into());
        put("pluginConfig", plugin_config(config)?);
        Ok(json!({
            "apiVersion": API_VERSION,
            "kind": "WasmPlugin",
            "metadata": {
                "name": self.name,
                "namespace": self.namespace,
                "labels": { "app.kubernetes.io/managed-by": "serin" },
            },
            "spec": spec,
        }))
    }

    fn checked_url(&self) -> Result<&str, PluginError> {
        let scheme = self.url.split_once("://").map_or("oci", |(scheme, _)| scheme);
        let known = !self.url.is_empty() && SCHEMES.contains(&scheme);
        known.then_some(&*self.url).ok_or_else(|| PluginError::Url(self.url.clone()))
    }
}

/// The filter's configuration in a plugin, as it was written last.
///
/// # Errors
/// The object is no WasmPlugin, or its configuration is not one of serin's.
pub fn config(object: &Value) -> Result<wire::Config, PluginError> {
    let field = present(&Field::root(object))?;
    let config: wire::Config =
        serde_json::from_value(field.value.clone()).map_err(ConfigError::from)?;
    Config::try_from(config.clone())?;
    Ok(config)
}

/// What has to change for a plugin to have this configuration.
///
/// # Errors
/// The object is no WasmPlugin of serin's, or the filter would refuse the configuration.
pub fn edits(object: &Value, config: &wire::Config) -> Result<Edits, PluginError> {
    let object = Field::root(object);
    let present = present(&object)?;
    let wanted = plugin_config(config)?;
    let mut edits = Edits::of(&object);
    if *present.value != wanted {
        edits.expect(present.path.clone(), present.value.clone());
        edits.replace(present.path, wanted);
    }
    Ok(edits)
}

/// Which generations it says that it carries.
#[must_use]
pub fn generations_annotation(object: &Value) -> Option<&str> {
    object.get("metadata")?.get("annotations")?.get(GENERATIONS_ANNOTATION)?.as_str()
}

/// What has to change for a plugin to have this configuration, and to say that it carries these generations.
///
/// # Errors
/// As of [`edits`].
pub fn with_generations(
    object: &Value,
    config: &wire::Config,
    says: &str,
) -> Result<Edits, PluginError> {
    let mut edits = edits(object, config)?;
    if generations_annotation(object) == Some(says) {
        return Ok(edits);
    }
    let metadata = Field::root(object).required("metadata")?;
    match metadata.get("annotations") {
        Some(annotations) => {
            let place = annotations.path.with_trailing_token(GENERATIONS_ANNOTATION);
            match generations_annotation(object) {
                Some(_) => edits.replace(place, says.into()),
                None => edits.add(place, says.into()),
            }
        }
        None => {
            let place = metadata.path.with_trailing_token("annotations");
            edits.add(place, json!({ GENERATIONS_ANNOTATION: says }));
        }
    }
    Ok(edits)
}

fn present<'o>(object: &Field<'o>) -> Result<Field<'o>, FieldError> {
    let kind = object.required("kind")?;
    if kind.text()? != "WasmPlugin" {
        return Err(kind.fault(format!("{} is not \"WasmPlugin\"", kind.value)));
    }
    object.required("spec")?.required("pluginConfig")
}

fn plugin_config(config: &wire::Config) -> Result<Value, PluginError> {
    Config::try_from(config.clone())?;
    if config.generation.0 > MAX_EXACT_INTEGER {
        return Err(PluginError::Generation(config.generation.0));
    }
    Ok(serde_json::to_value(config).map_err(ConfigError::from)?)
}

/// What Istio's own rules say about labels, which API servers before 1.25 don't check.
fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), PluginError> {
    let wrong = |(name, value): &(&String, &String)| {
        name.is_empty() || name.contains('*') || value.contains('*')
    };
    match labels.iter().find(wrong) {
        Some((name, value)) => Err(PluginError::Label(format!("{name}: {value}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
