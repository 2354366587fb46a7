//! The end of a version: once nobody is served by it any more, its Deployment has no replicas.
//!
//! Which version that is stands in the status, stored together with the end of the rollout: whoever is killed meanwhile, the next operator
//! does it. To do it twice changes nothing; a version that a newer rollout is about to use is left alone, and so is one that somebody has given
//! users since.

use kube::ResourceExt;
use kube::api::DynamicObject;
use serin_filter::names::VersionName;
use serin_filter::table::Weight;

use super::intent::Intent;
use super::mesh;
use crate::kubernetes::deployments::DeploymentScaler;
use crate::kubernetes::event_mapping::EventNote;
use crate::kubernetes::status::{ObjectStatus, PendingScaleDown};
use crate::operator::reconcile_error::ReconcileError;
use crate::operator::reconciler::{RolloutReconciler, manifest};
use crate::storage::status::StatusStore;

/// What becomes of a version's replicas.
#[derive(Debug, PartialEq, Eq)]
enum ScaleDownOutcome {
    /// They are gone.
    ScaledDown(String),
    /// They stay, and why.
    Skipped(String),
    /// It is tried again; what was in the way.
    Retry(String),
}

impl RolloutReconciler {
    /// Takes the replicas of the version that serves nobody any more, unless it is what comes next that needs them.
    pub(crate) async fn scale_down(&self, store: &mut StatusStore, next: &Intent) {
        let status = store.status();
        let (Some(retiring), Some(stable)) =
            (status.pending_scale_down.clone(), status.stable.clone())
        else {
            return;
        };
        if is_needed(&retiring.version, next) {
            return;
        }
        let outcome =
            self.scale_version_to_zero(store.object(), stable, retiring.version.clone()).await;
        let status = ObjectStatus {
            pending_scale_down: remaining(&retiring, &outcome),
            ..store.status().clone()
        };
        // What is not stored is done, and told, once more.
        let told = status.pending_scale_down != store.status().pending_scale_down
            && store.write(status).await.is_ok();
        if told {
            let _ = self.events.try_send(scale_down_note(outcome));
        }
    }

    async fn scale_version_to_zero(
        &self,
        object: &DynamicObject,
        stable: VersionName,
        version: VersionName,
    ) -> ScaleDownOutcome {
        let named = version.clone();
        let spec = match manifest(object) {
            Ok(manifest) => manifest.parse(stable, version).map_err(|error| error.to_string()),
            Err(why) => Err(why),
        };
        let spec = match spec {
            Ok(spec) => spec,
            Err(why) => {
                return ScaleDownOutcome::Skipped(format!("{named} keeps its replicas: {why}"));
            }
        };
        let Some(known) = spec.deployments.as_ref().filter(|known| known.scale) else {
            return ScaleDownOutcome::Skipped(format!(
                "{named} keeps its replicas: spec.scale is not true any more"
            ));
        };
        let namespace = object.namespace().unwrap_or_default();
        let deployments = DeploymentScaler::of(&self.cluster, &namespace, known);
        let what = deployments.candidate();
        match mesh::share(&self.cluster, &namespace, &spec).await {
            Ok(Weight::ZERO) => {}
            Ok(share) => {
                let reason = format!("{named} has been given {share} of the users");
                return ScaleDownOutcome::Skipped(format!("{what} keeps its replicas: {reason}"));
            }
            Err(ReconcileError(_, why)) => return ScaleDownOutcome::Retry(why),
        }
        match deployments.scale_to_zero().await {
            Ok(None) => ScaleDownOutcome::ScaledDown(format!(
                "{what} has no replicas any more: {named} serves nobody"
            )),
            Ok(Some(why)) => ScaleDownOutcome::Skipped(format!("{what} keeps its replicas: {why}")),
            Err(error) => ScaleDownOutcome::Retry(error.to_string()),
        }
    }
}

/// Whether what comes next needs the replicas of this version.
fn is_needed(version: &VersionName, next: &Intent) -> bool {
    match next {
        Intent::Begin { baseline, candidate } => [baseline, candidate].contains(&version),
        Intent::Resume => true,
        Intent::Idle { .. } | Intent::Finalize => false,
    }
}

/// What is still to be done.
fn remaining(before: &PendingScaleDown, outcome: &ScaleDownOutcome) -> Option<PendingScaleDown> {
    match outcome {
        ScaleDownOutcome::ScaledDown(_) | ScaleDownOutcome::Skipped(_) => None,
        ScaleDownOutcome::Retry(why) => {
            Some(PendingScaleDown { problem: Some(why.clone()), ..before.clone() })
        }
    }
}

fn scale_down_note(outcome: ScaleDownOutcome) -> EventNote {
    match outcome {
        ScaleDownOutcome::ScaledDown(note) => {
            EventNote { warning: false, reason: "ScaledDown", note }
        }
        ScaleDownOutcome::Skipped(note) => {
            EventNote { warning: false, reason: "ReplicasKept", note }
        }
        ScaleDownOutcome::Retry(note) => EventNote { warning: true, reason: "NotScaledDown", note },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::status::RolloutPhase;

    fn version(name: &str) -> VersionName {
        name.parse().unwrap()
    }

    #[test]
    fn a_version_that_a_newer_rollout_begins_with_keeps_its_replicas() {
        let begin =
            |candidate| Intent::Begin { baseline: version("v2"), candidate: version(candidate) };
        assert!(is_needed(&version("v1"), &begin("v1")));
        assert!(is_needed(&version("v1"), &Intent::Resume));
        assert!(!is_needed(&version("v1"), &begin("v3")));
        let rest = Intent::Idle { phase: RolloutPhase::Stable, stable: version("v2") };
        assert!(!is_needed(&version("v1"), &rest) && !is_needed(&version("v1"), &Intent::Finalize));
    }

    #[test]
    fn what_could_not_be_done_is_still_to_be_done() {
        let pending = PendingScaleDown { version: version("v1"), problem: None };
        assert_eq!(remaining(&pending, &ScaleDownOutcome::ScaledDown(String::new())), None);
        assert_eq!(remaining(&pending, &ScaleDownOutcome::Skipped(String::new())), None);
        let later = remaining(&pending, &ScaleDownOutcome::Retry("no answer".to_owned())).unwrap();
        assert_eq!((later.version, later.problem.as_deref()), (version("v1"), Some("no answer")));
    }
}
