//! Checks a running setup and suggests fixes: the proxies, the filter in them, routes, clusters,
//! statistics, and other requirements of a rollout. Changes nothing.
//!
//! Reading (`Pages`, files) is separate from the checks, which are pure.

mod clusters;
mod dump;
mod filter;
mod finding;
mod local;
mod metrics;
mod pages;
mod prometheus;
mod proxy;
mod routes;
mod statistics;

use std::collections::BTreeMap;
use std::fmt;

use futures_util::stream::{self, StreamExt};
use serin_core::config::discovery::DiscoveryConfig;
use serin_core::config::sink::SinkLocation;
use serin_core::config::source::SourceConfig;
use serin_core::observation::aggregator::join_names;
use serin_core::spec::{EnvoyProxies, Proxies, Spec};
use serin_filter::config::wire;
use serin_filter::names::Generation;

pub use self::finding::{Check, Finding, Level};
use self::pages::ProxyPages;
use crate::sources::fleet::ProxyDiscovery;
use crate::sources::fleet::discovery::ProxyEndpoint;

/// The number of proxies that are checked concurrently.
const MAX_CONCURRENT_PROXIES: usize = 32;

/// The expected setup.
#[derive(Debug)]
struct Expected {
    /// The service of the rollout; without one, the check covers the services in each proxy's own
    /// configuration.
    service: Option<wire::Service>,
    /// Whether the rollout fills the candidate's cluster.
    rolling: bool,
    /// Name of the filter's configuration, if known.
    filter: Option<String>,
    /// The group of the proxies, if they have one.
    group: Option<String>,
    origin: ConfigOrigin,
    /// Whether the evidence comes from a Prometheus.
    prometheus: bool,
}

/// The source of the configuration that the proxies have to run.
#[derive(Debug)]
enum ConfigOrigin {
    /// A file.
    File { path: String, generation: Generation },
    /// The proxies alone.
    Proxies,
}

impl fmt::Display for ConfigOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, .. } => f.write_str(path),
            Self::Proxies => f.write_str("the proxy"),
        }
    }
}

impl Expected {
    fn nothing() -> Self {
        Self {
            service: None,
            rolling: false,
            filter: None,
            group: None,
            origin: ConfigOrigin::Proxies,
            prometheus: false,
        }
    }

    /// Records the configuration that the proxies have to run, and returns its problems.
    fn configuration(&mut self, location: &SinkLocation) -> Option<Finding> {
        match location {
            SinkLocation::Group(group) => {
                self.group = Some(group.clone());
                None
            }
            SinkLocation::File(path) => {
                let (contents, finding) = local::filter_file(path);
                if let Some(contents) = contents {
                    let (path, generation) =
                        (path.display().to_string(), contents.config().generation);
                    self.origin = ConfigOrigin::File { path, generation };
                    self.filter = Some(contents.filter().to_owned());
                }
                Some(finding)
            }
        }
    }

    fn routes_by_cluster(&self) -> bool {
        self.service.as_ref().is_some_and(|service| service.route == wire::Route::ClusterHeader)
    }
}

/// Checks the requirements of a rollout, and these proxies, or, without any, those that it names.
/// The findings have the order of the checks, and of the proxies within each check.
pub async fn examine(spec: Option<Spec>, addresses: Vec<String>) -> Vec<Finding> {
    let mut expected = Expected::nothing();
    let mut findings = Vec::new();
    let mut discovery = (!addresses.is_empty()).then_some(DiscoveryConfig::Addresses(addresses));
    if let Some(Spec { plan, service, proxies, .. }) = spec {
        if let Proxies::Envoy(EnvoyProxies { source, sink }) = proxies {
            findings.extend(expected.configuration(&sink));
            match source {
                SourceConfig::Admin(named) => discovery = Some(discovery.unwrap_or(named)),
                SourceConfig::Prometheus(settings) => {
                    expected.prometheus = true;
                    findings.extend(settings.connection.auth.file().map(local::secret));
                    findings.extend(prometheus::check(&settings, plan.service.as_str()).await);
                }
            }
        }
        findings.extend(local::hooks(&plan).await);
        findings.extend(metrics::check(&plan).await);
        expected.rolling = plan.replacement.is_some();
        expected.service = Some(service);
    }
    findings.extend(match discovery {
        Some(config) => fleet(config, &expected).await,
        None => vec![Finding::skipped(
            Check::Proxies,
            "the rollout names no admin interface; --admin HOST:PORT checks proxies too",
        )],
    });
    // A stable sort keeps the order within a check.
    findings.sort_by_key(|finding| finding.check);
    findings
}

/// Checks all proxies.
async fn fleet(whereabouts: DiscoveryConfig, expected: &Expected) -> Vec<Finding> {
    let mut discovery = ProxyDiscovery::new(whereabouts);
    if let Some(reason) = discovery.refresh().await {
        return vec![Finding::fail(Check::Proxies, reason, "see spec.envoy.proxies")];
    }
    let proxies = discovery.proxies().clone();
    if proxies.is_empty() {
        return vec![Finding::fail(Check::Proxies, "there is no proxy", "see spec.envoy.proxies")];
    }
    let read =
        async |proxy: &ProxyEndpoint| (proxy.clone(), ProxyPages::read(&proxy.address).await);
    let mut looked = stream::iter(proxies.iter().map(read)).buffered(MAX_CONCURRENT_PROXIES);
    let (mut findings, mut nodes) = (Vec::new(), NodeRegistry::default());
    while let Some((proxy, pages)) = looked.next().await {
        let found = match pages {
            Ok(pages) => {
                nodes.add(&proxy, &pages);
                of_proxy(&pages, expected)
            }
            Err(error) => vec![Finding::fail(
                Check::Admin,
                error.of(&proxy.address),
                "check that Envoy runs, the address of its admin interface, and that this machine may reach it",
            )],
        };
        findings.extend(
            found.into_iter().map(|it| Finding { proxy: Some(proxy.name.to_string()), ..it }),
        );
    }
    findings.extend(nodes.check_consistency(expected));
    findings
}

/// Checks one proxy.
fn of_proxy(pages: &ProxyPages, expected: &Expected) -> Vec<Finding> {
    let mut findings = vec![
        proxy::state(&pages.info),
        proxy::version(&pages.info),
        proxy::clock(pages.clock_offset),
    ];
    let placed = filter::filter_placement(pages, expected);
    let is_placed = placed.level == Level::Ok;
    findings.push(placed);
    findings.push(statistics::labels(pages, expected));
    let name = expected.filter.as_deref();
    if let Some((_, at)) = pages.dump.filters(name).next().filter(|_| is_placed) {
        findings.extend(filter::module(pages));
        findings.push(filter::generation(pages, at, &expected.origin));
        findings.push(filter::guard(pages, expected));
        let discovery = at.config_discovery.as_ref();
        let submitted =
            pages.dump.discovered(&at.name).and_then(|it| it.ecds_filter.typed_config.as_ref());
        let wasm = submitted.or(discovery.and_then(|it| it.default_config.as_ref()));
        findings.extend(wasm.map(|wasm| filter::failure_policy(&wasm.config)));
        if discovery.is_some_and(|it| it.config_source.path_config_source.is_none()) {
            findings.extend(filter::xds(pages, at, expected.group.as_deref()));
        }
        let own =
            || wasm.and_then(|it| it.config.serin()).map(|it| it.services).unwrap_or_default();
        let services = expected.service.as_ref().map_or_else(own, |service| vec![service.clone()]);
        for service in &services {
            findings.extend(of_service(service, pages, expected));
        }
    }
    findings
}

fn of_service(service: &wire::Service, pages: &ProxyPages, expected: &Expected) -> Vec<Finding> {
    let name = expected.filter.as_deref();
    let mut findings = match service.split {
        wire::Split::Filter => routes::check(service, &pages.dump, name),
        wire::Split::Mesh => {
            vec![Finding::skipped(Check::Routes, "the mesh splits by its own weights")]
        }
    };
    findings.extend(clusters::check(service, &pages.clusters, expected.rolling));
    let snapshot = pages.stats.filter.snapshot(&service.name, name.unwrap_or_default());
    findings.extend(statistics::served(service, &snapshot));
    findings
}

/// Checks the agreement of the proxies.
#[derive(Debug, Default)]
struct NodeRegistry {
    ids: BTreeMap<String, Vec<String>>,
    generations: BTreeMap<Generation, Vec<String>>,
}

impl NodeRegistry {
    fn add(&mut self, proxy: &ProxyEndpoint, pages: &ProxyPages) {
        let name = || proxy.name.to_string();
        self.ids.entry(pages.dump.bootstrap.node.id.clone()).or_default().push(name());
        if let Some(generation) = pages.stats.generation() {
            self.generations.entry(generation).or_default().push(name());
        }
    }

    fn check_consistency(&self, expected: &Expected) -> Vec<Finding> {
        let mut findings = Vec::new();
        let shared = self.ids.iter().filter(|(_, proxies)| proxies.len() > 1);
        for (id, proxies) in shared.filter(|_| expected.group.is_some()) {
            findings.push(Finding::fail(
                Check::Xds,
                format!("{} have the same node.id, {id:?}", join_names(proxies)),
                "give each proxy a unique id in the bootstrap: serin identifies proxies by it",
            ));
        }
        // With a file, each proxy has been compared with the file.
        let ask_each_other = matches!(expected.origin, ConfigOrigin::Proxies);
        if let Some((newest, _)) = self.generations.last_key_value().filter(|_| ask_each_other) {
            let outdated = self.generations.iter().filter(|(generation, _)| *generation < newest);
            for (generation, proxies) in outdated {
                findings.push(Finding::fail(
                    Check::Generation,
                    format!("{} run generation {generation}, others {newest}", join_names(proxies)),
                    "check again; if this persists, they are cut off from serin, or have rejected it: Envoy's log has the reason",
                ));
            }
        }
        findings
    }
}

#[cfg(test)]
mod tests;
