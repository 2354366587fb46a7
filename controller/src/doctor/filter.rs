//! The filter: where it is in the listener, whether its module runs, what becomes of requests if it fails, which configuration it runs.

use serin_filter::names::Generation;
use serin_filter::{CLUSTER_HEADER, VERSION_HEADER, stat};

use super::dump::{HttpFilter, Plugin};
use super::finding::{Check, Finding};
use super::pages::{ProxyPages, ProxyStats};
use super::{ConfigOrigin, Expected};

/// Envoy divides by the milliseconds of it.
const CRASHES_BELOW_SECONDS: f64 = 0.002;

/// A module rests for so long after a fault, unless the configuration says otherwise, and all requests fail meanwhile.
const RELOAD_DELAY_SECONDS: f64 = 1.0;

/// Whether the filter is in the listener, and is one that can be changed. Nothing else can be said where it fails.
pub(super) fn filter_placement(pages: &ProxyPages, expected: &Expected) -> Finding {
    let name = expected.filter.as_deref();
    let called = name.map_or_else(|| "serin".to_owned(), |name| format!("{name:?}"));
    let mut filters = pages.dump.filters(name);
    match filters.next() {
        None => Finding::fail(
            Check::Filter,
            format!("no listener has the filter {called}"),
            "add it to http_filters, before the router, with config_discovery: `serin init envoy` prints how",
        ),
        Some((_, HttpFilter { config_discovery: None, .. })) => Finding::fail(
            Check::Filter,
            format!(
                "the filter {called} has its configuration in the listener, where nobody can change it"
            ),
            "give it config_discovery in the place of typed_config: `serin init envoy` prints how",
        ),
        Some(_) => Finding::ok(Check::Filter, format!("the filter {called} is in the listener")),
    }
}

/// Whether the module runs in every worker, and has never failed.
pub(super) fn module(pages: &ProxyPages) -> Vec<Finding> {
    let of = |failed: &str| pages.stats.sum("wasm.", failed);
    let mut findings = Vec::new();
    let (reloads, failures) = (of(".vm_reload_success"), of(".vm_reload_failure"));
    if failures > 0 {
        findings.push(Finding::fail(
            Check::Module,
            format!("the module has failed, and could not be loaded again {failures} times"),
            "Envoy's log says why; see that the file is whole, and report a fault of serin's",
        ));
    } else if reloads > 0 {
        findings.push(Finding::warn(
            Check::Module,
            format!("the module has failed and was loaded again, {reloads} times"),
            "Envoy's log has the reason: please report it with the request that did it",
        ));
    }
    let ticks = |stats: &ProxyStats| stats.of(stat::TICKS) + stats.of(stat::TICKS_BEHIND);
    let ticks = ticks(&pages.stats).saturating_sub(ticks(&pages.before));
    findings.extend(match (pages.stats.generation(), ticks) {
        (None, _) => Some(Finding::fail(
            Check::Module,
            format!("the module does not run: there is no statistic {}", stat::GENERATION),
            "Envoy's log says why: a file that is not there or no module, or a configuration that it refuses. If \
             stats_config.stats_matcher leaves statistics out, let wasmcustom.serin in",
        )),
        (Some(_), 0) => Some(Finding::fail(
            Check::Module,
            "the module has not reported for a second",
            "it has failed, and no request has loaded it again: Envoy's log says why",
        )),
        _ if findings.is_empty() => Some(Finding::ok(Check::Module, "runs, and reports")),
        _ => None,
    });
    findings
}

/// What becomes of requests if the module fails.
pub(super) fn failure_policy(plugin: &Plugin) -> Finding {
    let advice = "say failure_policy: FAIL_RELOAD and reload_config: { backoff: { base_interval: 0.05s } }, as `serin init filter` has it";
    let warn = |message: String| Finding::warn(Check::FailurePolicy, message, advice);
    match (plugin.failure_policy.as_deref(), plugin.reload_seconds()) {
        (Some("FAIL_RELOAD"), Some(seconds)) if seconds < CRASHES_BELOW_SECONDS => Finding::fail(
            Check::FailurePolicy,
            format!("a base_interval of {seconds} s ends Envoy when the module fails"),
            advice,
        ),
        (Some("FAIL_RELOAD"), seconds) if seconds.is_none_or(|it| it >= RELOAD_DELAY_SECONDS) => {
            let rests = seconds.unwrap_or(RELOAD_DELAY_SECONDS);
            warn(format!("after a fault of the module every request fails for {rests} s"))
        }
        (Some("FAIL_RELOAD"), _) => {
            Finding::ok(Check::FailurePolicy, "a module that fails is loaded again")
        }
        (Some("FAIL_OPEN"), _) => warn(
            "after a fault of the module requests pass by it for good: nobody divides or counts them".to_owned(),
        ),
        _ => warn("after a fault of the module every request of that worker fails for good".to_owned()),
    }
}

/// How the connection to serin's xDS server is.
pub(super) fn xds(pages: &ProxyPages, filter: &HttpFilter, group: Option<&str>) -> Vec<Finding> {
    let Some(discovery) = &filter.config_discovery else { return Vec::new() };
    let mut findings = Vec::new();
    let own = format!("{}{}.control_plane.connected_state", CONFIG_DISCOVERY_PREFIX, filter.name);
    let connected = [own.as_str(), "control_plane.connected_state"];
    let connected = connected.into_iter().find_map(|name| pages.stats.get(name));
    let cluster = &pages.dump.bootstrap.node.cluster;
    match (connected, group) {
        (Some(1), Some(group)) if group != cluster => findings.push(Finding::fail(
            Check::Xds,
            format!("the proxy is in group {cluster:?}, the rollout is for {group:?}"),
            "node.cluster in the bootstrap and spec.envoy.xds.group have to be the same",
        )),
        (Some(1), _) => findings.push(Finding::ok(Check::Xds, format!("connected, in group {cluster:?}"))),
        _ => findings.push(Finding::fail(
            Check::Xds,
            "the proxy is not connected to serin's xDS server",
            "see that `serin serve --xds-listen` runs, that the address of the cluster \"serin\" is right, and, with TLS, the certificates",
        )),
    }
    if discovery.default_config.is_none() {
        findings.push(Finding::warn(
            Check::Xds,
            "without serin, a proxy that starts would fail every request",
            "give config_discovery a default_config: `serin init envoy --mode xds` prints one",
        ));
    }
    if discovery.config_source.initial_fetch_timeout.is_none() {
        findings.push(Finding::warn(
            Check::Xds,
            "without serin, a proxy that starts would keep its listeners shut for 15 s",
            "give config_source an initial_fetch_timeout, such as 5s",
        ));
    }
    findings
}

/// What Envoy puts before the statistics about following a filter's configuration.
const CONFIG_DISCOVERY_PREFIX: &str = "extension_config_discovery.http_filter.";

/// Whether the proxy runs the configuration that it was given last.
pub(super) fn generation(
    pages: &ProxyPages,
    filter: &HttpFilter,
    source: &ConfigOrigin,
) -> Finding {
    let Some(discovered) = pages.dump.discovered(&filter.name) else {
        return Finding::fail(
            Check::Generation,
            format!("Envoy has taken no configuration for the filter {:?}", filter.name),
            "Envoy's log says why; until then it runs the default_config, or answers 500",
        );
    };
    let Some(running) = pages.stats.generation() else {
        return Finding::skipped(Check::Generation, "the module does not run");
    };
    let config = discovered.ecds_filter.typed_config.as_ref().and_then(|it| it.config.serin());
    let accepted = config.map_or(running, |config| config.generation);
    let refused = pages
        .stats
        .sum(&format!("{CONFIG_DISCOVERY_PREFIX}{}.", filter.name), ".update_rejected")
        + pages.stats.sum(&format!("{CONFIG_DISCOVERY_PREFIX}{}.", filter.name), ".config_fail");
    let submitted = match source {
        ConfigOrigin::File { generation, .. } => *generation,
        ConfigOrigin::Proxies => accepted,
    };
    if running != accepted {
        return Finding::fail(
            Check::Generation,
            format!("the filter runs generation {running}, and Envoy has accepted {accepted}"),
            "if it stays like that the module has failed: Envoy's log says why",
        );
    }
    if accepted != submitted {
        return behind(filter, source, accepted, submitted, refused);
    }
    if pages.stats.of(stat::TICKS_BEHIND) > pages.before.of(stat::TICKS_BEHIND) {
        return Finding::warn(
            Check::Generation,
            format!("some workers do not run generation {running} yet"),
            "look again; if it stays like that a worker's module has failed, and Envoy's log says why",
        );
    }
    let version = &discovered.version_info;
    Finding::ok(
        Check::Generation,
        format!("every worker runs generation {running} (version {version:?})"),
    )
}

fn behind(
    filter: &HttpFilter,
    source: &ConfigOrigin,
    accepted: Generation,
    submitted: Generation,
    refused: u64,
) -> Finding {
    let followed = filter.config_discovery.as_ref();
    let followed = followed.and_then(|it| it.config_source.path_config_source.as_ref());
    let message = format!("Envoy runs generation {accepted}, and {source} has {submitted}");
    let fix = match (followed, source) {
        _ if refused > 0 => "Envoy has refused it: its log says why".to_owned(),
        (Some(followed), ConfigOrigin::File { path, .. }) if followed.path != *path => format!(
            "Envoy follows {}: see that this is the same file, or name it in spec.envoy.filterConfig",
            followed.path
        ),
        _ => "Envoy follows a file that is moved into its place, not one that is edited there or mounted by itself: mount its directory"
            .to_owned(),
    };
    Finding::fail(Check::Generation, message, fix)
}

/// Whether clients can choose a version while the filter is not there.
pub(super) fn guard(pages: &ProxyPages, expected: &Expected) -> Finding {
    let filter = expected.filter.as_deref();
    let open = |header| pages.dump.filters(filter).any(|(manager, _)| !manager.removes(header));
    let fix = "give the connection manager early_header_mutation_extensions that remove x-serin-version and x-serin-cluster: \
               `serin init envoy` prints them";
    match (open(VERSION_HEADER), open(CLUSTER_HEADER)) {
        (_, true) if expected.routes_by_cluster() => Finding::fail(
            Check::Guard,
            "while the filter has failed or is not loaded, clients reach any cluster by x-serin-cluster",
            fix,
        ),
        (false, _) => Finding::ok(Check::Guard, "clients choose nothing by serin's headers"),
        (true, _) => Finding::warn(
            Check::Guard,
            "while the filter has failed or is not loaded, clients choose their version by x-serin-version",
            fix,
        ),
    }
}
