//! The statistics that a source reads for one service.

use serin_filter::config::wire::AaTest;
use serin_filter::names::{ServiceName, VersionName};

/// Selects one service's statistics.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesSelector {
    /// The service.
    pub service: ServiceName,
    /// Baseline and candidate.
    pub versions: [VersionName; 2],
    /// Salts and slices of the A/A test; `None` without one.
    pub slices: Option<AaTest>,
}
