//! What is to be done for an object, decided from what it says. Pure.

use serin_core::rollout::command::{Order, Verb};
use serin_filter::names::VersionName;

use crate::kubernetes::status::{ObjectStatus, Phase};
use crate::operator::command;

/// What an object says, as far as it decides what is to be done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'o> {
    /// `spec.baseline`.
    pub(crate) baseline: &'o VersionName,
    /// `spec.candidate`.
    pub(crate) candidate: &'o VersionName,
    /// The annotation with an order.
    pub(crate) order: Option<&'o str>,
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
    Rest {
        /// Where the service is.
        phase: Phase,
        /// The version that runs.
        stable: VersionName,
    },
    /// To let the object go.
    Release,
}

/// Decides what is to be done. What is under way goes on, whatever the object says by now: [`wish`] has it stopped, if it must be.
#[must_use]
pub(crate) fn intent(wanted: Wanted<'_>, status: &ObjectStatus) -> Intent {
    if status.under_way.is_some() {
        return Intent::Resume;
    }
    if wanted.deleted {
        return Intent::Release;
    }
    let stable = status.stable.as_ref().unwrap_or(wanted.baseline).clone();
    if *wanted.candidate == stable {
        return Intent::Rest { phase: Phase::Stable, stable };
    }
    if status.rejected.as_ref() == Some(wanted.candidate) && !retries(wanted, status) {
        let phase = match status.history.first().map(|past| &*past.verdict) {
            Some("Stopped") => Phase::Stopped,
            _ => Phase::RolledBack,
        };
        return Intent::Rest { phase, stable };
    }
    Intent::Begin { baseline: stable, candidate: wanted.candidate.clone() }
}

/// Whether somebody orders that it be tried once more.
fn retries(wanted: Wanted<'_>, status: &ObjectStatus) -> bool {
    let Some(text) = unheard(wanted, status) else { return false };
    command::parse(text).is_ok_and(|order| order.verb == Verb::Retry)
}

/// The order that has not been dealt with.
#[must_use]
pub(crate) fn unheard<'o>(wanted: Wanted<'o>, status: &ObjectStatus) -> Option<&'o str> {
    let heard = status.order.as_ref().map(|report| &*report.text);
    wanted.order.filter(|text| heard != Some(text))
}

/// What the object says that ends a rollout from `baseline` to `candidate`, which is under way.
#[must_use]
pub(crate) fn wish(
    wanted: Wanted<'_>,
    under_way: (&VersionName, &VersionName),
    phase: Phase,
) -> Option<Order> {
    let (baseline, candidate) = under_way;
    let order = |verb, why: String| {
        let by = "serin".to_owned();
        Order { verb, by, why: Some(why), step: None, seconds: None, force: false }
    };
    let promoted = phase == Phase::Promoted;
    if wanted.deleted {
        // What is promoted already stays so.
        return (!promoted).then(|| order(Verb::Abort, "the Rollout is being deleted".to_owned()));
    }
    let newer = wanted.candidate;
    match (newer == candidate, promoted) {
        (true, _) => None,
        (false, false) => Some(order(Verb::Abort, format!("spec.candidate is {newer} now"))),
        // Its window ends first; then the next one begins from there.
        (false, true) if newer != baseline => None,
        (false, true) => Some(order(Verb::Undo, format!("spec.candidate is {newer} again"))),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::kubernetes::status::{OrderReport, Past, UnderWay};

    fn version(name: &str) -> VersionName {
        name.parse().unwrap()
    }

    fn decided(baseline: &str, candidate: &str, status: &ObjectStatus) -> Intent {
        let (baseline, candidate) = (&version(baseline), &version(candidate));
        intent(Wanted { baseline, candidate, order: None, deleted: false }, status)
    }

    fn begin(baseline: &str, candidate: &str) -> Intent {
        Intent::Begin { baseline: version(baseline), candidate: version(candidate) }
    }

    fn rest(phase: Phase, stable: &str) -> Intent {
        Intent::Rest { phase, stable: version(stable) }
    }

    /// A status after a rollout that ended so.
    fn after(stable: &str, candidate: &str, verdict: &str) -> ObjectStatus {
        let past = Past {
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
        assert_eq!(decided("v1", "v1", &new), rest(Phase::Stable, "v1"));
        assert_eq!(decided("v1", "v2", &new), begin("v1", "v2"));
        // What was promoted is the baseline, whatever spec.baseline still says.
        let promoted = after("v2", "v2", "Promoted");
        assert_eq!(decided("v1", "v2", &promoted), rest(Phase::Stable, "v2"));
        assert_eq!(decided("v1", "v3", &promoted), begin("v2", "v3"));
        assert_eq!(decided("v1", "v1", &promoted), begin("v2", "v1"));
    }

    #[test]
    fn what_was_taken_back_is_not_tried_again_by_itself() {
        let rolled_back = after("v1", "v2", "RolledBack");
        assert_eq!(decided("v1", "v2", &rolled_back), rest(Phase::RolledBack, "v1"));
        assert_eq!(decided("v1", "v2", &after("v1", "v2", "Stopped")), rest(Phase::Stopped, "v1"));
        assert_eq!(decided("v1", "v3", &rolled_back), begin("v1", "v3"));
        assert_eq!(decided("v1", "v1", &rolled_back), rest(Phase::Stable, "v1"));
        let (baseline, candidate) = (&version("v1"), &version("v2"));
        let retry = Wanted { baseline, candidate, order: Some("retry id=1"), deleted: false };
        assert_eq!(intent(retry, &rolled_back), begin("v1", "v2"));
        let heard =
            OrderReport { text: "retry id=1".to_owned(), at: Timestamp::UNIX_EPOCH, refused: None };
        let heard = ObjectStatus { order: Some(heard), ..rolled_back };
        assert_eq!(intent(retry, &heard), rest(Phase::RolledBack, "v1"));
    }

    #[test]
    fn what_is_under_way_goes_on_even_if_it_is_to_end() {
        let under_way = UnderWay {
            baseline: version("v1"),
            candidate: version("v2"),
            spec: String::new(),
            state: String::new(),
            at_ms: 0,
            wall: Timestamp::UNIX_EPOCH,
        };
        let status = ObjectStatus { under_way: Some(under_way), ..ObjectStatus::default() };
        assert_eq!(decided("v1", "v3", &status), Intent::Resume);
        let (baseline, candidate) = (&version("v1"), &version("v2"));
        let deleted = Wanted { baseline, candidate, order: None, deleted: true };
        assert_eq!(intent(deleted, &status), Intent::Resume);
        assert_eq!(intent(deleted, &ObjectStatus::default()), Intent::Release);
    }

    #[test]
    fn another_candidate_or_a_deletion_ends_what_is_under_way() {
        let (v1, v2, v3) = (version("v1"), version("v2"), version("v3"));
        let wanted = |candidate, deleted| Wanted { baseline: &v1, candidate, order: None, deleted };
        let verb = |wanted, phase| wish(wanted, (&v1, &v2), phase).map(|order| order.verb);
        assert_eq!(verb(wanted(&v2, false), Phase::Progressing), None);
        assert_eq!(verb(wanted(&v3, false), Phase::Progressing), Some(Verb::Abort));
        assert_eq!(verb(wanted(&v1, false), Phase::Paused), Some(Verb::Abort));
        assert_eq!(verb(wanted(&v2, true), Phase::Progressing), Some(Verb::Abort));
        assert_eq!(verb(wanted(&v3, false), Phase::Promoted), None);
        assert_eq!(verb(wanted(&v1, false), Phase::Promoted), Some(Verb::Undo));
        assert_eq!(verb(wanted(&v2, true), Phase::Promoted), None);
    }
}
