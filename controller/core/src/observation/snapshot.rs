//! One proxy's counters of one service.

use std::collections::{BTreeMap, BTreeSet};

use serin_filter::names::{Generation, VersionName};

use super::counters::Counters;
use super::slices::SliceCounts;

/// The filter's statistics of one service at one proxy, counted since the proxy started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// The generation that the filter runs; `None` if no filter has reported yet.
    pub generation: Option<Generation>,
    /// The time at which this process of the proxy first configured the filter, in seconds since
    /// 1970; 0 if it has not.
    pub started: u64,
    /// Ticks of workers that run the newest generation.
    pub ticks: u64,
    /// Ticks of workers that run an older generation.
    pub ticks_behind: u64,
    /// Filter configurations that the proxy rejected.
    pub rejections: u64,
    /// Versions stopped by the filter's tripwire.
    pub tripped: BTreeSet<VersionName>,
    /// The counters of each version.
    pub versions: BTreeMap<VersionName, Counters>,
    /// The counters of the slices of an A/A test.
    pub slices: SliceCounts,
}
