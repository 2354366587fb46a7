//! Conditions that block a rollout, and how to resolve them.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serin_filter::names::{Generation, ServiceName, VersionName};
use serin_filter::{VERSION_HEADER, stat};

use super::call::HookPoint;
use crate::judge::explain::share;

/// A condition that blocks a rollout.
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
        expected: Generation,
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

/// Why Envoy rejected a configuration.
fn rejection(detail: Option<&str>) -> String {
    detail.map_or_else(
        || "see Envoy's log for the reason".to_owned(),
        |detail| format!("Envoy reported: {detail}"),
    )
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { reason } => write!(f, "{reason}; the counts of both versions are unknown"),
            Self::WriteFailed { reason } => write!(f, "writing the split failed: {reason}"),
            Self::Rejected { generation, detail } => write!(
                f,
                "Envoy rejected generation {generation} of the filter's configuration and keeps the previous split; {}",
                rejection(detail.as_deref())
            ),
            Self::NoFilter => f.write_str(
                "Envoy runs no serin filter: check that the listener's http_filters contain it and that its module loaded",
            ),
            Self::NotRunning { expected, running } => write!(
                f,
                "Envoy runs generation {running} of the split, not {expected}: check that it reads the file of \
                 spec.envoy.filterConfig, or that the mesh applies serin's object"
            ),
            Self::WorkersBehind { generation } => {
                write!(f, "some workers of Envoy do not run generation {generation} yet")
            }
            Self::WorkersSilent => write!(
                f,
                "no worker of Envoy reported ({}) since the last poll",
                stat::TICKS
            ),
            Self::ProxiesUnreachable { unreachable, proxies, total } => write!(
                f,
                "{unreachable} of {total} proxies can't be read, so their counts are unknown: {proxies}"
            ),
            Self::RejectedByProxies { generation, proxies, total, detail } => write!(
                f,
                "some of {total} proxies rejected generation {generation} of the filter's configuration and keep the previous split: \
                 {proxies}; {}",
                rejection(detail.as_deref())
            ),
            Self::Lagging { generation, proxies, total } => write!(
                f,
                "some of {total} proxies do not run generation {generation} of the filter's configuration: {proxies}"
            ),
            Self::WorkersBehindOnProxies { generation, proxies, total } => write!(
                f,
                "some of {total} proxies have workers that do not run generation {generation} yet: {proxies}"
            ),
            Self::WorkersSilentOnProxies { proxies, total } => write!(
                f,
                "on some of {total} proxies no worker has reported ({}) recently: {proxies}",
                stat::TICKS
            ),
            Self::Misrouted { version, misrouted, chosen } => write!(
                f,
                "no route for {VERSION_HEADER}: {version}: another cluster served {misrouted} of the {chosen} requests \
                 assigned to {version}; add a route that matches this header and leads to {version}'s cluster"
            ),
            Self::Unhealthy { reason } => f.write_str(reason),
            Self::TrafficShareMismatch { version, requests, total } => write!(
                f,
                "{version} received {} of the requests, which contradicts its weight: check that its instances run and answer",
                share(*requests, *total)
            ),
            Self::HookRejected { point, hook, reason } => {
                write!(f, "the {point} hook {hook} failed: {reason}; serin retries it")
            }
            Self::MetricUnavailable { metric, reason } => {
                write!(f, "the metric {metric} has no value: {reason}")
            }
            Self::NoUsersSampled { service } => write!(
                f,
                "no sampled user of {service} falls in some step's slice: check that clients send the identity of spec.sticky, \
                 and that the smallest step has enough users"
            ),
            Self::NoRequests { service } => write!(
                f,
                "no request for {service} has arrived since the step went live: check that spec.authorities names the Host \
                 that clients send, and that they call this Envoy"
            ),
        }
    }
}
