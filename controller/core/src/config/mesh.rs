//! Where a mesh reaches the two versions of a rollout, and weights as its objects have them.

use std::fmt::{self, Display};

use serin_filter::table::{BUCKETS, Weight};
use thiserror::Error;

/// Where the two versions of a rollout are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions<T> {
    /// The version that runs.
    pub baseline: T,
    /// The version that shall take its place.
    pub candidate: T,
}

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

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        self.subset.as_ref().map_or(Ok(()), |subset| write!(f, " (subset {subset})"))
    }
}

/// Where a version is reached: a Service, as a `backendRef` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// The Service's name.
    pub name: String,
    /// Its namespace; the route's if absent.
    pub namespace: Option<String>,
    /// Its port; any if absent.
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

/// A weight that Istio can't be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "{0} is not a whole percentage, and Istio's weights are. Choose one, or let the filter split"
)]
pub struct NotPercent(Weight);

/// Two weights as an object has them: each version's share is its part of the sum.
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

    /// The candidate's share, to the nearest part per million; `None` if neither version has any.
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
