//! One proxy's counters of one service.

use std::collections::{BTreeMap, BTreeSet};

use serin_filter::names::{Generation, VersionName};

use super::counters::Counters;
use super::slices::SliceCounts;

/// The filter's statistics of one service, as a proxy shows them: counted since the proxy started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// The generation that the filter runs; `None` if no filter has reported yet.
    pub generation: Option<Generation>,
    /// When the filter was first configured in this process of the proxy, in seconds since 1970; 0 if it has not been.
    pub started: u64,
    /// Ticks of workers that run the newest generation.
    pub ticks: u64,
    /// Ticks of workers that still run an older one.
    pub ticks_behind: u64,
    /// Filter configurations that the proxy refused.
    pub rejections: u64,
    /// Versions that the filter's tripwire has cut off.
    pub tripped: BTreeSet<VersionName>,
    /// The counters of each version.
    pub versions: BTreeMap<VersionName, Counters>,
    /// The counters of future slices, if they are watched.
    pub slices: SliceCounts,
}
