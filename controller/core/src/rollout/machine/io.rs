//! Inputs and outputs of the state machine.

use serin_filter::names::Generation;

use crate::judge::Ruling;
use crate::observation::Observation;
use crate::rollout::call::HookCall;
use crate::rollout::event::Event;
use crate::rollout::metric::MetricSample;
use crate::split::Split;

/// An input of the state machine.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The result of one poll.
    Observation(Observation),
    /// The router failed to apply the last requested split.
    ApplyFailed {
        /// Its error.
        reason: String,
    },
    /// A hook call ended.
    HookAnswered {
        /// Id of the call.
        id: String,
        /// Success, or the hook's error.
        answer: Result<(), String>,
    },
    /// The provider measured the plan's metrics.
    MetricsSampled {
        /// The generation of the split at that time.
        generation: Generation,
        /// One sample for each metric, in the order of the plan.
        values: Vec<MetricSample>,
    },
    /// The user interrupts the rollout: it rolls back. During a rollback it ends unconfirmed.
    Interrupt,
}

/// An action that the state machine requests.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Apply this split.
    Apply(Split),
    /// Publish this event.
    Emit(Box<Event>),
    /// Call this hook.
    CallHook(HookCall),
    /// Measure the plan's metrics.
    SampleMetrics {
        /// The generation of the present split.
        generation: Generation,
    },
    /// Record this ruling of the judge.
    RecordRuling(Ruling),
}

impl Output {
    pub(super) fn emit(event: Event) -> Self {
        Self::Emit(Box::new(event))
    }
}
