//! Istio's VirtualService: weights of its HTTP routes, in whole percent.
//!
//! Only `spec.http[].route[].weight` is ever changed. TCP and TLS routes carry no request that the filter could tell the outcome of, and a route
//! that delegates has its destinations in another VirtualService.

use std::fmt;

use serde_json::{Map, Value, json};
use serin_filter::table::Weight;
use thiserror::Error;

use super::field::Field;
use super::find::{Target, find};
use super::{FieldError, Missing, Routes, Shares, Versions};

/// Where a version is reached: Istio's `destination`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// A service's name. Without dots it is one of the VirtualService's namespace, as it is to Istio.
    pub host: String,
    /// Which of the host's instances, if not all: a name that a DestinationRule explains.
    pub subset: Option<String>,
    /// The host's port; any if absent.
    pub port: Option<u16>,
}

/// A weight that Istio can't be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "{0} is not a whole percentage, and Istio's weights are. Choose one, or let the filter split"
)]
pub struct NotPercent(Weight);

/// The weights, in percent, by which a candidate gets this share.
///
/// # Errors
/// It is not a whole percentage.
pub fn shares(candidate: Weight) -> Result<Shares, NotPercent> {
    Shares::percent(candidate).ok_or(NotPercent(candidate))
}

/// The routes of a VirtualService that are a rollout's.
///
/// # Errors
/// There is none, or one that has more destinations than the two, or the object is none that Istio would take; with the path.
pub fn routes(
    object: &Value,
    versions: &Versions<Destination>,
    missing: Missing,
) -> Result<Routes, FieldError> {
    find(object, versions, missing)
}

impl Target for Destination {
    const GROUP: &'static str = "networking.istio.io";
    const KINDS: &'static [&'static str] = &["VirtualService"];
    const ROUTES: &'static str = "http";
    const ENTRIES: &'static str = "route";
    const UNSAID: u32 = 0;
    const PLAIN: &'static [&'static str] = &["destination", "weight"];

    fn serves(&self, entry: &Field<'_>, namespace: Option<&str>) -> Result<bool, FieldError> {
        let destination = entry.required("destination")?;
        let host = destination.required("host")?.text()?;
        let subset = destination.get("subset").map(|subset| subset.text()).transpose()?;
        let port = destination.get("port").and_then(|port| port.get("number"));
        let port = port.map(|port| port.number()).transpose()?;
        // A client that writes every field writes an empty one for none.
        Ok(same_host(host, &self.host, namespace)
            && subset.filter(|subset| !subset.is_empty()) == self.subset.as_deref()
            && self.port.is_none_or(|wanted| port == Some(wanted.into())))
    }

    fn entry(&self, baseline: &Field<'_>) -> Map<String, Value> {
        let port = self.port.map(|number| json!({ "number": number }));
        let port = port.or_else(|| baseline.value.pointer("/destination/port").cloned());
        let mut destination = Map::from_iter([("host".to_owned(), json!(self.host))]);
        destination.extend(self.subset.iter().map(|subset| ("subset".to_owned(), json!(subset))));
        destination.extend(port.map(|port| ("port".to_owned(), port)));
        Map::from_iter([("destination".to_owned(), destination.into())])
    }
}

/// Whether two names are one host's. Istio completes a name without dots by the namespace of the object that has it.
fn same_host(one: &str, other: &str, namespace: Option<&str>) -> bool {
    let completes = |short: &str, full: &str| {
        let rest = full.strip_prefix(short).and_then(|rest| rest.strip_prefix('.'));
        let rest = rest.and_then(|rest| rest.strip_prefix(namespace?));
        !short.contains('.') && rest.is_some_and(|rest| rest.starts_with(".svc."))
    };
    one == other || completes(one, other) || completes(other, one)
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        self.subset.as_ref().map_or(Ok(()), |subset| write!(f, " (subset {subset})"))
    }
}
