//! Renders all objects into the proxy's resources and the objects' statuses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::api::DynamicObject;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::files::EnvoyFiles;
use super::gateway_api::{self, GrpcRoute, HostRoute, HttpRoute, RequestMatch, RouteSpec};
use super::object::{Object, title};
use super::plugin::{self, WasmPlugin};
use super::registry::Registry;
use super::resources::{FilePaths, Resources};
use super::status::{self, Statement};
use super::watch::Objects;
use super::{Proxy, Shared, Workload, http, istio, lock, name};

/// Changes within this interval are one update, as in istiod.
const DEBOUNCE: Duration = Duration::from_millis(100);

/// The route configuration, and its file.
const ROUTES: &str = "routes";

/// Retry interval after a failed write to the server.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Updates Envoy and the statuses after each change.
pub(super) async fn follow(
    client: Client,
    objects: Objects,
    shared: Arc<Shared>,
    frame: StaticConfig,
    mut files: EnvoyFiles,
) {
    loop {
        shared.changed.notified().await;
        sleep(DEBOUNCE).await;
        let workloads = lock(&shared.workloads).clone();
        let view = View::of(&objects, &shared.proxy, &workloads);
        files.write(&frame.resources(&view));
        *lock(&shared.refused) = view.refused;
        for statement in &view.statements {
            if let Err(error) = status::say(&client, statement).await {
                eprintln!("the mesh: {error}");
                sleep(RETRY_INTERVAL).await;
                shared.changed.notify_one();
            }
        }
    }
}

/// The combined routes of all objects for a proxy.
#[derive(Default)]
pub(super) struct View {
    /// Host names with their routes.
    hosts: Vec<(Vec<String>, Vec<Value>)>,
    clusters: Vec<Value>,
    plugins: Vec<WasmPlugin>,
    refused: BTreeMap<String, String>,
    statements: Vec<Statement>,
}

impl View {
    fn of(objects: &Objects, proxy: &Proxy, workloads: &[Workload]) -> Self {
        let mut view = Self::default();
        let mut registry = Registry::default();
        for service in objects.of("Service") {
            let entered = registry.enter_service(&service);
            view.obeyed(&service, entered);
        }
        for rule in objects.of("DestinationRule") {
            let entered = registry.enter_subsets(&rule);
            view.obeyed(&rule, entered);
        }
        view.clusters = registry.clusters(workloads);
        let virtual_services = view.read(objects, "VirtualService");
        let plugins: Vec<WasmPlugin> = view.read(objects, "WasmPlugin");
        view.plugins = plugins.into_iter().filter(|its| plugin::is_for(its, proxy)).collect();
        plugin::sort(&mut view.plugins);

        let mut claimed = ClaimedDomains { namespace: &proxy.namespace, domains: BTreeSet::new() };
        for object in &virtual_services {
            let hosts = istio::hosts(object, proxy, &registry);
            view.hosts
                .extend(hosts.into_iter().filter_map(|(host, routes)| claimed.by(&host, routes)));
        }
        for (host, routes) in view.gateway_api(objects, proxy, &registry) {
            view.hosts.extend(claimed.by(&host, routes));
        }
        if proxy.gateway.is_none() {
            for host in registry.hosts() {
                let cluster = name::cluster(registry.port(host), None, host);
                let route = json!({ "match": { "prefix": "/" }, "route": { "cluster": cluster, "timeout": "0s" } });
                view.hosts.extend(claimed.by(host, vec![route]));
            }
        }
        view
    }

    /// Routes by host, the most exact host first, from all objects.
    fn gateway_api(
        &mut self,
        objects: &Objects,
        proxy: &Proxy,
        registry: &Registry,
    ) -> BTreeMap<String, Vec<Value>> {
        let http: Vec<HttpRoute> = self.read(objects, "HTTPRoute");
        let grpc: Vec<GrpcRoute> = self.read(objects, "GRPCRoute");
        let mut routes = Vec::new();
        http.iter().for_each(|route| routes.extend(self.attached(route, proxy, registry)));
        grpc.iter().for_each(|route| routes.extend(self.attached(route, proxy, registry)));
        // The sort is stable: among equally exact hosts the first stays the first.
        routes.sort_by(|one, other| other.precision.cmp(&one.precision));
        let mut by_host: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for HostRoute { host, route, .. } in routes {
            by_host.entry(host).or_default().push(route);
        }
        by_host
    }

    fn attached<M: RequestMatch>(
        &mut self,
        object: &Object<RouteSpec<M>>,
        proxy: &Proxy,
        registry: &Registry,
    ) -> Vec<HostRoute> {
        let (routes, verdicts) = gateway_api::routes(object, proxy, registry);
        if !verdicts.is_empty() {
            let (object, generation) = (object.source.clone(), object.generation);
            self.statements.push(Statement { object, generation, verdicts });
        }
        routes
    }

    /// The supported objects of a kind.
    fn read<S: DeserializeOwned>(&mut self, objects: &Objects, kind: &str) -> Vec<Object<S>> {
        let sources = objects.of(kind).into_iter();
        sources.filter_map(|source| self.obeyed(&source, Object::read(&source))).collect()
    }

    fn obeyed<T>(&mut self, object: &DynamicObject, read: Result<T, String>) -> Option<T> {
        read.map_err(|error| self.refused.insert(title(object), error)).ok()
    }
}

/// Envoy rejects duplicate domains: the first claim of a domain takes precedence.
struct ClaimedDomains<'p> {
    /// The namespace of the proxy.
    namespace: &'p str,
    domains: BTreeSet<String>,
}

impl ClaimedDomains<'_> {
    fn by(&mut self, host: &str, routes: Vec<Value>) -> Option<(Vec<String>, Vec<Value>)> {
        let mut domains = name::domains(host, self.namespace);
        domains.retain(|domain| self.domains.insert(domain.clone()));
        (!domains.is_empty()).then_some((domains, routes))
    }
}

/// The part of a proxy's configuration that no object changes.
pub(super) struct StaticConfig {
    paths: FilePaths,
    listener: SocketAddr,
    /// A gateway receives requests from outside.
    outside: bool,
}

impl StaticConfig {
    pub(super) fn new(directory: &Path, listener: SocketAddr, proxy: &Proxy) -> Self {
        Self { paths: FilePaths::of(directory), listener, outside: proxy.gateway.is_some() }
    }

    pub(super) fn resources(&self, view: &View) -> Resources {
        let resource =
            |its: &WasmPlugin| (plugin::resource_name(its), plugin::resource(its, &self.paths));
        Resources {
            listener: self.listener(&view.plugins),
            routes: routes(&view.hosts),
            clusters: view.clusters.clone(),
            plugins: view.plugins.iter().map(resource).collect(),
        }
    }

    fn listener(&self, plugins: &[WasmPlugin]) -> Value {
        let filters = plugins.iter().map(|its| plugin::filter(its, &self.paths));
        let filters: Vec<_> = filters.chain([http::router()]).collect();
        let manager = http::connection_manager(json!({
            "stat_prefix": "outbound",
            "use_remote_address": self.outside,
            "http_filters": filters,
            "rds": { "route_config_name": ROUTES, "config_source": self.paths.source(ROUTES) },
        }));
        http::resource(
            "config.listener.v3.Listener",
            json!({
                "name": "outbound",
                "address": http::socket(self.listener),
                "filter_chains": [{ "filters": [manager] }],
            }),
        )
    }
}

fn routes(hosts: &[(Vec<String>, Vec<Value>)]) -> Value {
    let host = |(domains, routes): &(Vec<String>, Vec<Value>)| json!({ "name": domains.first(), "domains": domains, "routes": routes });
    let hosts: Vec<_> = hosts.iter().map(host).collect();
    http::resource(
        "config.route.v3.RouteConfiguration",
        json!({ "name": ROUTES, "virtual_hosts": hosts, "ignore_port_in_host_matching": true }),
    )
}
