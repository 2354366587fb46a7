//! Decides the next action for an object. Pure.

use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::Value;
use serin_core::rollout::command::{Action, Command};
use serin_core::spec::manifest::Manifest;
use serin_filter::names::VersionName;

use crate::kubernetes::status::{ObjectStatus, RolloutPhase};
use crate::operator::command;

/// The part of an object that decides the next action.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DesiredState<'o> {
    /// `spec.baseline`.
    pub(crate) baseline: &'o VersionName,
    /// `spec.candidate`.
    pub(crate) candidate: &'o VersionName,
    /// The annotation with a command.
    pub(crate) command: Option<&'o str>,
    /// Whether the object is being deleted.
    pub(crate) deleted: bool,
}

/// The specification in an object.
///
/// # Errors
/// It is invalid.
pub(crate) fn manifest(object: &DynamicObject) -> Result<Manifest, String> {
    let spec = object.data.get("spec").unwrap_or(&Value::Null);
    let namespace = object.namespace().unwrap_or_default();
    Manifest::read(&object.name_any(), &namespace, spec).map_err(|error| error.to_string())
}

/// The desired state in an object.
#[must_use]
pub(crate) fn desired_state<'o>(
    object: &'o DynamicObject,
    manifest: &'o Manifest,
) -> DesiredState<'o> {
    DesiredState {
        baseline: manifest.baseline(),
        candidate: manifest.candidate(),
        command: object.annotations().get(command::ANNOTATION).map(|text| &**text),
        deleted: object.metadata.deletion_timestamp.is_some(),
    }
}

/// The next action for an object whose rollout does not run here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Intent {
    /// Resume the rollout in the status.
    Resume,
    /// Start a rollout.
    Begin {
        /// The version that serves all users now.
        baseline: VersionName,
        /// The version that replaces it.
        candidate: VersionName,
    },
    /// Only write the status.
    Idle {
        /// The phase of the object.
        phase: RolloutPhase,
        /// The version that serves all users now.
        stable: VersionName,
    },
    /// Remove the finalizer.
    Finalize,
}

/// Decides the next action. A rollout in progress is resumed even if the object has changed:
/// [`implied_command`] stops it.
#[must_use]
pub(crate) fn intent(desired: DesiredState<'_>, status: &ObjectStatus) -> Intent {
    if status.checkpoint.is_some() {
        return Intent::Resume;
    }
    if desired.deleted {
        return Intent::Finalize;
    }
    let stable = status.stable.as_ref().unwrap_or(desired.baseline).clone();
    if *desired.candidate == stable {
        return Intent::Idle { phase: RolloutPhase::Stable, stable };
    }
    if status.rejected.as_ref() == Some(desired.candidate) && !retries(desired, status) {
        let phase = match status.history.first().map(|last| &*last.verdict) {
            Some("Stopped") => RolloutPhase::Stopped,
            _ => RolloutPhase::RolledBack,
        };
        return Intent::Idle { phase, stable };
    }
    Intent::Begin { baseline: stable, candidate: desired.candidate.clone() }
}

/// Whether the annotation asks for a retry.
fn retries(desired: DesiredState<'_>, status: &ObjectStatus) -> bool {
    let Some(text) = pending_command(desired, status) else { return false };
    command::parse(text).is_ok_and(|command| command.action == Action::Retry)
}

/// The command that the operator has not handled yet.
#[must_use]
pub(crate) fn pending_command<'o>(
    desired: DesiredState<'o>,
    status: &ObjectStatus,
) -> Option<&'o str> {
    let handled = status.command.as_ref().map(|report| &*report.text);
    desired.command.filter(|text| handled != Some(text))
}

/// The command with which a change of the object ends the rollout in progress. `versions` are its
/// baseline and its candidate.
#[must_use]
pub(crate) fn implied_command(
    desired: DesiredState<'_>,
    versions: (&VersionName, &VersionName),
    phase: RolloutPhase,
) -> Option<Command> {
    let (baseline, candidate) = versions;
    let command = |action, reason: String| {
        let by = "serin".to_owned();
        Command { action, by, reason: Some(reason), step: None, seconds: None, force: false }
    };
    let promoted = phase == RolloutPhase::Promoted;
    if desired.deleted {
        // A promoted candidate stays promoted.
        return (!promoted)
            .then(|| command(Action::Abort, "the ServiceRollout is being deleted".to_owned()));
    }
    let newer = desired.candidate;
    match (newer == candidate, promoted) {
        (true, _) => None,
        (false, false) => Some(command(Action::Abort, format!("spec.candidate is {newer} now"))),
        // The rollback window ends before the next rollout starts.
        (false, true) if newer != baseline => None,
        (false, true) => Some(command(Action::Undo, format!("spec.candidate is {newer} again"))),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::kubernetes::status::{CommandReport, HistoryEntry, StatusCheckpoint};

    fn version(name: &str) -> VersionName {
        name.parse().unwrap()
    }

    fn decide(baseline: &str, candidate: &str, status: &ObjectStatus) -> Intent {
        let (baseline, candidate) = (&version(baseline), &version(candidate));
        intent(DesiredState { baseline, candidate, command: None, deleted: false }, status)
    }

    fn begin(baseline: &str, candidate: &str) -> Intent {
        Intent::Begin { baseline: version(baseline), candidate: version(candidate) }
    }

    fn idle(phase: RolloutPhase, stable: &str) -> Intent {
        Intent::Idle { phase, stable: version(stable) }
    }

    /// A status after a rollout with this verdict.
    fn after(stable: &str, candidate: &str, verdict: &str) -> ObjectStatus {
        let last = HistoryEntry {
            baseline: version(stable),
            candidate: version(candidate),
            verdict: verdict.to_owned(),
            reason: None,
            confirmed: true,
            ended: Timestamp::UNIX_EPOCH,
        };
        let rejected = (verdict != "Promoted").then(|| version(candidate));
        ObjectStatus {
            stable: Some(version(stable)),
            rejected,
            history: vec![last],
            ..ObjectStatus::default()
        }
    }

    #[test]
    fn a_rollout_starts_if_the_candidate_is_not_the_stable_version() {
        let new = ObjectStatus::default();
        assert_eq!(decide("v1", "v1", &new), idle(RolloutPhase::Stable, "v1"));
        assert_eq!(decide("v1", "v2", &new), begin("v1", "v2"));
        // The promoted version is the baseline, even if spec.baseline is outdated.
        let promoted = after("v2", "v2", "Promoted");
        assert_eq!(decide("v1", "v2", &promoted), idle(RolloutPhase::Stable, "v2"));
        assert_eq!(decide("v1", "v3", &promoted), begin("v2", "v3"));
        assert_eq!(decide("v1", "v1", &promoted), begin("v2", "v1"));
    }

    #[test]
    fn only_a_command_retries_a_rejected_candidate() {
        let rolled_back = after("v1", "v2", "RolledBack");
        assert_eq!(decide("v1", "v2", &rolled_back), idle(RolloutPhase::RolledBack, "v1"));
        assert_eq!(
            decide("v1", "v2", &after("v1", "v2", "Stopped")),
            idle(RolloutPhase::Stopped, "v1")
        );
        assert_eq!(decide("v1", "v3", &rolled_back), begin("v1", "v3"));
        assert_eq!(decide("v1", "v1", &rolled_back), idle(RolloutPhase::Stable, "v1"));
        let (baseline, candidate) = (&version("v1"), &version("v2"));
        let retry =
            DesiredState { baseline, candidate, command: Some("retry id=1"), deleted: false };
        assert_eq!(intent(retry, &rolled_back), begin("v1", "v2"));
        let handled = CommandReport {
            text: "retry id=1".to_owned(),
            at: Timestamp::UNIX_EPOCH,
            rejected: None,
        };
        let handled = ObjectStatus { command: Some(handled), ..rolled_back };
        assert_eq!(intent(retry, &handled), idle(RolloutPhase::RolledBack, "v1"));
    }

    #[test]
    fn a_rollout_in_progress_resumes_even_if_the_object_ends_it() {
        let checkpoint = StatusCheckpoint {
            baseline: version("v1"),
            candidate: version("v2"),
            spec: String::new(),
            state: String::new(),
            at_ms: 0,
            wall: Timestamp::UNIX_EPOCH,
        };
        let status = ObjectStatus { checkpoint: Some(checkpoint), ..ObjectStatus::default() };
        assert_eq!(decide("v1", "v3", &status), Intent::Resume);
        let (baseline, candidate) = (&version("v1"), &version("v2"));
        let deleted = DesiredState { baseline, candidate, command: None, deleted: true };
        assert_eq!(intent(deleted, &status), Intent::Resume);
        assert_eq!(intent(deleted, &ObjectStatus::default()), Intent::Finalize);
    }

    #[test]
    fn another_candidate_or_a_deletion_ends_a_rollout() {
        let (v1, v2, v3) = (version("v1"), version("v2"), version("v3"));
        let desired =
            |candidate, deleted| DesiredState { baseline: &v1, candidate, command: None, deleted };
        let action = |desired, phase| {
            implied_command(desired, (&v1, &v2), phase).map(|command| command.action)
        };
        assert_eq!(action(desired(&v2, false), RolloutPhase::Progressing), None);
        assert_eq!(action(desired(&v3, false), RolloutPhase::Progressing), Some(Action::Abort));
        assert_eq!(action(desired(&v1, false), RolloutPhase::Paused), Some(Action::Abort));
        assert_eq!(action(desired(&v2, true), RolloutPhase::Progressing), Some(Action::Abort));
        assert_eq!(action(desired(&v3, false), RolloutPhase::Promoted), None);
        assert_eq!(action(desired(&v1, false), RolloutPhase::Promoted), Some(Action::Undo));
        assert_eq!(action(desired(&v2, true), RolloutPhase::Promoted), None);
    }
}
