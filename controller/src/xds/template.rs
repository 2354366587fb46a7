//! The filter in a file (`envoy/filter.json`), served with other configurations: module, failure
//! policy and names are the user's.
//!
//! Parsing is strict. serin can't pass on an unknown field, and a proxy would run something else
//! than the file, so such a field is an error.

use envoy_types::pb::envoy::config::core::v3::{
    AsyncDataSource, BackoffStrategy, DataSource, TypedExtensionConfig, async_data_source,
    data_source,
};
use envoy_types::pb::envoy::extensions::filters::http::wasm::v3::Wasm;
use envoy_types::pb::envoy::extensions::wasm::v3::{
    FailurePolicy, PluginConfig, ReloadConfig, VmConfig, plugin_config,
};
use envoy_types::pb::google::protobuf::{Duration, StringValue};
use envoy_types::util::pack_any;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny};
use thiserror::Error;

use super::protocol::Resource;

/// The file can't be served.
#[derive(Debug, Error)]
#[error("{path}: {cause}")]
pub struct FilterTemplateError {
    /// The path of the field, such as `resources[0].typed_config.config.vm_config.runtime`.
    path: String,
    cause: serde_json::Error,
}

/// The filter without its configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct FilterTemplate {
    name: String,
    plugin: PluginConfig,
    configuration: String,
}

impl FilterTemplate {
    /// Parses a discovery response in JSON with one filter in it, such as `envoy/filter.json`.
    ///
    /// # Errors
    /// The text is not such a response, or has a field that `envoy/filter.json` does not have.
    pub fn parse(json: &[u8]) -> Result<Self, FilterTemplateError> {
        let deserializer = &mut serde_json::Deserializer::from_slice(json);
        let file: File = serde_path_to_error::deserialize(deserializer).map_err(|error| {
            FilterTemplateError { path: error.path().to_string(), cause: error.into_inner() }
        })?;
        let [Extension { name, typed_config: Filter { config, .. }, .. }] = file.resources;
        let configuration = config.configuration.value.clone();
        Ok(Self { name, plugin: config.message(), configuration })
    }

    /// The resource name in the proxies' subscriptions.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The configuration in the file.
    #[must_use]
    pub fn configuration(&self) -> &str {
        &self.configuration
    }

    /// The filter with this configuration and version.
    #[must_use]
    pub fn resource(&self, version: String, configuration: String) -> Resource {
        let configuration = pack_any(StringValue { value: configuration });
        let plugin = PluginConfig { configuration: Some(configuration), ..self.plugin.clone() };
        let body = pack_any(TypedExtensionConfig {
            name: self.name.clone(),
            typed_config: Some(pack_any(Wasm { config: Some(plugin) })),
        });
        Resource { name: self.name.clone(), version, body }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// The publisher sets the version.
    #[serde(rename = "version_info", default)]
    _version_info: IgnoredAny,
    resources: [Extension; 1],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Extension {
    #[serde(rename = "@type")]
    _type: ExtensionType,
    name: String,
    typed_config: Filter,
}

#[derive(Deserialize)]
enum ExtensionType {
    #[serde(rename = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig")]
    TypedExtensionConfig,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    #[serde(rename = "@type")]
    _type: FilterType,
    config: Plugin,
}

#[derive(Deserialize)]
enum FilterType {
    #[serde(rename = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm")]
    Wasm,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plugin {
    #[serde(default)]
    name: String,
    vm_config: Vm,
    #[serde(default, deserialize_with = "failure_policy")]
    failure_policy: FailurePolicy,
    reload_config: Option<Reload>,
    configuration: Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vm {
    #[serde(default)]
    vm_id: String,
    runtime: String,
    code: Code,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Code {
    local: Local,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Local {
    filename: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reload {
    backoff: Backoff,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Backoff {
    #[serde(deserialize_with = "interval")]
    base_interval: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    #[serde(rename = "@type")]
    _type: TextType,
    value: String,
}

#[derive(Deserialize)]
enum TextType {
    #[serde(rename = "type.googleapis.com/google.protobuf.StringValue")]
    StringValue,
}

fn failure_policy<'de, D: Deserializer<'de>>(deserializer: D) -> Result<FailurePolicy, D::Error> {
    let name = String::deserialize(deserializer)?;
    FailurePolicy::from_str_name(&name)
        .ok_or_else(|| D::Error::custom(format_args!("{name:?} is not a failure policy")))
}

/// Envoy divides by this number of milliseconds: below 1 the process ends, and below 2 it may
/// after rounding.
fn interval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let interval: prost_types::Duration = text.parse().map_err(D::Error::custom)?;
    let prost_types::Duration { seconds, nanos } = interval;
    if seconds < 0 || seconds == 0 && nanos < 2_000_000 {
        return Err(D::Error::custom(format_args!("{text}: below 0.002s Envoy crashes")));
    }
    Ok(Duration { seconds, nanos })
}

impl Plugin {
    /// The filter without its configuration.
    fn message(self) -> PluginConfig {
        let Self { name, vm_config: Vm { vm_id, runtime, code }, failure_policy, .. } = self;
        let filename = data_source::Specifier::Filename(code.local.filename);
        let local = DataSource { specifier: Some(filename), ..DataSource::default() };
        let code = AsyncDataSource { specifier: Some(async_data_source::Specifier::Local(local)) };
        let vm = VmConfig { vm_id, runtime, code: Some(code), ..VmConfig::default() };
        let reload_config = self.reload_config.map(|reload| ReloadConfig {
            backoff: Some(BackoffStrategy {
                base_interval: Some(reload.backoff.base_interval),
                max_interval: None,
            }),
        });
        PluginConfig {
            name,
            vm: Some(plugin_config::Vm::VmConfig(vm)),
            failure_policy: failure_policy.into(),
            reload_config,
            ..PluginConfig::default()
        }
    }
}

#[cfg(test)]
mod tests;
