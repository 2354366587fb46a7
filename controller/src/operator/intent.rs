//! What is to be done for an object, decided from what it says. Pure.

use serin_core::rollout::command::{Action, Command};
use serin_filter::names::VersionName;

use crate::kubernetes::status::{ObjectStatus, RolloutPhase};
use crate::operator::command;

/// What an object says, as far as it decides what is to be done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DesiredState<'o> {
    /// `spec.baseline`.
    pub(crate) baseline: &'o VersionName,
    /// `spec.candidate`.
    pub(crate) candidate: &'o VersionName,
    /// The annotation with an order.
    pub(crate) command: Option<&'o str>,
    /// Whether the object is being deleted.
    pub(crate) deleted: bool,
}

/// What is to be done for an object whose rollout is not being carried out here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Intent {
    /// One was left under way: to go on with it.
    Resume,
    /// To begin one.
    Begin {
        /// The version that runs.
        baseline: VersionName,
        /// The version that shall replace it.
        candidate: VersionName,
    },
    /// Nothing, but to say so.
    Idle {
        /// Where the service is.
        phase: RolloutPhase,
        /// The version that runs.
        stable: VersionName,
    },
    /// To let the object go.
    Finalize,
}

/// Decides what is to be done. What is under way goes on, whatever the object says by now: [`implied_command`] has it stopped, if it must be.
#[must_use]
pub(crate) fn intent(wanted: DesiredState<'_>, status: &ObjectStatus) -> Intent {
    if status.checkpoint.is_some() {
        return Intent::Resume;
    }
    if wanted.deleted {
        return Intent::Finalize;
    }
    let stable = status.stable.as_ref().unwrap_or(wanted.baseline).clone();
    if *wanted.candidate == stable {
        return Intent::Idle { phase: RolloutPhase::Stable, stable };
    }
    if status.rejected.as_ref() == Some(wanted.candidate) && !retries(wanted, status) {
        let phase = match status.history.first().map(|past| &*past.verdict) {
            Some("Stopped") => RolloutPhase::Stopped,
            _ => RolloutPhase::RolledBack,
        };
        return Intent::Idle { phase, stable };
    }
    Intent::Begin { baseline: stable, candidate: wanted.candidate.clone() }
}

/// Whether somebody orders that it be tried once more.
fn retries(wanted: DesiredState<'_>, status: &ObjectStatus) -> bool {
    let Some(text) = pending_command(wanted, status) else { return false };
    command::parse(text).is_ok_and(|command| command.action == Action::Retry)
}

/// The order that has not been dealt with.
#[must_use]
pub(crate) fn pending_command<'o>(
    wanted: DesiredState<'o>,
    status: &ObjectStatus,
) -> Option<&'o str> {
    let heard = status.command.as_ref().map(|report| &*report.text);
    wanted.command.filter(|text| heard != Some(text))
}

/// What the object says that ends a rollout from `baseline` to `candidate`, which is under way.
#[must_use]
pub(crate) fn implied_command(
    wanted: DesiredState<'_>,
    under_way: (&VersionName, &VersionName),
    phase: RolloutPhase,
) -> Option<Command> {
    let (baseline, candidate) = under_way;
    let command = |action, why: String| {
        let by = "serin".to_owned();
        Command { action, by, reason: Some(why), step: None, seconds: None, force: false }
    };
    let promoted = phase == RolloutPhase::Promoted;
    if wanted.deleted {
        // What is promoted already stays so.
        return (!promoted)
            .then(|| command(Action::Abort, "the ServiceRollout is being deleted".to_owned()));
    }
    let newer = wanted.candidate;
    match (newer == candidate, promoted) {
        (true, _) => None,
        (false, false) => Some(command(Action::Abort, format!("spec.candidate is {newer} now"))),
        // Its window ends first; then the next one begins from there.
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

    fn decided(baseline: &str, candidate: &str, status: &ObjectStatus) -> Intent {
        let (baseline, candidate) = (&version(baseline), &version(candidate));
        intent(DesiredState { baseline, candidate, command: None, deleted: false }, status)
    }

    fn begin(baseline: &str, candidate: &str) -> Intent {
        Intent::Begin { baseline: version(baseline), candidate: version(candidate) }
    }

    fn rest(phase: RolloutPhase, stable: &str) -> Intent {
        Intent::Idle { phase, stable: version(stable) }
    }

    /// A status after a rollout that ended so.
    fn after(stable: &str, candidate: &str, verdict: &str) -> ObjectStatus {
        let past = HistoryEntry {
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
            history: vec![past],
            ..ObjectStatus::default()
        }
    }

    #[test]
    fn a_rollout_begins_when_the_candidate_is_not_what_runs() {
        let new = ObjectStatus::default();
        assert_eq!(decided("v1", "v1", &new), rest(RolloutPhase::Stable, "v1"));
        assert_eq!(decided("v1", "v2", &new), begin("v1", "v2"));
        // What was promoted is the baseline, whatever spec.baseline still says.
        let promoted = after("v2", "v2", "Promoted");
        assert_eq!(decided("v1", "v2", &promoted), rest(RolloutPhase::Stable, "v2"));
        assert_eq!(decided("v1", "v3", &promoted), begin("v2", "v3"));
        assert_eq!(decided("v1", "v1", &promoted), begin("v2", "v1"));
    }

    #[test]
    fn what_was_taken_back_is_not_tried_again_by_itself() {
        let rolled_back = after("v1", "v2", "RolledBack");
        assert_eq!(decided("v1", "v2", &rolled_back), rest(RolloutPhase::RolledBack, "v1"));
        assert_eq!(
            decided("v1", "v2", &after("v1", "v2", "Stopped")),
            rest(RolloutPhase::Stopped, "v1")
        );
        assert_eq!(decided("v1", "v3", &rolled_back), begin("v1", "v3"));
        assert_eq!(decided("v1", "v1", &rolled_back), rest(RolloutPhase::Stable, "v1"));
        let (baseline, candidate) = (&version("v1"), &version("v2"));
        let retry =
            DesiredState { baseline, candidate, command: Some("retry id=1"), deleted: false };
        assert_eq!(intent(retry, &rolled_back), begin("v1", "v2"));
        let heard = CommandReport {
            text: "retry id=1".to_owned(),
            at: Timestamp::UNIX_EPOCH,
            rejected: None,
        };
        let heard = ObjectStatus { command: Some(heard), ..rolled_back };
        assert_eq!(intent(retry, &heard), rest(RolloutPhase::RolledBack, "v1"));
    }

    #[test]
    fn what_is_under_way_goes_on_even_if_it_is_to_end() {
        let under_way = StatusCheckpoint {
            baseline: version("v1"),
            candidate: version("v2"),
            spec: String::new(),
            state: String::new(),
            at_ms: 0,
            wall: Timestamp::UNIX_EPOCH,
        };
        let status = ObjectStatus { checkpoint: Some(under_way), ..ObjectStatus::default() };
        assert_eq!(decided("v1", "v3", &status), Intent::Resume);
        let (baseline, candidate) = (&version("v1"), &version("v2"));
        let deleted = DesiredState { baseline, candidate, command: None, deleted: true };
        assert_eq!(intent(deleted, &status), Intent::Resume);
        assert_eq!(intent(deleted, &ObjectStatus::default()), Intent::Finalize);
    }

    #[test]
    fn another_candidate_or_a_deletion_ends_what_is_under_way() {
        let (v1, v2, v3) = (version("v1"), version("v2"), version("v3"));
        let wanted =
            |candidate, deleted| DesiredState { baseline: &v1, candidate, command: None, deleted };
        let action =
            |wanted, phase| implied_command(wanted, (&v1, &v2), phase).map(|order| order.action);
        assert_eq!(action(wanted(&v2, false), RolloutPhase::Progressing), None);
        assert_eq!(action(wanted(&v3, false), RolloutPhase::Progressing), Some(Action::Abort));
        assert_eq!(action(wanted(&v1, false), RolloutPhase::Paused), Some(Action::Abort));
        assert_eq!(action(wanted(&v2, true), RolloutPhase::Progressing), Some(Action::Abort));
        assert_eq!(action(wanted(&v3, false), RolloutPhase::Promoted), None);
        assert_eq!(action(wanted(&v1, false), RolloutPhase::Promoted), Some(Action::Undo));
        assert_eq!(action(wanted(&v2, true), RolloutPhase::Promoted), None);
    }
}
