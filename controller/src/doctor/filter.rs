//! The filter: its place in the listener, its module, its failure policy, and the configuration
//! that it runs.

use serin_filter::names::Generation;
use serin_filter::{CLUSTER_HEADER, VERSION_HEADER, stat};

use super::dump::{HttpFilter, Plugin};
use super::finding::{Check, Finding};
use super::pages::{ProxyPages, ProxyStats};
use super::{ConfigOrigin, Expected};

/// Envoy divides by this number of milliseconds.
const CRASHES_BELOW_SECONDS: f64 = 0.002;

/// The default backoff after a fault of the module; all requests fail meanwhile.
const RELOAD_DELAY_SECONDS: f64 = 1.0;

/// Whether the filter is in the listener and takes its configuration by discovery. The other
/// checks depend on this one.
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
                "the filter {called} has its configuration in the listener, where serin can't change it"
            ),
            "replace its typed_config by config_discovery: `serin init envoy` prints how",
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
            "Envoy's log has the reason; check that the file is complete, and report a fault of serin",
        ));
    } else if reloads > 0 {
        findings.push(Finding::warn(
            Check::Module,
            format!("the module has failed and was loaded again, {reloads} times"),
            "Envoy's log has the reason: please report it with the request that caused it",
        ));
    }
    let ticks = |stats: &ProxyStats| stats.of(stat::TICKS) + stats.of(stat::TICKS_BEHIND);
    let ticks = ticks(&pages.stats).saturating_sub(ticks(&pages.before));
    findings.extend(match (pages.stats.generation(), ticks) {
        (None, _) => Some(Finding::fail(
            Check::Module,
            format!("the module does not run: no statistic {}", stat::GENERATION),
            "Envoy's log has the reason: a missing file or invalid Wasm module, or a configuration that it rejects. If \
             stats_config.stats_matcher excludes statistics, include wasmcustom.serin",
        )),
        (Some(_), 0) => Some(Finding::fail(
            Check::Module,
            "the module has not reported for a second",
            "it has failed, and no request has loaded it again: Envoy's log has the reason",
        )),
        _ if findings.is_empty() => Some(Finding::ok(Check::Module, "runs, and reports")),
        _ => None,
    });
    findings
}

/// How requests fare if the module fails.
pub(super) fn failure_policy(plugin: &Plugin) -> Finding {
    let advice = "set failure_policy: FAIL_RELOAD and reload_config: { backoff: { base_interval: 0.05s } }, as `serin init filter` has it";
    let warn = |message: String| Finding::warn(Check::FailurePolicy, message, advice);
    match (plugin.failure_policy.as_deref(), plugin.reload_seconds()) {
        (Some("FAIL_RELOAD"), Some(seconds)) if seconds < CRASHES_BELOW_SECONDS => Finding::fail(
            Check::FailurePolicy,
            format!("a base_interval of {seconds} s ends Envoy when the module fails"),
            advice,
        ),
        (Some("FAIL_RELOAD"), seconds) if seconds.is_none_or(|it| it >= RELOAD_DELAY_SECONDS) => {
            let backoff = seconds.unwrap_or(RELOAD_DELAY_SECONDS);
            warn(format!("after a fault of the module every request fails for {backoff} s"))
        }
        (Some("FAIL_RELOAD"), _) => {
            Finding::ok(Check::FailurePolicy, "a module that fails is loaded again")
        }
        (Some("FAIL_OPEN"), _) => warn(
            "after a fault of the module it stays bypassed: requests are neither split nor counted"
                .to_owned(),
        ),
        _ => {
            warn("after a fault of the module every later request of that worker fails".to_owned())
        }
    }
}

/// The connection to serin's xDS server.
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
            "check that `serin serve --xds-listen` runs, the address of the cluster \"serin\", and, with TLS, the certificates",
        )),
    }
    if discovery.default_config.is_none() {
        findings.push(Finding::warn(
            Check::Xds,
            "without serin, a proxy that starts fails every request",
            "give config_discovery a default_config: `serin init envoy --mode xds` prints one",
        ));
    }
    if discovery.config_source.initial_fetch_timeout.is_none() {
        findings.push(Finding::warn(
            Check::Xds,
            "without serin, a proxy that starts keeps its listeners closed for 15 s",
            "give config_source an initial_fetch_timeout, such as 5s",
        ));
    }
    findings
}

/// Envoy's prefix of the statistics about the delivery of a filter's configuration.
const CONFIG_DISCOVERY_PREFIX: &str = "extension_config_discovery.http_filter.";

/// Whether the proxy runs the newest configuration that it was given.
pub(super) fn generation(
    pages: &ProxyPages,
    filter: &HttpFilter,
    source: &ConfigOrigin,
) -> Finding {
    let Some(discovered) = pages.dump.discovered(&filter.name) else {
        return Finding::fail(
            Check::Generation,
            format!("Envoy has accepted no configuration for the filter {:?}", filter.name),
            "Envoy's log has the reason; until then it runs the default_config, or answers 500",
        );
    };
    let Some(running) = pages.stats.generation() else {
        return Finding::skipped(Check::Generation, "the module does not run");
    };
    let config = discovered.ecds_filter.typed_config.as_ref().and_then(|it| it.config.serin());
    let accepted = config.map_or(running, |config| config.generation);
    let rejected = pages
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
            "if this persists, the module has failed: Envoy's log has the reason",
        );
    }
    if accepted != submitted {
        return behind(filter, source, accepted, submitted, rejected);
    }
    if pages.stats.of(stat::TICKS_BEHIND) > pages.before.of(stat::TICKS_BEHIND) {
        return Finding::warn(
            Check::Generation,
            format!("some workers do not run generation {running} yet"),
            "check again; if this persists, a worker's module has failed, and Envoy's log has the reason",
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
    rejected: u64,
) -> Finding {
    let followed = filter.config_discovery.as_ref();
    let followed = followed.and_then(|it| it.config_source.path_config_source.as_ref());
    let message = format!("Envoy runs generation {accepted}, and {source} has {submitted}");
    let fix = match (followed, source) {
        _ if rejected > 0 => "Envoy has rejected it: its log has the reason".to_owned(),
        (Some(followed), ConfigOrigin::File { path, .. }) if followed.path != *path => format!(
            "Envoy follows {}: check that this is the same file, or name it in spec.envoy.filterConfig",
            followed.path
        ),
        _ => "Envoy notices a file that is moved into place, not one that is edited or mounted as a single file: mount its directory"
            .to_owned(),
    };
    Finding::fail(Check::Generation, message, fix)
}

/// Whether clients can choose a version while the filter is bypassed.
pub(super) fn guard(pages: &ProxyPages, expected: &Expected) -> Finding {
    let filter = expected.filter.as_deref();
    let open = |header| pages.dump.filters(filter).any(|(manager, _)| !manager.removes(header));
    let fix = "give the connection manager early_header_mutation_extensions that remove x-serin-version and x-serin-cluster: \
               `serin init envoy` prints them";
    match (open(VERSION_HEADER), open(CLUSTER_HEADER)) {
        (_, true) if expected.routes_by_cluster() => Finding::fail(
            Check::Guard,
            "while the filter is bypassed or not loaded, clients reach any cluster by x-serin-cluster",
            fix,
        ),
        (false, _) => Finding::ok(Check::Guard, "clients can't choose by serin's headers"),
        (true, _) => Finding::warn(
            Check::Guard,
            "while the filter is bypassed or not loaded, clients choose their version by x-serin-version",
            fix,
        ),
    }
}
