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
use crate::kubernetes::deployments::Deployments;
use crate::kubernetes::event_mapping::Announcement;
use crate::kubernetes::status::{ObjectStatus, Retiring};
use crate::operator::reconcile_error::Stuck;
use crate::operator::reconciler::{Release, manifest};
use crate::storage::status::Store;

/// What becomes of a version's replicas.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// They are gone.
    Gone(String),
    /// They stay, and why.
    Kept(String),
    /// It is tried again; what was in the way.
    Later(String),
}

impl Release {
    /// Takes the replicas of the version that serves nobody any more, unless it is what comes next that needs them.
    pub(crate) async fn retire(&self, store: &mut Store, next: &Intent) {
        let status = store.status();
        let (Some(retiring), Some(stable)) = (status.retiring.clone(), status.stable.clone())
        else {
            return;
        };
        if is_needed(&retiring.version, next) {
            return;
        }
        let outcome = self.emptied(store.object(), stable, retiring.version.clone()).await;
        let status = ObjectStatus { retiring: left(&retiring, &outcome), ..store.status().clone() };
        // What is not stored is done, and told, once more.
        let told = status.retiring != store.status().retiring && store.write(status).await.is_ok();
        if told {
            let _ = self.events.try_send(announcement(outcome));
        }
    }

    async fn emptied(
        &self,
        object: &DynamicObject,
        stable: VersionName,
        version: VersionName,
    ) -> Outcome {
        let named = version.clone();
        let spec = match manifest(object) {
            Ok(manifest) => manifest.checked(stable, version).map_err(|error| error.to_string()),
            Err(why) => Err(why),
        };
        let spec = match spec {
            Ok(spec) => spec,
            Err(why) => return Outcome::Kept(format!("{named} keeps its replicas: {why}")),
        };
        let Some(known) = spec.deployments.as_ref().filter(|known| known.scale) else {
            return Outcome::Kept(format!(
                "{named} keeps its replicas: spec.scale is not true any more"
            ));
        };
        let namespace = object.namespace().unwrap_or_default();
        let deployments = Deployments::of(&self.cluster, &namespace, known);
        let what = deployments.candidate();
        match mesh::share(&self.cluster, &namespace, &spec).await {
            Ok(Weight::ZERO) => {}
            Ok(share) => {
                let why = format!("{named} has been given {share} of the users");
                return Outcome::Kept(format!("{what} keeps its replicas: {why}"));
            }
            Err(Stuck(_, why)) => return Outcome::Later(why),
        }
        match deployments.empty().await {
            Ok(None) => {
                Outcome::Gone(format!("{what} has no replicas any more: {named} serves nobody"))
            }
            Ok(Some(why)) => Outcome::Kept(format!("{what} keeps its replicas: {why}")),
            Err(error) => Outcome::Later(error.to_string()),
        }
    }
}

/// Whether what comes next needs the replicas of this version.
fn is_needed(version: &VersionName, next: &Intent) -> bool {
    match next {
        Intent::Begin { baseline, candidate } => [baseline, candidate].contains(&version),
        Intent::Resume => true,
        Intent::Rest { .. } | Intent::Release => false,
    }
}

/// What is still to be done.
fn left(before: &Retiring, outcome: &Outcome) -> Option<Retiring> {
    match outcome {
        Outcome::Gone(_) | Outcome::Kept(_) => None,
        Outcome::Later(why) => Some(Retiring { trouble: Some(why.clone()), ..before.clone() }),
    }
}

fn announcement(outcome: Outcome) -> Announcement {
    match outcome {
        Outcome::Gone(note) => Announcement { warning: false, reason: "ScaledDown", note },
        Outcome::Kept(note) => Announcement { warning: false, reason: "ReplicasKept", note },
        Outcome::Later(note) => Announcement { warning: true, reason: "NotScaledDown", note },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::status::Phase;

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
        let rest = Intent::Rest { phase: Phase::Stable, stable: version("v2") };
        assert!(!is_needed(&version("v1"), &rest) && !is_needed(&version("v1"), &Intent::Release));
    }

    #[test]
    fn what_could_not_be_done_is_still_to_be_done() {
        let retiring = Retiring { version: version("v1"), trouble: None };
        assert_eq!(left(&retiring, &Outcome::Gone(String::new())), None);
        assert_eq!(left(&retiring, &Outcome::Kept(String::new())), None);
        let later = left(&retiring, &Outcome::Later("no answer".to_owned())).unwrap();
        assert_eq!((later.version, later.trouble.as_deref()), (version("v1"), Some("no answer")));
    }
}
