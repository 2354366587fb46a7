//! Events and statuses as sentences, for terminals and Kubernetes alike.

use std::fmt;
use std::time::Duration;

use super::{ArmStatus, Event, RolloutStatus, RolloutVerdict, Sensitivity, Stage, Summary};
use crate::judge::explain::{percent, share};
use crate::rollout::plan::TimeoutAction;

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { service, baseline, candidate, steps, .. } => {
                let weights: Vec<_> = steps.iter().map(ToString::to_string).collect();
                write!(f, "{service}: from {baseline} to {candidate} by {}", weights.join(", "))
            }
            Self::AaTesting { salts, duration, requests, .. } => write!(
                f,
                "A/A test of {salts} salts for {} and {requests} requests; the baseline serves all users",
                seconds(*duration)
            ),
            Self::SaltChosen { salt, bias } => {
                let bias: Vec<_> = bias.iter().map(|bias| percent(*bias)).collect();
                write!(
                    f,
                    "salt {salt:?} balances the users best; the remaining bias widens the margins of the steps by {}",
                    bias.join(", ")
                )
            }
            Self::Shifting { step, weight, generation } => {
                step.map_or(Ok(()), |step| write!(f, "step {step}: "))?;
                write!(f, "{weight} requested (generation {generation})")
            }
            Self::Live { weight, after, .. } => {
                write!(f, "{weight} live in every worker after {after:.1} s")
            }
            Self::Blocked { message, .. } | Self::Warning { message } => f.write_str(message),
            Self::Unblocked => f.write_str("the rollout continues"),
            Self::ProxyRestarted => f.write_str("Envoy restarted; its counters restart at zero"),
            Self::Progress(status) => status.fmt(f),
            Self::GateOpened { step, status } => write!(
                f,
                "step {step} passed: {}; {}",
                status.comparison(),
                status.sensitivity_sentence()
            ),
            Self::StepTimeout { step, at_most, then } => {
                let then = match then {
                    TimeoutAction::Advance => "the rollout advances",
                    TimeoutAction::Pause => "the rollout pauses",
                    TimeoutAction::RollBack => "the rollout rolls back",
                };
                write!(f, "step {step} did not open its gate within {}; {then}", seconds(*at_most))
            }
            Self::Promoted { window } => {
                write!(f, "a rollback window of {} begins", seconds(*window))
            }
            Self::ApprovalNeeded { step } => write!(f, "step {step} waits for approval"),
            Self::FreezeStarted { until } => write!(f, "no gate opens before {until}"),
            Self::FreezeEnded => f.write_str("the freeze ended"),
            Self::PauseExpired => f.write_str("the pause expired"),
            Self::HookCalled { point, hook, instances, .. } => {
                write!(f, "{point} hook: calling {hook}")?;
                match &instances[..] {
                    [] => Ok(()),
                    instances => write!(f, " for {}", instances.join(", ")),
                }
            }
            Self::HookSucceeded { point, hook, .. } => write!(f, "{point} hook: {hook} succeeded"),
            Self::HookFailed { point, hook, reason, .. } => {
                write!(f, "{point} hook: {hook} failed: {reason}")
            }
            Self::Command(command) => command.fmt(f),
            Self::RollingBack { reason } => reason.fmt(f),
            Self::Ended(summary) => summary.fmt(f),
        }
    }
}

impl Event {
    /// A limitation of the event, as a sentence.
    #[must_use]
    pub fn caveat(&self) -> Option<String> {
        match self {
            Self::Started { breaking: true, .. } => Some(
                "breaking: both versions answer until every worker follows the switch, and both use \
                 shared state, such as a database, as long as both run"
                    .to_owned(),
            ),
            Self::GateOpened { step: 1, status } => {
                status.caveat.as_ref().map(|caveat| format!("not covered: {caveat}"))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verdict, service, baseline, candidate, .. } = self;
        match verdict {
            RolloutVerdict::Promoted => write!(f, "{service} runs {candidate}"),
            RolloutVerdict::RolledBack | RolloutVerdict::Interrupted => {
                write!(f, "{service} stays on {baseline}")
            }
        }
    }
}

impl fmt::Display for RolloutStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { weight, stage, .. } = self;
        let candidate = &self.candidate.version;
        match stage {
            Stage::Preparing => f.write_str("calling the hooks before the rollout"),
            Stage::AaTesting => f.write_str("A/A test before the first step"),
            Stage::RollingBack => f.write_str("moving all traffic back to the baseline"),
            Stage::Promoted => write!(f, "{candidate} serves all users in its rollback window"),
            Stage::Ending => f.write_str("notifying the hooks of the end"),
            Stage::Step => {
                write!(f, "{}, ", self.position())?;
                match (self.paused, &self.freeze_end, self.live) {
                    (true, ..) => write!(f, "{candidate} paused at {weight}"),
                    (false, Some(until), _) => write!(f, "frozen until {until}"),
                    (false, None, true) => write!(f, "{weight} to {candidate} is live"),
                    (false, None, false) => write!(f, "shifting {weight} to {candidate}"),
                }
            }
        }
    }
}

impl RolloutStatus {
    /// The stage in CamelCase, as a Kubernetes reason.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self.stage {
            Stage::Preparing => "Preparing",
            Stage::AaTesting => "AATesting",
            Stage::RollingBack => "RollingBack",
            Stage::Promoted => "RollbackWindow",
            Stage::Ending => "Ending",
            Stage::Step if self.paused => "Paused",
            Stage::Step if self.freeze_end.is_some() => "Frozen",
            Stage::Step if self.live => "StepLive",
            Stage::Step => "StepShifting",
        }
    }

    /// The stage, or the number of the step, as a short phrase.
    #[must_use]
    pub fn position(&self) -> String {
        let stage = match self.stage {
            Stage::Step => {
                return format!("step {} of {}", self.step.unwrap_or_default(), self.steps);
            }
            Stage::Preparing => "calling hooks",
            Stage::AaTesting => "A/A test",
            Stage::Promoted => "promoted",
            Stage::RollingBack => "rolling back",
            Stage::Ending => "ending",
        };
        stage.to_owned()
    }

    /// The failure rates of both versions.
    #[must_use]
    pub fn comparison(&self) -> String {
        let failed = |arm: &ArmStatus| share(arm.failures, arm.requests);
        let Self { baseline, candidate, .. } = self;
        format!(
            "{} failed {}, {} {}",
            candidate.version,
            failed(candidate),
            baseline.version,
            failed(baseline)
        )
    }

    fn sensitivity_sentence(&self) -> String {
        let Self { weight, candidate: ArmStatus { version: candidate, .. }, .. } = self;
        match self.sensitivity {
            Sensitivity::Detects { failure_rate } => {
                let rate = percent(failure_rate);
                format!("it would have detected a failure rate of {rate} or more")
            }
            Sensitivity::Nothing => format!(
                "too few requests to detect even a {candidate} that always fails; raise bake.requests"
            ),
            Sensitivity::Objectives => {
                format!("no baseline left at {weight}: only its objectives judged {candidate}")
            }
            Sensitivity::NoBaseline => {
                format!("no baseline left at {weight}: nothing judged {candidate}")
            }
            Sensitivity::Preview { requests } => {
                format!("{requests} preview requests reached {candidate}, none failed")
            }
        }
    }
}

fn seconds(seconds: f64) -> String {
    let seconds = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX).as_secs();
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}
