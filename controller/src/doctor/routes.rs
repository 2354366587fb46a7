//! The routes: whether a request reaches the cluster of the version that the filter chose.
//!
//! The check matches routes as Envoy does, for a request with only the filter's header. A route
//! that matches on more than a path is an exception of the user's and is skipped.

use std::collections::BTreeSet;

use serin_filter::config::wire;
use serin_filter::{CLUSTER_HEADER, VERSION_HEADER};

use super::dump::{Dump, EnvoyRoute, HeaderMatcher, VirtualHost};
use super::finding::{Check, Finding};

/// Checks the routes of a service in the listeners with the filter of this name.
pub(super) fn check(service: &wire::Service, dump: &Dump, filter: Option<&str>) -> Vec<Finding> {
    let mut hosts = Vec::new();
    for (manager, _) in dump.filters(filter) {
        match dump.routes(manager) {
            Some(routes) => hosts.extend(&routes.virtual_hosts),
            None => {
                return vec![Finding::fail(
                    Check::Routes,
                    "the listener's routes have not arrived",
                    "check that the control plane that serves them (RDS) answers",
                )];
            }
        }
    }
    let hosts = of_service(service, hosts);
    let mut findings: Vec<_> = hosts.iter().flat_map(|host| of_host(service, host)).collect();
    if findings.is_empty() {
        let clusters: Vec<_> = service.versions.iter().map(|it| it.cluster.as_str()).collect();
        findings.push(Finding::fail(
            Check::Routes,
            format!("no route for {} goes to {}", authorities(service), clusters.join(" or ")),
            format!(
                "add one to the listener that has the filter, such as {}",
                missing_route(service, 0, "prefix /")
            ),
        ));
    }
    findings
}

/// The virtual hosts for requests of a service: those that name it, or else those for every host.
fn of_service<'d>(service: &wire::Service, hosts: Vec<&'d VirtualHost>) -> Vec<&'d VirtualHost> {
    let any = |it: &str| it == "*";
    let named = |domain: &String| {
        !any(domain) && service.authorities.iter().any(|authority| overlap(&authority.0, domain))
    };
    let everything = service.authorities.iter().any(|authority| any(&authority.0));
    let all: Vec<_> = hosts.iter().copied().filter(|host| host.domains.iter().any(named)).collect();
    match all.is_empty() || everything {
        true => {
            hosts.into_iter().filter(|h| everything || h.domains.iter().any(|d| any(d))).collect()
        }
        false => all,
    }
}

/// Whether the two lists of domains overlap, ports aside.
fn overlap(authority: &str, domain: &str) -> bool {
    let host = |text: &str| text.split(':').next().unwrap_or_default().to_ascii_lowercase();
    let (authority, domain) = (host(authority), host(domain));
    let below = |wildcard: &str, name: &str| {
        wildcard.strip_prefix('*').is_some_and(|ending| name.ends_with(ending))
    };
    authority == domain || below(&authority, &domain) || below(&domain, &authority)
}

/// A virtual host without routes of the service is not checked.
fn of_host(service: &wire::Service, host: &VirtualHost) -> Vec<Finding> {
    let routes_service = |route: &EnvoyRoute| {
        route.route.as_ref().is_some_and(|action| {
            let cluster = action.cluster.as_ref();
            cluster.is_some_and(|it| service.versions.iter().any(|version| version.cluster == *it))
                || action.cluster_header.as_deref() == Some(CLUSTER_HEADER)
        })
    };
    let paths: BTreeSet<_> =
        host.routes.iter().filter(|it| routes_service(it)).map(|it| it.matches.path()).collect();
    let mut findings = Vec::new();
    for (index, version) in service.versions.iter().enumerate() {
        let wrong: Vec<_> = paths
            .iter()
            .filter_map(|path| {
                let cluster = routed_cluster(service, version, host, path);
                (cluster.as_deref() != Ok(version.cluster.as_str())).then_some((path, cluster))
            })
            .collect();
        let Some((path, cluster)) = wrong.first() else { continue };
        let outcome = match cluster {
            Ok(cluster) => format!("is routed to {cluster}, not to {}", version.cluster),
            Err(outcome) => (*outcome).to_owned(),
        };
        let message = format!(
            "virtual host {:?}: a request for version {} ({path}) {outcome}",
            host.name, version.name
        );
        let fix = format!(
            "add this before the host's other routes: {}",
            missing_route(service, index, path)
        );
        findings.push(match wrong.len() == paths.len() {
            true => Finding::fail(Check::Routes, message, fix),
            // Some paths have complete routes, so this may be intended.
            false => Finding::warn(Check::Routes, message, fix),
        });
    }
    if findings.is_empty() && !paths.is_empty() {
        let versions: Vec<_> = service.versions.iter().map(|it| it.name.as_str()).collect();
        let versions = versions.join(", ");
        findings.push(Finding::ok(
            Check::Routes,
            format!(
                "virtual host {:?} routes {versions} of {} to their clusters",
                host.name, service.name
            ),
        ));
    }
    findings
}

/// The cluster for a request on this path for which a version was chosen; or another outcome.
fn routed_cluster(
    service: &wire::Service,
    version: &wire::Version,
    host: &VirtualHost,
    path: &str,
) -> Result<String, &'static str> {
    let header = match service.route {
        wire::Route::VersionHeader => (VERSION_HEADER, version.name.as_str()),
        wire::Route::ClusterHeader => (CLUSTER_HEADER, version.cluster.as_str()),
    };
    let matches = |route: &&EnvoyRoute| {
        let it = &route.matches;
        (it.path() == path || it.every_path())
            && it.headers.iter().all(|matcher| matcher.matches(header))
            && it.query_parameters.is_empty()
            && it.runtime_fraction.is_none()
    };
    let route = host.routes.iter().find(matches).ok_or("has no route")?;
    let action = route.route.as_ref().ok_or("is answered by Envoy itself")?;
    match (&action.cluster, &action.cluster_header) {
        (Some(cluster), _) => Ok(cluster.clone()),
        (None, Some(name))
            if name == CLUSTER_HEADER && service.route == wire::Route::ClusterHeader =>
        {
            Ok(version.cluster.clone())
        }
        _ => Err("is routed by the mesh's own weights, or by another header"),
    }
}

impl HeaderMatcher {
    /// Whether a request with only this header matches it.
    fn matches(&self, (name, value): (&str, &str)) -> bool {
        let matched = self.name.eq_ignore_ascii_case(name)
            && match (&self.string_match, self.present_match) {
                (Some(string), _) => string.exact.as_deref() == Some(value),
                (None, present) => present.unwrap_or(true),
            };
        matched != self.invert_match
    }
}

/// The missing route as a line of YAML.
fn missing_route(service: &wire::Service, version: usize, path: &str) -> String {
    let (kind, path) = path.split_once(' ').unwrap_or(("prefix", "/"));
    let Some(version) = service.versions.get(version) else { return String::new() };
    let (header, route) = match service.route {
        wire::Route::VersionHeader => (
            format!(
                "{{ name: {VERSION_HEADER}, string_match: {{ exact: {:?} }} }}",
                version.name.as_str()
            ),
            format!("cluster: {:?}", version.cluster),
        ),
        wire::Route::ClusterHeader => (
            format!("{{ name: {CLUSTER_HEADER}, present_match: true }}"),
            format!("cluster_header: {CLUSTER_HEADER}"),
        ),
    };
    format!("- {{ match: {{ {kind}: {path:?}, headers: [{header}] }}, route: {{ {route} }} }}")
}

fn authorities(service: &wire::Service) -> String {
    let all: Vec<_> = service.authorities.iter().map(|authority| authority.0.as_str()).collect();
    all.join(", ")
}

#[cfg(test)]
mod tests;
