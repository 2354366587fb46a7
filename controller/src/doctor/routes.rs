//! The routes: whether a request for which a version was chosen is led to the version's cluster.
//!
//! Routes are gone through as Envoy does, for a request that has nothing but the header that the filter sets. A route that asks for more than a
//! path is an exception of the user's, and is passed by.

use std::collections::BTreeSet;

use serin_filter::config::wire;
use serin_filter::{CLUSTER_HEADER, VERSION_HEADER};

use super::dump::{Dump, EnvoyRoute, HeaderMatcher, VirtualHost};
use super::finding::{Check, Finding};

/// What there is to say of the routes for a service, where listeners have the filter of this name.
pub(super) fn check(service: &wire::Service, dump: &Dump, filter: Option<&str>) -> Vec<Finding> {
    let mut hosts = Vec::new();
    for (manager, _) in dump.filters(filter) {
        match dump.routes(manager) {
            Some(routes) => hosts.extend(&routes.virtual_hosts),
            None => {
                return vec![Finding::fail(
                    Check::Routes,
                    "the listener's routes have not arrived",
                    "see that the control plane that serves them (RDS) answers",
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
            format!("no route for {} leads to {}", authorities(service), clusters.join(" or ")),
            format!(
                "add one to the listener that has the filter, such as {}",
                wanted(service, 0, "prefix /")
            ),
        ));
    }
    findings
}

/// The virtual hosts that requests for a service are for: those that name it, or else those for everything.
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

/// Whether there is a host that both stand for, their ports aside.
fn overlap(authority: &str, domain: &str) -> bool {
    let host = |text: &str| text.split(':').next().unwrap_or_default().to_ascii_lowercase();
    let (authority, domain) = (host(authority), host(domain));
    let below = |wildcard: &str, name: &str| {
        wildcard.strip_prefix('*').is_some_and(|ending| name.ends_with(ending))
    };
    authority == domain || below(&authority, &domain) || below(&domain, &authority)
}

/// Of a virtual host that has nothing to do with the service there is nothing to say.
fn of_host(service: &wire::Service, host: &VirtualHost) -> Vec<Finding> {
    let leads = |route: &EnvoyRoute| {
        route.route.as_ref().is_some_and(|action| {
            let cluster = action.cluster.as_ref();
            cluster.is_some_and(|it| service.versions.iter().any(|version| version.cluster == *it))
                || action.cluster_header.as_deref() == Some(CLUSTER_HEADER)
        })
    };
    let paths: BTreeSet<_> =
        host.routes.iter().filter(|it| leads(it)).map(|it| it.matches.path()).collect();
    let mut findings = Vec::new();
    for (index, version) in service.versions.iter().enumerate() {
        let wrong: Vec<_> = paths
            .iter()
            .filter_map(|path| {
                let led = routed_cluster(service, version, host, path);
                (led.as_deref() != Ok(version.cluster.as_str())).then_some((path, led))
            })
            .collect();
        let Some((path, led)) = wrong.first() else { continue };
        let to = match led {
            Ok(cluster) => format!("is led to {cluster}, not to {}", version.cluster),
            Err(why) => (*why).to_owned(),
        };
        let message = format!(
            "virtual host {:?}: what is for version {} ({path}) {to}",
            host.name, version.name
        );
        let fix =
            format!("put this before the host's other routes: {}", wanted(service, index, path));
        findings.push(match wrong.len() == paths.len() {
            true => Finding::fail(Check::Routes, message, fix),
            // The other paths are led as they should be, so this may be meant.
            false => Finding::warn(Check::Routes, message, fix),
        });
    }
    if findings.is_empty() && !paths.is_empty() {
        let versions: Vec<_> = service.versions.iter().map(|it| it.name.as_str()).collect();
        let versions = versions.join(", ");
        findings.push(Finding::ok(
            Check::Routes,
            format!(
                "virtual host {:?} leads {versions} of {} to their clusters",
                host.name, service.name
            ),
        ));
    }
    findings
}

/// The cluster to which a request on this path is led for which a version was chosen; or what becomes of it.
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
            && it.headers.iter().all(|wanted| wanted.takes(header))
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
        _ => Err("is led by the mesh's own weights, or by another header"),
    }
}

impl HeaderMatcher {
    /// Whether a request with only this header meets it.
    fn takes(&self, (name, value): (&str, &str)) -> bool {
        let there = self.name.eq_ignore_ascii_case(name);
        let met = match (&self.string_match, self.present_match) {
            _ if !there => false,
            (Some(wanted), _) => wanted.exact.as_deref() == Some(value),
            (None, present) => present.unwrap_or(true),
        };
        met != self.invert_match
    }
}

/// The route that is wanted, as a line of YAML.
fn wanted(service: &wire::Service, version: usize, path: &str) -> String {
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
