//! The parts of a rollout's state.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serin_filter::names::VersionName;

use crate::observation::{FleetDelta, VersionDelta};
use crate::rollout::call::{HookCall, HookPoint};
use crate::rollout::metric::MetricSample;

/// Why no gate opens until the rollout resumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Pause {
    /// A person paused it, or a step exceeded its limit.
    UntilResumed,
    /// A person paused it until this time.
    Until(Duration),
}

/// Times of polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct PollTimes {
    /// The last poll.
    pub(super) last: Duration,
    /// The last poll that returned counts: the next counts reach back to it.
    pub(super) last_sample: Duration,
    /// The last report of a worker.
    pub(super) last_worker_report: Duration,
}

impl PollTimes {
    /// Forgets an interval without polls.
    pub(super) fn resume(&mut self, now: Duration) {
        *self = Self { last: now, last_sample: now, last_worker_report: now };
    }
}

/// Progress of the hooks of the present phase, and of replaced instances.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct HookProgress {
    /// Calls that have not succeeded.
    pub(super) pending: Vec<PendingCall>,
    /// How many consecutive hooks of the phase succeeded.
    pub(super) passed: usize,
    /// The last step whose instances serin replaced or replaces.
    pub(super) replaced_step: Option<usize>,
}

/// A call that has not succeeded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct PendingCall {
    pub(super) call: HookCall,
    /// The time of the next attempt and the last error.
    pub(super) failed: Option<(Duration, String)>,
    /// Whether it runs. Nothing else touches its instances meanwhile.
    pub(super) in_flight: bool,
    /// Whether the rollout left the phase that made it.
    pub(super) obsolete: bool,
}

impl PendingCall {
    pub(super) fn point(&self) -> HookPoint {
        self.call.message.point
    }
}

/// Counts by version.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Deltas {
    /// Judged counts since the step went live.
    pub(super) step: BTreeMap<VersionName, VersionDelta>,
    /// All counts since the rollout started.
    pub(super) total: BTreeMap<VersionName, VersionDelta>,
}

impl Deltas {
    pub(super) fn add_to_step(&mut self, delta: &FleetDelta) {
        add(&mut self.step, delta);
    }

    pub(super) fn add_to_total(&mut self, delta: &FleetDelta) {
        add(&mut self.total, delta);
    }
}

fn add(sums: &mut BTreeMap<VersionName, VersionDelta>, delta: &FleetDelta) {
    for (version, delta) in &delta.versions {
        match sums.get_mut(version) {
            Some(sum) => sum.add(delta),
            None => drop(sums.insert(version.clone(), delta.clone())),
        }
    }
}

/// Samples of the plan's metrics.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct MetricState {
    /// When the next queries are due.
    pub(super) due: Duration,
    /// Whether queries run.
    #[serde(skip)]
    pub(super) in_flight: bool,
    /// One for each metric, once measured under the present split.
    pub(super) records: Vec<MetricRecord>,
}

/// Samples of one metric under the present split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct MetricRecord {
    pub(super) last: MetricSample,
    /// Whether the last sample keeps the rule; `None` if it lacks a value.
    pub(super) passed: Option<bool>,
    /// How many consecutive samples broke the rule.
    pub(super) consecutive_bad: u32,
}
