//! Flagger: each tick checks, and counts a failure or advances.

use std::time::Duration;

use serin_core::rollout::event::RolloutVerdict;
use serin_core::rollout::plan::Plan;
use serin_core::split::{Split, UserAssignment};
use serin_filter::names::Generation;
use serin_filter::table::Weight;

use super::window::{MetricWindow, WindowVerdict};
use crate::controller::SimulatedController;
use crate::fleet::SimulatedFleet;

/// Flagger's shortest interval.
pub(super) const MIN_INTERVAL: Duration = Duration::from_secs(10);

/// A canary of Flagger.
pub(super) struct Flagger {
    interval: Duration,
    threshold: u32,
    /// The weights below 100 %, and the number of those applied.
    weights: Vec<Weight>,
    set: usize,
    ticks: u32,
    /// Never reset by a success.
    failed: u32,
    window: MetricWindow,
}

impl Flagger {
    pub(super) fn new(plan: &Plan, interval: Duration, threshold: u32) -> Self {
        let weights = plan.steps.iter().map(|step| step.weight());
        Self {
            interval,
            threshold: threshold.max(1),
            weights: weights.filter(|weight| *weight < Weight::ALL).collect(),
            set: 0,
            ticks: 0,
            failed: 0,
            window: MetricWindow::default(),
        }
    }

    fn next_tick(&self) -> Duration {
        self.interval * self.ticks
    }

    fn tick(&mut self, now: Duration, fleet: &mut SimulatedFleet) -> Option<RolloutVerdict> {
        self.ticks += 1;
        // The first tick only detects the new revision.
        if self.ticks == 1 {
            return None;
        }
        if self.failed >= self.threshold {
            fleet.apply(now, split(Weight::ZERO));
            return Some(RolloutVerdict::RolledBack);
        }
        // At weight 0 there is no traffic to analyse.
        if self.set > 0 && self.window.query() != WindowVerdict::Good {
            self.failed += 1;
            return None;
        }
        match self.weights.get(self.set) {
            Some(weight) => {
                self.set += 1;
                fleet.apply(now, split(*weight));
                None
            }
            None => {
                fleet.apply(now, split(Weight::ALL));
                Some(RolloutVerdict::Promoted)
            }
        }
    }
}

impl SimulatedController for Flagger {
    fn next_poll(&self) -> Duration {
        self.next_tick().min(self.window.next())
    }

    fn poll(&mut self, now: Duration, fleet: &mut SimulatedFleet) -> Option<RolloutVerdict> {
        if now >= self.window.next() {
            self.window.scrape(now, fleet);
        }
        if now >= self.next_tick() { self.tick(now, fleet) } else { None }
    }
}

/// Peers have no generations.
pub(super) fn split(candidate: Weight) -> Split {
    Split { generation: Generation(0), candidate, assignment: UserAssignment::ServiceSalt }
}
