//! WasmPlugins: load the filter into a proxy, with its configuration.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::object::Object;
use super::resources::FilePaths;
use super::{Proxy, http, name, selects};

/// Plugins in this namespace apply to every namespace.
const ROOT_NAMESPACE: &str = "istio-system";

const TYPE: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";

/// The double ignores the module's URL and uses the shipped module: there is no registry.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct WasmPluginSpec {
    #[serde(rename = "url")]
    _url: String,
    #[serde(rename = "sha256")]
    _sha256: Option<String>,
    #[serde(rename = "imagePullPolicy")]
    _image_pull_policy: Option<String>,
    #[serde(rename = "imagePullSecret")]
    _image_pull_secret: Option<String>,
    selector: Option<Selector>,
    #[serde(default)]
    target_refs: Vec<TargetRef>,
    #[serde(default, rename = "match")]
    traffic: Vec<Traffic>,
    #[serde(default)]
    phase: Phase,
    #[serde(default)]
    priority: i32,
    #[serde(default)]
    plugin_name: String,
    #[serde(default)]
    plugin_config: Map<String, Value>,
    #[serde(default)]
    fail_strategy: FailStrategy,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Selector {
    #[serde(default)]
    match_labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetRef {
    #[serde(default, rename = "group")]
    _group: String,
    kind: String,
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Traffic {
    #[serde(default)]
    mode: Mode,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Mode {
    #[default]
    Undefined,
    Client,
    Server,
    ClientAndServer,
}

/// In the order of a proxy's filter chain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
enum Phase {
    #[serde(rename = "AUTHN")]
    Authn,
    #[serde(rename = "AUTHZ")]
    Authz,
    #[serde(rename = "STATS")]
    Stats,
    #[default]
    #[serde(rename = "UNSPECIFIED_PHASE")]
    Last,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
enum FailStrategy {
    #[default]
    #[serde(rename = "FAIL_CLOSE")]
    Close,
    #[serde(rename = "FAIL_OPEN")]
    Open,
    #[serde(rename = "FAIL_RELOAD")]
    Reload,
}

pub(super) type WasmPlugin = Object<WasmPluginSpec>;

/// Whether the proxy loads the plugin for outbound requests.
pub(super) fn is_for(plugin: &WasmPlugin, proxy: &Proxy) -> bool {
    let spec = &plugin.spec;
    let near = plugin.namespace == proxy.namespace || plugin.namespace == ROOT_NAMESPACE;
    let labels = spec.selector.as_ref().map(|selector| &selector.match_labels);
    let selected = labels.is_none_or(|labels| selects(labels, &proxy.labels));
    let targets = |target: &TargetRef| {
        target.kind == "Gateway" && Some(&target.name) == proxy.gateway.as_ref()
    };
    let targeted = spec.target_refs.is_empty() || spec.target_refs.iter().any(targets);
    let outbound = |traffic: &Traffic| traffic.mode != Mode::Server;
    let direction = spec.traffic.is_empty() || spec.traffic.iter().any(outbound);
    near && selected && targeted && direction
}

/// Sorts plugins into the order of the filter chain.
pub(super) fn sort(plugins: &mut [WasmPlugin]) {
    plugins.sort_by_key(|plugin| (plugin.spec.phase, std::cmp::Reverse(plugin.spec.priority)));
}

/// The filter in the listener. Its configuration is a resource of its own, so that a new one needs
/// no new listener.
pub(super) fn filter(plugin: &WasmPlugin, places: &FilePaths) -> Value {
    let name = resource_name(plugin);
    json!({
        "config_discovery": { "config_source": places.source(&name), "type_urls": [TYPE] },
        "name": name,
    })
}

/// The resource name of a plugin.
pub(super) fn resource_name(plugin: &WasmPlugin) -> String {
    name::plugin(&plugin.name, &plugin.namespace)
}

/// The resource with the filter's configuration.
pub(super) fn resource(plugin: &WasmPlugin, places: &FilePaths) -> Value {
    let name = resource_name(plugin);
    let spec = &plugin.spec;
    let policy = match spec.fail_strategy {
        FailStrategy::Close => "FAIL_CLOSED",
        FailStrategy::Open => "FAIL_OPEN",
        FailStrategy::Reload => "FAIL_RELOAD",
    };
    let mut config = json!({
        "name": name,
        "root_id": spec.plugin_name,
        "failure_policy": policy,
        "vm_config": {
            "runtime": "envoy.wasm.runtime.v8",
            "code": { "local": { "filename": places.module() } },
        },
    });
    if !spec.plugin_config.is_empty() {
        let text = as_struct(&spec.plugin_config.clone().into()).to_string();
        config["configuration"] =
            json!({ "@type": "type.googleapis.com/google.protobuf.StringValue", "value": text });
    }
    http::resource(
        "config.core.v3.TypedExtensionConfig",
        json!({ "name": name, "typed_config": { "@type": TYPE, "config": config } }),
    )
}

/// The JSON after Istio's conversion to a protobuf `Struct`, in which every number is a double.
fn as_struct(value: &Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64() {
            #[allow(clippy::cast_possible_truncation)] // a whole number of at most 2^63
            Some(double) if double.fract() == 0.0 && double.abs() < 9e18 => (double as i64).into(),
            double => json!(double),
        },
        Value::Array(values) => values.iter().map(as_struct).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), as_struct(value))).collect()
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_through_doubles() {
        let beyond = (1_u64 << 53) + 1;
        let submitted = json!({"a": [1_000_000, 0.5, beyond, "x"], "b": null});
        assert_eq!(
            as_struct(&submitted),
            json!({"a": [1_000_000, 0.5, beyond - 1, "x"], "b": null})
        );
    }
}
