//! The destinations of the two versions in a mesh, and weights as routes have them.

use std::fmt::{self, Display};

use serin_filter::table::{BUCKETS, Weight};
use thiserror::Error;

/// A value for each version of a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions<T> {
    /// The value of the running version.
    pub baseline: T,
    /// The value of the new version.
    pub candidate: T,
}

/// The destination of a version: Istio's `destination`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The name of a service. A name without dots is in the VirtualService's namespace.
    pub host: String,
    /// A subset that a DestinationRule defines; `None` for all instances.
    pub subset: Option<String>,
    /// The host's port; `None` for any.
    pub port: Option<u16>,
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

/// The Service of a version, as in a `backendRef`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// The Service's name.
    pub name: String,
    /// Its namespace; `None` for the route's.
    pub namespace: Option<String>,
    /// Its port; `None` for any.
    pub port: Option<u16>,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(&self.name)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// A weight that Istio does not support.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{0} is not a whole percentage, as Istio's weights are; change it, or use mode filter")]
pub struct NotPercent(Weight);

/// The weights of a route. A version's share is its part of the sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteWeights {
    /// The baseline's weight.
    pub baseline: u32,
    /// The candidate's weight.
    pub candidate: u32,
}

impl RouteWeights {
    /// In parts per million.
    #[must_use]
    pub fn ppm(candidate: Weight) -> Self {
        Self { baseline: candidate.rest().ppm(), candidate: candidate.ppm() }
    }

    /// In percent.
    ///
    /// # Errors
    /// The weight is not a whole percentage.
    pub fn percent(weight: Weight) -> Result<Self, NotPercent> {
        const PERCENT: u32 = BUCKETS / 100;
        let Self { baseline, candidate } = Self::ppm(weight);
        let whole = candidate.is_multiple_of(PERCENT);
        let percent = Self { baseline: baseline / PERCENT, candidate: candidate / PERCENT };
        whole.then_some(percent).ok_or(NotPercent(weight))
    }

    /// The candidate's share, to the nearest part per million; `None` if both weights are 0.
    #[must_use]
    pub fn candidate_weight(self) -> Option<Weight> {
        let sum = u64::from(self.baseline) + u64::from(self.candidate);
        let ppm = (u64::from(self.candidate) * u64::from(BUCKETS) + sum / 2).checked_div(sum)?;
        Weight::from_ppm(u32::try_from(ppm).ok()?)
    }
}

impl Display for RouteWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} and {}", self.baseline, self.candidate)
    }
}
