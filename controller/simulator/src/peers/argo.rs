//! Argo Rollouts: steps with pauses, and an independent background analysis.

use std::time::Duration;

use serin_core::rollout::event::RolloutVerdict;
use serin_core::rollout::plan::{Plan, Step};
use serin_filter::table::Weight;

use super::flagger::split;
use super::window::{MetricWindow, WindowVerdict};
use crate::controller::SimulatedController;
use crate::fleet::SimulatedFleet;

/// The time to the next measurement after one without data.
const AFTER_ERROR: Duration = Duration::from_secs(10);
/// The most consecutive measurements without data.
const ERRORS_IN_A_ROW: u32 = 4;

/// A rollout of Argo Rollouts.
pub(super) struct Argo {
    interval: Duration,
    limit: u32,
    steps: Vec<Step>,
    /// The number of steps started.
    begun: usize,
    next_step: Duration,
    next_measurement: Duration,
    failed: u32,
    errors: u32,
    window: MetricWindow,
}

impl Argo {
    pub(super) fn new(plan: &Plan, interval: Duration, limit: u32) -> Self {
        Self {
            interval,
            limit,
            steps: plan.steps.clone(),
            begun: 0,
            next_step: Duration::ZERO,
            next_measurement: Duration::ZERO,
            failed: 0,
            errors: 0,
            window: MetricWindow::default(),
        }
    }

    /// Whether the analysis ends the rollout.
    fn measure(&mut self, now: Duration) -> bool {
        match self.window.query() {
            WindowVerdict::NoData => {
                self.errors += 1;
                self.next_measurement = now + AFTER_ERROR;
                return self.errors > ERRORS_IN_A_ROW;
            }
            WindowVerdict::Bad => self.failed += 1,
            WindowVerdict::Good => {}
        }
        self.errors = 0;
        self.next_measurement = now + self.interval;
        self.failed > self.limit
    }
}

impl SimulatedController for Argo {
    fn next_poll(&self) -> Duration {
        self.window.next().min(self.next_step).min(self.next_measurement)
    }

    fn poll(&mut self, now: Duration, fleet: &mut SimulatedFleet) -> Option<RolloutVerdict> {
        if now >= self.window.next() {
            self.window.scrape(now, fleet);
        }
        if now >= self.next_measurement && self.measure(now) {
            fleet.apply(now, split(Weight::ZERO));
            return Some(RolloutVerdict::RolledBack);
        }
        if now >= self.next_step {
            let Some(step) = self.steps.get(self.begun) else {
                return Some(RolloutVerdict::Promoted);
            };
            // Argo's weights are whole percentages.
            let percent = (step.weight().share() * 100.0).round().max(1.0) / 100.0;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0.01 to 1
            let weight = Weight::from_ppm((percent * 1e6).round() as u32).unwrap_or(Weight::ALL);
            fleet.apply(now, split(weight));
            self.next_step = now + step.bake;
            self.begun += 1;
        }
        None
    }
}
