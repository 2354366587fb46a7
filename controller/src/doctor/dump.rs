//! The relevant parts of Envoy's `/config_dump`.

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serin_filter::config::{Config, wire};

/// The configuration that an Envoy runs.
#[derive(Debug, Default)]
pub(super) struct Dump {
    pub(super) bootstrap: Bootstrap,
    /// The HTTP connection managers of all listeners.
    pub(super) managers: Vec<Manager>,
    /// Filters that came by discovery.
    pub(super) discovered: Vec<Discovered>,
    /// Routes that came by discovery.
    routes: Vec<RouteConfig>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Bootstrap {
    pub(super) node: Node,
    stats_config: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Node {
    pub(super) id: String,
    pub(super) cluster: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Manager {
    http_filters: Vec<HttpFilter>,
    route_config: Option<RouteConfig>,
    rds: Option<Rds>,
    early_header_mutation_extensions: Vec<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct HttpFilter {
    pub(super) name: String,
    pub(super) config_discovery: Option<Discovery>,
    /// Absent if it comes by discovery.
    #[serde(deserialize_with = "wasm")]
    pub(super) typed_config: Option<Wasm>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Discovery {
    pub(super) config_source: ConfigSource,
    #[serde(deserialize_with = "wasm")]
    pub(super) default_config: Option<Wasm>,
    type_urls: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ConfigSource {
    pub(super) path_config_source: Option<PathSource>,
    pub(super) initial_fetch_timeout: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PathSource {
    pub(super) path: String,
}

/// The configuration of a filter that is a WebAssembly module.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wasm {
    pub(super) config: Plugin,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Plugin {
    pub(super) failure_policy: Option<String>,
    reload_config: Value,
    configuration: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Discovered {
    pub(super) version_info: String,
    pub(super) ecds_filter: Extension,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Extension {
    pub(super) name: String,
    #[serde(deserialize_with = "wasm")]
    pub(super) typed_config: Option<Wasm>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Rds {
    route_config_name: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct RouteConfig {
    name: String,
    pub(super) virtual_hosts: Vec<VirtualHost>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct VirtualHost {
    pub(super) name: String,
    pub(super) domains: Vec<String>,
    pub(super) routes: Vec<EnvoyRoute>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct EnvoyRoute {
    #[serde(rename = "match")]
    pub(super) matches: Match,
    pub(super) route: Option<RouteAction>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Match {
    pub(super) headers: Vec<HeaderMatcher>,
    pub(super) query_parameters: Vec<Value>,
    pub(super) runtime_fraction: Option<Value>,
    /// The path match, of any kind.
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct HeaderMatcher {
    pub(super) name: String,
    pub(super) string_match: Option<StringMatch>,
    pub(super) present_match: Option<bool>,
    pub(super) invert_match: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct StringMatch {
    pub(super) exact: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct RouteAction {
    pub(super) cluster: Option<String>,
    pub(super) cluster_header: Option<String>,
}

impl Dump {
    /// Parses the page.
    pub(super) fn parse(page: &[u8]) -> Result<Self, serde_json::Error> {
        let page: Page = serde_json::from_slice(page)?;
        let mut dump = Self::default();
        for section in page.configs {
            match section {
                Section::Bootstrap { bootstrap } => dump.bootstrap = bootstrap,
                Section::Ecds { ecds_filters } => dump.discovered = ecds_filters,
                Section::Listeners { static_listeners, dynamic_listeners } => {
                    let dynamic = dynamic_listeners.iter().filter_map(|it| it.get("active_state"));
                    let listeners = static_listeners.iter().chain(dynamic);
                    let listeners = listeners.filter_map(|it| it.get("listener"));
                    dump.managers = listeners.flat_map(managers).collect();
                }
                Section::Routes { dynamic_route_configs } => {
                    dump.routes = dynamic_route_configs.into_iter().map(|it| it.config).collect();
                }
                Section::Other => {}
            }
        }
        Ok(dump)
    }

    /// The routes of a manager; `None` if they have not arrived.
    pub(super) fn routes<'d>(&'d self, manager: &'d Manager) -> Option<&'d RouteConfig> {
        match (&manager.route_config, &manager.rds) {
            (Some(own), _) => Some(own),
            (None, Some(rds)) => self.routes.iter().find(|it| it.name == rds.route_config_name),
            (None, None) => None,
        }
    }

    /// The rules that make labels of statistics, by the label.
    pub(super) fn labels(&self) -> impl Iterator<Item = &str> {
        let tags = elements(self.bootstrap.stats_config.get("stats_tags"));
        tags.filter_map(|tag| tag.get("tag_name")?.as_str())
    }

    /// The discovered filter of this name.
    pub(super) fn discovered(&self, name: &str) -> Option<&Discovered> {
        self.discovered.iter().find(|discovered| discovered.ecds_filter.name == name)
    }

    /// serin's filter with each manager: the filter of this name, or, without a name, those that
    /// look like serin's.
    pub(super) fn filters<'d>(
        &'d self,
        name: Option<&'d str>,
    ) -> impl Iterator<Item = (&'d Manager, &'d HttpFilter)> {
        let is_serin = move |filter: &HttpFilter| match name {
            Some(name) => filter.name == name,
            None => self.looks_like_serin(filter),
        };
        let of = move |manager: &'d Manager| {
            let filter = manager.http_filters.iter().find(|filter| is_serin(filter))?;
            Some((manager, filter))
        };
        self.managers.iter().filter_map(of)
    }

    fn looks_like_serin(&self, filter: &HttpFilter) -> bool {
        let discovery = filter.config_discovery.as_ref();
        let submitted =
            self.discovered(&filter.name).and_then(|it| it.ecds_filter.typed_config.as_ref());
        let known = [
            submitted,
            discovery.and_then(|it| it.default_config.as_ref()),
            filter.typed_config.as_ref(),
        ];
        let mut known = known.into_iter().flatten().peekable();
        if known.peek().is_none() {
            // Nothing has arrived yet, so its kind is unknown.
            let wasm = |url: &String| url.ends_with("filters.http.wasm.v3.Wasm");
            return discovery.is_some_and(|discovery| discovery.type_urls.iter().any(wasm));
        }
        known.any(|wasm| wasm.config.serin().is_some())
    }
}

impl Manager {
    /// Whether the manager removes this header from requests before the route lookup.
    pub(super) fn removes(&self, header: &str) -> bool {
        let early = self.early_header_mutation_extensions.iter();
        let mutations = early.flat_map(|it| elements(it.pointer("/typed_config/mutations")));
        let mut removed = mutations.filter_map(|it| it.get("remove")?.as_str());
        removed.any(|removed| removed.eq_ignore_ascii_case(header))
    }
}

impl Plugin {
    /// The configuration, if it is one for serin's filter.
    pub(super) fn serin(&self) -> Option<wire::Config> {
        let text = self.configuration.get("value")?.as_str()?;
        Config::parse(text.as_bytes()).ok()?;
        serde_json::from_str(text).ok()
    }

    /// The backoff before the module is loaded again, in seconds.
    pub(super) fn reload_seconds(&self) -> Option<f64> {
        let interval = self.reload_config.pointer("/backoff/base_interval")?.as_str()?;
        interval.strip_suffix('s')?.parse().ok()
    }
}

impl Match {
    /// The path match, such as `prefix /shop`.
    pub(super) fn path(&self) -> String {
        let one = |(kind, value): (&String, &Value)| match value.as_str() {
            Some(text) => format!("{kind} {text}"),
            None => format!("{kind} {value}"),
        };
        self.rest.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    /// Whether it matches every path.
    pub(super) fn every_path(&self) -> bool {
        self.path() == "prefix /"
    }
}

/// Configurations of other filters may have any form.
fn wasm<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Wasm>, D::Error> {
    let config = Value::deserialize(from)?;
    let kind = config.get("@type").and_then(Value::as_str).unwrap_or_default();
    let is_serin = kind.ends_with("filters.http.wasm.v3.Wasm");
    Ok(is_serin.then(|| serde_json::from_value(config).ok()).flatten())
}

#[derive(Deserialize)]
struct Page {
    configs: Vec<Section>,
}

#[derive(Deserialize)]
#[serde(tag = "@type")]
enum Section {
    #[serde(rename = "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump")]
    Bootstrap { bootstrap: Bootstrap },
    #[serde(rename = "type.googleapis.com/envoy.admin.v3.EcdsConfigDump")]
    Ecds {
        #[serde(default)]
        ecds_filters: Vec<Discovered>,
    },
    #[serde(rename = "type.googleapis.com/envoy.admin.v3.ListenersConfigDump")]
    Listeners {
        #[serde(default)]
        static_listeners: Vec<Value>,
        #[serde(default)]
        dynamic_listeners: Vec<Value>,
    },
    #[serde(rename = "type.googleapis.com/envoy.admin.v3.RoutesConfigDump")]
    Routes {
        #[serde(default)]
        dynamic_route_configs: Vec<RoutesState>,
    },
    #[serde(other)]
    Other,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RoutesState {
    #[serde(rename = "route_config")]
    config: RouteConfig,
}

/// The HTTP connection managers of a listener. An unreadable filter, or another kind, has no filter
/// of serin's.
fn managers(listener: &Value) -> impl Iterator<Item = Manager> {
    let chains = elements(listener.get("filter_chains"));
    let chains = chains.chain(listener.get("default_filter_chain"));
    let manager = |filter: &Value| {
        let config = filter.get("typed_config")?;
        let kind = config.get("@type")?.as_str()?;
        let is_manager = kind.ends_with("http_connection_manager.v3.HttpConnectionManager");
        is_manager.then(|| Manager::deserialize(config).ok()).flatten()
    };
    chains.flat_map(|chain| elements(chain.get("filters"))).filter_map(manager)
}

/// The elements of a list; none if absent.
fn elements(list: Option<&Value>) -> impl Iterator<Item = &Value> {
    list.and_then(Value::as_array).into_iter().flatten()
}
