//! Istio's WasmPlugin: the filter in the proxies of a scope, with its configuration.
//!
//! Istio converts `pluginConfig` to a protobuf `Struct`, and passes it to the filter as JSON
//! again: the order of fields may change, and every number is a double. So a generation may not
//! exceed 2^53.
//!
//! After the creation, a patch changes only `spec.pluginConfig`. The user's additions (a checksum,
//! a pull secret, ports) stay.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};
use serin_filter::config::{Config, ConfigError, wire};
use thiserror::Error;

use super::field::Field;
use super::{Edits, FieldError};

const API_VERSION: &str = "extensions.istio.io/v1alpha1";
/// The schemes of Istio's module addresses. The default is `oci`.
const SCHEMES: [&str; 4] = ["http", "https", "oci", "file"];
/// The annotation with the generation of each rollout in a plugin.
const GENERATIONS_ANNOTATION: &str = "serin.dev/carried";
/// The greatest integer up to which a double is exact.
const MAX_EXACT_INTEGER: u64 = 1 << 53;

/// A plugin that can't be written.
#[derive(Debug, Error)]
#[allow(missing_docs)] // the messages say it
pub enum PluginError {
    #[error(transparent)]
    Field(#[from] FieldError),
    #[error("spec.pluginConfig: {0}")]
    Config(#[from] ConfigError),
    #[error(
        "spec.pluginConfig.generation: {0} is more than the {MAX_EXACT_INTEGER} that Istio passes on exactly"
    )]
    Generation(u64),
    #[error("spec.url: {0:?} is not an address such as oci://registry.example/serin:1.0.0")]
    Url(String),
    #[error(
        "spec.selector.matchLabels: {0:?} is not a label; patterns and empty names are not allowed"
    )]
    Label(String),
}

/// A plugin to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WasmPlugin {
    /// Its name.
    pub name: String,
    /// Its namespace. A plugin in Istio's root namespace applies to every namespace.
    pub namespace: String,
    /// The module's address: `oci://`, `https://`, `http://` or `file://`.
    pub url: String,
    /// The labels of the pods whose sidecars and gateways load it; all pods of the namespace if
    /// empty. The filter chooses the version of the requests that these pods send.
    pub labels: BTreeMap<String, String>,
    /// The phase in the filter chain; before the router if absent.
    pub phase: Option<PluginPhase>,
    /// The order among plugins of one phase: the highest first.
    pub priority: Option<i32>,
}

/// A phase of a proxy's filter chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PluginPhase {
    /// Before authentication.
    Authn,
    /// After authentication, before authorization.
    Authz,
    /// After authorization, before Istio's statistics.
    Stats,
}

impl WasmPlugin {
    /// The object to be created, with this configuration.
    ///
    /// # Errors
    /// The filter would reject the configuration, or Istio the object.
    pub fn object(&self, config: &wire::Config) -> Result<Value, PluginError> {
        let mut spec = Map::new();
        let mut put = |name: &str, value| spec.insert(name.to_owned(), value);
        put("url", self.checked_url()?.into());
        // With the tag `latest`, Istio fetches the module at each change of the object by default:
        // without the registry no weight could change or roll back.
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
        // By default Istio answers 503 once a proxy can't get the module, or the module fails.
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

/// The last written filter configuration in a plugin.
///
/// # Errors
/// The object is not a WasmPlugin, or its configuration is not serin's.
pub fn config(object: &Value) -> Result<wire::Config, PluginError> {
    let field = present(&Field::root(object))?;
    let config: wire::Config =
        serde_json::from_value(field.value.clone()).map_err(ConfigError::from)?;
    Config::try_from(config.clone())?;
    Ok(config)
}

/// The edits that give a plugin this configuration.
///
/// # Errors
/// The object is not serin's WasmPlugin, or the filter would reject the configuration.
pub fn edits(object: &Value, config: &wire::Config) -> Result<Edits, PluginError> {
    let object = Field::root(object);
    let present = present(&object)?;
    let desired = plugin_config(config)?;
    let mut edits = Edits::of(&object);
    if *present.value != desired {
        edits.expect(present.path.clone(), present.value.clone());
        edits.replace(present.path, desired);
    }
    Ok(edits)
}

/// The generations in its annotation.
#[must_use]
pub fn generations_annotation(object: &Value) -> Option<&str> {
    object.get("metadata")?.get("annotations")?.get(GENERATIONS_ANNOTATION)?.as_str()
}

/// The edits that give a plugin this configuration and these generations.
///
/// # Errors
/// The same as of [`edits`].
pub fn with_generations(
    object: &Value,
    config: &wire::Config,
    generations: &str,
) -> Result<Edits, PluginError> {
    let mut edits = edits(object, config)?;
    if generations_annotation(object) == Some(generations) {
        return Ok(edits);
    }
    let metadata = Field::root(object).required("metadata")?;
    match metadata.get("annotations") {
        Some(annotations) => {
            let place = annotations.path.with_trailing_token(GENERATIONS_ANNOTATION);
            match generations_annotation(object) {
                Some(_) => edits.replace(place, generations.into()),
                None => edits.add(place, generations.into()),
            }
        }
        None => {
            let place = metadata.path.with_trailing_token("annotations");
            edits.add(place, json!({ GENERATIONS_ANNOTATION: generations }));
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

/// Istio's rules for labels, which API servers before 1.25 do not check.
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
