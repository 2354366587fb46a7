//! The candidate's counters of the last minute in a monitoring system.

use std::collections::VecDeque;
use std::time::Duration;

use serin_core::observation::Counters;
use serin_filter::histogram::{self, BOUNDARIES};
use serin_filter::outcome::Failure;
use serin_filter::stat::Stat;

use super::super::fleet::SimulatedFleet;

/// The window of a query.
const WINDOW: Duration = Duration::from_secs(60);
/// The scrape interval: the shortest in common use. With longer ones, short rules find no data and
/// roll every rollout back.
const SCRAPE: Duration = Duration::from_secs(5);
/// The required success rate.
const SUCCESS: f64 = 0.99;
/// The largest p99 latency.
const P99_US: u64 = 500_000;

/// The result of a query.
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
