//! What keeps a rollout from going on, and what to do about it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serin_filter::names::{Generation, ServiceName, VersionName};
use serin_filter::{VERSION_HEADER, stat};

use super::call::HookPoint;
use crate::judge::explain::share;

/// What keeps a rollout from going on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
#[allow(missing_docs)] // the messages say it
pub enum Blocker {
    Unreachable {
        reason: String,
    },
    WriteFailed {
        reason: String,
    },
    Rejected {
        generation: Generation,
        detail: Option<String>,
    },
    NoFilter,
    NotRunning {
        wanted: Generation,
        running: Generation,
    },
    WorkersBehind {
        generation: Generation,
    },
    WorkersSilent,
    ProxiesUnreachable {
        unreachable: usize,
        proxies: String,
        total: usize,
    },
    RejectedByProxies {
        generation: Generation,
        proxies: String,
        total: usize,
        detail: Option<String>,
    },
    Lagging {
        generation: Generation,
        proxies: String,
        total: usize,
    },
    WorkersBehindOnProxies {
        generation: Generation,
        proxies: String,
        total: usize,
    },
    WorkersSilentOnProxies {
        proxies: String,
        total: usize,
    },
    Misrouted {
        version: VersionName,
        misrouted: u64,
        chosen: u64,
    },
    NoRequests {
        service: ServiceName,
    },
    NoUsersSampled {
        service: ServiceName,
    },
    Unhealthy {
        reason: String,
    },
    TrafficShareMismatch {
        version: VersionName,
        requests: u64,
        total: u64,
    },
    HookRejected {
        point: HookPoint,
        hook: String,
        reason: String,
    },
    MetricUnavailable {
        metric: String,
        reason: String,
    },
}

/// Why a configuration was refused.
fn reason(said: Option<&str>) -> String {
    said.map_or_else(
        || "Envoy's log has the reason".to_owned(),
        |said| format!("Envoy said: {said}"),
    )
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { reason } => write!(f, "{reason}; nothing is known of either version"),
            Self::WriteFailed { reason: why } => write!(f, "the split could not be written: {why}"),
            Self::Rejected { generation, detail } => write!(
                f,
                "Envoy refused generation {generation} of the filter's configuration and keeps the split before it; {}",
                reason(detail.as_deref())
            ),
            Self::NoFilter => f.write_str(
                "Envoy runs no serin filter: is it in the listener's http_filters, and did its module load?",
            ),
            Self::NotRunning { wanted, running } => write!(
                f,
                "Envoy runs generation {running} of the split, not {wanted}: does it follow what serin writes, the file of \
                 spec.envoy.filterConfig or the object of the mesh?"
            ),
            Self::WorkersBehind { generation } => {
                write!(f, "some of Envoy's workers do not run generation {generation} yet")
            }
            Self::WorkersSilent => write!(
                f,
                "none of Envoy's workers has reported ({}) since the last look",
                stat::TICKS
            ),
            Self::ProxiesUnreachable { unreachable, proxies, total } => write!(
                f,
                "{unreachable} of {total} proxies can't be read, and nothing is known of either version there: {proxies}"
            ),
            Self::RejectedByProxies { generation, proxies, total: all, detail: said } => write!(
                f,
                "of {all} proxies some refused generation {generation} of the filter's configuration and keep the split before it: \
                 {proxies}; {}",
                reason(said.as_deref())
            ),
            Self::Lagging { generation, proxies, total: all } => write!(
                f,
                "of {all} proxies some do not run generation {generation} of the filter's configuration: {proxies}"
            ),
            Self::WorkersBehindOnProxies { generation, proxies, total: all } => write!(
                f,
                "of {all} proxies some have workers that do not run generation {generation} yet: {proxies}"
            ),
            Self::WorkersSilentOnProxies { proxies, total: all } => write!(
                f,
                "of {all} proxies some have workers none of which has reported ({}) for a while: {proxies}",
                stat::TICKS
            ),
            Self::Misrouted { version, misrouted, chosen } => write!(
                f,
                "no route for {VERSION_HEADER}: {version}: {misrouted} of the {chosen} requests chosen for {version} were \
                 served by a cluster that is not its own; add a route that matches this header and leads to {version}'s cluster"
            ),
            Self::Unhealthy { reason: why } => f.write_str(why),
            Self::TrafficShareMismatch { version, requests, total: all } => write!(
                f,
                "{} of the requests were {version}'s, which contradicts its weight: are its instances there, and do they answer?",
                share(*requests, *all)
            ),
            Self::HookRejected { point, hook, reason: why } => {
                write!(f, "the {point} hook {hook} has not said yes: {why}; it is asked again")
            }
            Self::MetricUnavailable { metric, reason: why } => {
                write!(f, "nothing is known of the metric {metric}: {why}")
            }
            Self::NoUsersSampled { service } => write!(
                f,
                "no user of {service} has called of whom the candidate would have in some step: do clients send what spec.sticky names, \
                 and are there enough of them for the smallest step?"
            ),
            Self::NoRequests { service } => write!(
                f,
                "no request for {service} has come since the step went live: does spec.authorities name what clients send as \
                 Host, and do they call this Envoy?"
            ),
        }
    }
}
