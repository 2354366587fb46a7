//! `serin init istio`: the objects that a mesh needs before the first rollout of a service.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use serin_core::spec::{
    GatewayApiProxies, IstioProxies as Mesh, MAX_BYTES, Pods, Proxies, Spec, Splitter,
};
use serin_filter::config::{SCHEMA, wire};
use serin_filter::names::Generation;

use self::cluster::IstioCluster;
use super::super::{CliError, CliResult, ExitStatus};
use crate::files;
use crate::kubernetes::patches::wasm_plugin::{PluginPhase, WasmPlugin};

mod cluster;

const NETWORKING: &str = "networking.istio.io/v1";

/// The header with the version that the filter chose.
const VERSION_HEADER: &str = "x-serin-version";

/// Print the objects that Istio needs for a rollout
///
/// Apply them once; serin then changes only weights or the configuration of the filter in them.
/// For spec.istio: the subsets of the versions, the routes, and the plugin that loads the filter
/// into the proxies. For spec.gatewayApi: the plugin; the route is yours.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE, after_long_help = EXAMPLE)]
pub(super) struct InitIstioArgs {
    /// The rollout
    #[arg(value_name = "ROLLOUT.yaml")]
    rollout: PathBuf,

    /// URL of the filter for proxies: the image of `make wasm-image` in your registry
    #[arg(long, value_name = "URL", default_value = "oci://registry.example/serin-filter:0.1.0")]
    module: String,
}

const EXAMPLE: &str = "\
Example:
  serin init istio rollout.yaml --module oci://registry.example/serin-filter:0.1.0 > mesh.yaml
  kubectl apply -f mesh.yaml";

impl InitIstioArgs {
    pub(super) fn execute(self) -> CliResult {
        let invalid = |reason| CliError::invalid(format!("{}: {reason}", self.rollout.display()));
        let documents = documents(&self.rollout, &self.module).map_err(invalid)?;
        print!("{}", documents.join("---\n"));
        Ok(ExitStatus::Success)
    }
}

fn documents(path: &Path, module: &str) -> Result<Vec<String>, String> {
    let text = files::read_text(path, MAX_BYTES).map_err(|error| error.to_string())?;
    let spec = Spec::parse(&text).map_err(|error| error.to_string())?;
    let namespace = namespace(&text)?;
    let (pods, routes) = match &spec.proxies {
        Proxies::Istio(mesh) => (&mesh.pods, routes(&spec, mesh, &namespace)?),
        Proxies::GatewayApi(GatewayApiProxies { pods, .. }) => (pods, Vec::new()),
        Proxies::Envoy(_) => {
            return Err("spec.envoy: not a mesh; use `serin init envoy`".to_owned());
        }
    };
    let plugin = plugin(&spec, pods, &namespace, module)?;
    routes.into_iter().chain([plugin]).map(|(comment, object)| document(comment, &object)).collect()
}

/// The namespace of the rollout and its objects.
fn namespace(text: &str) -> Result<String, String> {
    let document: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let named = document.pointer("/metadata/namespace").and_then(Value::as_str);
    Ok(named.unwrap_or("default").to_owned())
}

fn document(comment: &str, object: &Value) -> Result<String, String> {
    let comment: String = comment.lines().map(|line| format!("# {line}\n")).collect();
    let yaml = serde_saphyr::to_string(object).map_err(|error| error.to_string())?;
    Ok(format!("{comment}{}\n", yaml.trim_end()))
}

/// An object with its comment.
type Explained = (&'static str, Value);

const SUBSETS: &str = "\
The subsets of the versions, by labels of pods. Change the labels to those of your pods.";

const BY_HEADER: &str = "\
The filter writes its choice into x-serin-version, and these routes match it: one for each version except the baseline. Without the filter, the
baseline serves all requests. For a gateway add spec.gateways and its host. Put your own routes before these, and repeat the match of the first
route in each.";

const BY_WEIGHT: &str = "\
serin changes the two weights. For a gateway add spec.gateways and its host.";

fn routes(spec: &Spec, mesh: &Mesh, namespace: &str) -> Result<Vec<Explained>, String> {
    let clusters =
        spec.service.versions.iter().map(|version| IstioCluster::parse(&version.cluster));
    let clusters: Vec<_> = clusters.collect::<Result<_, _>>()?;
    let [baseline, candidate] = clusters.as_slice() else {
        return Err("spec.versions: two are needed, the baseline and the candidate".to_owned());
    };
    if baseline.host != candidate.host {
        return Err(format!(
            "spec.versions: {} and {} are two Services: which host clients call is not said. Make them subsets of one, or write the routes \
             by hand",
            baseline.host, candidate.host
        ));
    }
    let host = &baseline.host;
    let name = host.split('.').next().unwrap_or(host);
    let object = |kind: &str, name: &str, spec: Value| {
        let metadata = json!({ "name": name, "namespace": namespace });
        json!({ "apiVersion": NETWORKING, "kind": kind, "metadata": metadata, "spec": spec })
    };
    let subsets: Vec<_> = clusters.iter().filter_map(IstioCluster::subset).collect();
    let rule = object("DestinationRule", name, json!({ "host": host, "subsets": subsets }));
    let (name, explained, http) = match &mesh.splitter {
        Splitter::Filter { .. } => {
            let version = spec.plan.candidate.as_str();
            (name, BY_HEADER, by_header(version, baseline, candidate))
        }
        Splitter::Mesh { virtual_service, .. } => {
            (&**virtual_service, BY_WEIGHT, by_weight(baseline, candidate))
        }
    };
    let service = object("VirtualService", name, json!({ "hosts": [host], "http": http }));
    Ok(vec![(SUBSETS, rule), (explained, service)])
}

fn by_header(version: &str, baseline: &IstioCluster<'_>, candidate: &IstioCluster<'_>) -> Value {
    let matched = json!([{ "headers": { VERSION_HEADER: { "exact": version } } }]);
    json!([
        { "match": matched, "route": [{ "destination": candidate.destination() }] },
        { "route": [{ "destination": baseline.destination() }] },
    ])
}

fn by_weight(baseline: &IstioCluster<'_>, candidate: &IstioCluster<'_>) -> Value {
    let share = |cluster: &IstioCluster<'_>, weight: u32| json!({ "destination": cluster.destination(), "weight": weight });
    json!([{ "route": [share(baseline, 100), share(candidate, 0)] }])
}

const CHOOSES: &str = "\
The filter, in the proxies of the service's clients. serin changes only pluginConfig. Requests bypass the filter where it is missing or fails.";

const OBSERVES: &str = "\
The filter, in the proxies of the service's clients: it records the version and the outcome of each request. Requests bypass the filter where it is
missing or fails. One plugin serves all services: list their entries in it.";

/// The plugin with the filter: without a service while the filter chooses, or with the service where
/// the mesh chooses.
fn plugin(spec: &Spec, pods: &Pods, namespace: &str, module: &str) -> Result<Explained, String> {
    let chooses = spec.service.split == wire::Split::Filter;
    let name = match &spec.proxies {
        Proxies::Istio(Mesh { splitter: Splitter::Filter { plugin }, .. }) => plugin.clone(),
        _ => "serin".to_owned(),
    };
    let plugin = WasmPlugin {
        name,
        // A plugin is for proxies of its own namespace.
        namespace: pods.namespace.clone().unwrap_or_else(|| namespace.to_owned()),
        url: module.to_owned(),
        labels: pods.labels.clone(),
        phase: Some(PluginPhase::Stats),
        priority: None,
    };
    let config = wire::Config {
        schema: SCHEMA,
        generation: Generation(0),
        services: if chooses { Vec::new() } else { vec![spec.service.clone()] },
    };
    let object = plugin.object(&config).map_err(|error| error.to_string())?;
    Ok((if chooses { CHOOSES } else { OBSERVES }, object))
}

#[cfg(test)]
mod tests;
