//! Scales the Deployment of a version to zero after the version serves no users.
//!
//! The operator stores the version's name together with the end of the rollout. If the operator is
//! killed, the next one scales the version down. A repeated scale-down changes nothing. A version
//! keeps its replicas if the next rollout uses it, or if it has users again.

use std::error::Error;

use kube::ResourceExt;
use kube::api::DynamicObject;
use serin_core::spec::Spec;
use serin_filter::names::VersionName;
use serin_filter::table::Weight;

use super::intent::{Intent, manifest};
use super::mesh::{ClusterContext, MeshBackend};
use super::reporter::RolloutReporter;
use crate::engine::start::{RoutingBackend, StartError};
use crate::kubernetes::deployments::DeploymentScaler;
use crate::kubernetes::event_mapping::EventNote;
use crate::kubernetes::status::{ObjectStatus, PendingScaleDown};
use crate::storage::status::{StatusError, StatusStore};

/// The outcome of a scale-down.
#[derive(Debug, PartialEq, Eq)]
enum ScaleDownOutcome {
    /// The version has no replicas: the note of an Event.
    ScaledDown(String),
    /// The version keeps its replicas: the note of an Event.
    Skipped(String),
    /// The operator retries after an error.
    Retry {
        /// In CamelCase.
        reason: &'static str,
        /// A sentence.
        message: String,
    },
}

/// Scales the version in the status to zero, unless the next rollout needs it.
pub(crate) async fn scale_down(
    cluster: &ClusterContext,
    reporter: &RolloutReporter,
    store: &mut StatusStore,
    next: &Intent,
) {
    let status = store.status();
    let (Some(pending), Some(stable)) = (status.pending_scale_down.clone(), status.stable.clone())
    else {
        return;
    };
    if is_needed(&pending.version, next) {
        return;
    }
    let outcome =
        scale_version_to_zero(cluster, store.object(), stable, pending.version.clone()).await;
    let status = ObjectStatus {
        pending_scale_down: remaining(&pending, &outcome),
        ..store.status().clone()
    };
    if let ScaleDownOutcome::Retry { reason, message } = &outcome {
        reporter.error(reason, message);
    }
    if status.pending_scale_down == store.status().pending_scale_down {
        return;
    }
    match store.write(status).await {
        Ok(()) => scale_down_note(outcome).into_iter().for_each(|note| reporter.publish(note)),
        // The next reconcile repeats the scale-down and its report.
        Err(error) => report_write(reporter, &error),
    }
}

/// Reports that a status could not be written, unless its object is gone.
pub(crate) fn report_write(reporter: &RolloutReporter, error: &StatusError) {
    if !matches!(error, StatusError::Gone) {
        reporter.error("StatusWriteFailed", &error.to_string());
    }
}

async fn scale_version_to_zero(
    cluster: &ClusterContext,
    object: &DynamicObject,
    stable: VersionName,
    version: VersionName,
) -> ScaleDownOutcome {
    let name = version.clone();
    let spec = match manifest(object) {
        Ok(manifest) => manifest.parse(stable, version).map_err(|error| error.to_string()),
        Err(error) => Err(error),
    };
    let spec = match spec {
        Ok(spec) => spec,
        Err(error) => {
            return ScaleDownOutcome::Skipped(format!("{name} keeps its replicas: {error}"));
        }
    };
    let Some(targets) = spec.deployments.as_ref().filter(|targets| targets.scale) else {
        return ScaleDownOutcome::Skipped(format!(
            "{name} keeps its replicas: spec.scale is no longer true"
        ));
    };
    let namespace = object.namespace().unwrap_or_default();
    let deployments = DeploymentScaler::of(&cluster.client, &cluster.fence, &namespace, targets);
    let deployment = deployments.candidate();
    match present_weight(cluster, &namespace, &spec).await {
        Ok(Weight::ZERO) => {}
        Ok(share) => {
            let reason = format!("{name} has {share} of the users");
            return ScaleDownOutcome::Skipped(format!("{deployment} keeps its replicas: {reason}"));
        }
        Err(error) => return retry(error.reason(), &error),
    }
    match deployments.scale_to_zero().await {
        Ok(None) => ScaleDownOutcome::ScaledDown(format!(
            "{deployment} is scaled to zero: {name} serves no users"
        )),
        Ok(Some(reason)) => {
            ScaleDownOutcome::Skipped(format!("{deployment} keeps its replicas: {reason}"))
        }
        Err(error) => retry(error.reason(), &error),
    }
}

/// The present weight of the version to scale down.
async fn present_weight(
    cluster: &ClusterContext,
    namespace: &str,
    spec: &Spec,
) -> Result<Weight, StartError> {
    let backend = MeshBackend::open(cluster, namespace, spec).await?;
    Ok(backend.present().await?.candidate)
}

fn retry(reason: &'static str, error: &dyn Error) -> ScaleDownOutcome {
    ScaleDownOutcome::Retry { reason, message: error.to_string() }
}

/// Whether the next rollout needs this version.
fn is_needed(version: &VersionName, next: &Intent) -> bool {
    match next {
        Intent::Begin { baseline, candidate } => [baseline, candidate].contains(&version),
        Intent::Resume => true,
        Intent::Idle { .. } | Intent::Finalize => false,
    }
}

/// The scale-down that remains in the status.
fn remaining(before: &PendingScaleDown, outcome: &ScaleDownOutcome) -> Option<PendingScaleDown> {
    match outcome {
        ScaleDownOutcome::ScaledDown(_) | ScaleDownOutcome::Skipped(_) => None,
        ScaleDownOutcome::Retry { message, .. } => {
            Some(PendingScaleDown { problem: Some(message.clone()), ..before.clone() })
        }
    }
}

/// The Event of an outcome that is not an error.
fn scale_down_note(outcome: ScaleDownOutcome) -> Option<EventNote> {
    let (reason, note) = match outcome {
        ScaleDownOutcome::ScaledDown(note) => ("ScaledDown", note),
        ScaleDownOutcome::Skipped(note) => ("ReplicasKept", note),
        ScaleDownOutcome::Retry { .. } => return None,
    };
    Some(EventNote { warning: false, reason, note })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::status::RolloutPhase;

    fn version(name: &str) -> VersionName {
        name.parse().unwrap()
    }

    #[test]
    fn a_version_that_a_newer_rollout_uses_keeps_its_replicas() {
        let begin =
            |candidate| Intent::Begin { baseline: version("v2"), candidate: version(candidate) };
        assert!(is_needed(&version("v1"), &begin("v1")));
        assert!(is_needed(&version("v1"), &Intent::Resume));
        assert!(!is_needed(&version("v1"), &begin("v3")));
        let idle = Intent::Idle { phase: RolloutPhase::Stable, stable: version("v2") };
        assert!(!is_needed(&version("v1"), &idle) && !is_needed(&version("v1"), &Intent::Finalize));
    }

    #[test]
    fn a_failed_scale_down_is_retried() {
        let pending = PendingScaleDown { version: version("v1"), problem: None };
        assert_eq!(remaining(&pending, &ScaleDownOutcome::ScaledDown(String::new())), None);
        assert_eq!(remaining(&pending, &ScaleDownOutcome::Skipped(String::new())), None);
        let retry =
            ScaleDownOutcome::Retry { reason: "ApiServer", message: "no answer".to_owned() };
        let later = remaining(&pending, &retry).unwrap();
        assert_eq!((later.version, later.problem.as_deref()), (version("v1"), Some("no answer")));
    }
}
