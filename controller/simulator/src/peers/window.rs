//! What a monitoring system knows of the candidate: counters as scraped, over the last minute.

use std::collections::VecDeque;
use std::time::Duration;

use serin_core::observation::Counters;
use serin_filter::histogram::{self, BOUNDARIES};
use serin_filter::outcome::Failure;
use serin_filter::stat::Stat;

use super::super::fleet::SimulatedFleet;

/// How far back a query looks.
const WINDOW: Duration = Duration::from_secs(60);
/// Between scrapes: the shortest that is usual. With longer ones short rules find no data, and roll every release back.
const SCRAPE: Duration = Duration::from_secs(5);
/// The share of requests that has to succeed.
const SUCCESS: f64 = 0.99;
/// What 99 % of the requests may take.
const P99_US: u64 = 500_000;

/// What a query finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WindowVerdict {
    Good,
    Bad,
    NoData,
}

/// The candidate's counters at each scrape of the last window.
#[derive(Debug, Default)]
pub(super) struct MetricWindow {
    scrapes: VecDeque<(Duration, Counters)>,
}

impl MetricWindow {
    /// When the next scrape is due.
    pub(super) fn next(&self) -> Duration {
        self.scrapes.back().map_or(SCRAPE, |(at, _)| *at + SCRAPE)
    }

    pub(super) fn scrape(&mut self, now: Duration, fleet: &mut SimulatedFleet) {
        let [_, candidate] = fleet.totals(now);
        self.scrapes.push_back((now, candidate));
        while self.scrapes.front().is_some_and(|(at, _)| *at + WINDOW < now) {
            self.scrapes.pop_front();
        }
    }

    /// Success rate and 99th percentile over the window.
    pub(super) fn query(&self) -> WindowVerdict {
        let (Some((_, first)), Some((_, last))) = (self.scrapes.front(), self.scrapes.back())
        else {
            return WindowVerdict::NoData;
        };
        let rise = last.since(first);
        let all = rise.count(Stat::LatencyBucket(BOUNDARIES)) as f64;
        if all == 0.0 {
            return WindowVerdict::NoData;
        }
        let failed: u64 = Failure::ALL.iter().map(|kind| rise.count(Stat::Failures(*kind))).sum();
        let quick = rise.count(Stat::LatencyBucket(histogram::bucket(P99_US))) as f64;
        let good = failed as f64 <= (1.0 - SUCCESS) * all && quick >= 0.99 * all;
        if good { WindowVerdict::Good } else { WindowVerdict::Bad }
    }
}
