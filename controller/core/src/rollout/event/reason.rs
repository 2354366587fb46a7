//! Reasons for a rollback.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serin_filter::names::VersionName;

use crate::judge::explain::share;
use crate::rollout::call::HookPoint;
use crate::rollout::command::Command;

/// The reason why the rollout moves all traffic back to the baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum RollbackReason {
    /// The judge found the candidate worse.
    Harm {
        /// The service level indicator: `errors` or `latency`.
        sli: String,
        /// The comparison as a sentence with the numbers.
        sentence: String,
        /// The e-value against an acceptable candidate.
        evidence: f64,
        /// The e-value at which the candidate counts as worse: 1/alpha.
        limit: f64,
        /// Number of the deciding block, from 1.
        block: u64,
    },
    /// The tripwire of a proxy cut the candidate off.
    Tripwire {
        /// The comparison as a sentence with the numbers.
        sentence: String,
    },
    /// A step exceeded its limit, whose action is `rollBack`.
    StepTimeout {
        /// Number of the step, from 1.
        step: usize,
        /// The limit in seconds.
        at_most: f64,
    },
    /// Preview requests failed.
    Preview {
        /// The candidate.
        version: VersionName,
        /// Failed preview requests.
        failures: u64,
        /// Preview requests.
        requests: u64,
    },
    /// The candidate used up the failure budget.
    FailureBudget {
        /// Failed requests of the candidate.
        failures: u64,
        /// `spec.failureBudget`.
        budget: u64,
    },
    /// A metric broke its rule.
    Metric {
        /// Name of the metric.
        metric: String,
        /// The rule in words.
        limit: String,
        /// The baseline's last value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        baseline: Option<f64>,
        /// The candidate's last value.
        candidate: f64,
        /// The number of consecutive bad values.
        consecutive: u32,
    },
    /// A hook before the rollout failed.
    HookRejected {
        /// The point of the call.
        point: HookPoint,
        /// The address or the command.
        hook: String,
        /// Its error.
        reason: String,
    },
    /// A restarted controller found a rollback whose reason was not persisted.
    ReasonNotPersisted,
    /// A person requested it.
    Command(Command),
    /// The user interrupted the controller.
    Interrupted,
}

impl fmt::Display for RollbackReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Harm { sentence, evidence, limit, block, .. } => {
                write!(f, "{sentence} (evidence {evidence:.0}, limit {limit:.0}, block {block})")
            }
            Self::Tripwire { sentence } => {
                write!(f, "the tripwire of a proxy cut the candidate off: {sentence}")
            }
            Self::StepTimeout { step, at_most } => {
                let at_most = humantime::format_duration(Duration::from_secs_f64(*at_most));
                write!(f, "step {step} did not open its gate within {at_most}")
            }
            Self::Preview { version, failures, requests } => {
                write!(
                    f,
                    "{} of the preview requests to {version} failed",
                    share(*failures, *requests)
                )
            }
            Self::FailureBudget { failures, budget } => {
                write!(
                    f,
                    "{failures} requests to the candidate failed; spec.failureBudget is {budget}"
                )
            }
            Self::Metric { metric, limit, baseline, candidate, consecutive } => {
                write!(f, "{metric} is {candidate}")?;
                if let Some(baseline) = baseline {
                    write!(f, " (baseline {baseline})")?;
                }
                write!(f, "; {consecutive} consecutive values broke its rule: {limit}")
            }
            Self::HookRejected { point, hook, reason } => {
                write!(f, "the {point} hook {hook} failed: {reason}")
            }
            Self::ReasonNotPersisted => {
                f.write_str("rolled back before a restart of serin; the reason was not persisted")
            }
            Self::Command(command) => command.fmt(f),
            Self::Interrupted => f.write_str("interrupted by Ctrl-C or SIGTERM"),
        }
    }
}
