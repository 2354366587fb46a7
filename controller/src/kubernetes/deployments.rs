//! The Deployments of a rollout's two versions: checks the candidate's capacity for a share, and
//! scales.
//!
//! The operator scales a Deployment up before it raises the weight, and never scales down during a
//! rollout. It waits for a Deployment of a HorizontalPodAutoscaler, and never writes it.

use k8s_openapi::api::autoscaling::v1::HorizontalPodAutoscaler;
use kube::{Api, Client, ResourceExt};
use serin_core::config::mesh::Versions;
use serin_core::rollout::plan::Exposure;
use serin_core::spec;
use thiserror::Error;
use tokio::try_join;

use crate::kubernetes::fence::Fence;
use crate::kubernetes::objects::{ClusterError, ManagedObject, api_resource, list};
use crate::kubernetes::patches::deployment::{Replicas, required_replicas};
use crate::kubernetes::patches::{FieldError, deployment};

/// The candidate's Deployment can't carry a weight yet.
#[derive(Debug, Error)]
#[allow(missing_docs)] // the messages say it
pub enum CapacityError {
    #[error("{deployment}: {ready} of {needed} replicas for {purpose} are ready{advice}")]
    NotReady { deployment: String, ready: u32, needed: u32, purpose: String, advice: String },
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

/// The Deployments of a rollout.
#[derive(Debug)]
pub(crate) struct DeploymentScaler {
    objects: Versions<ManagedDeployment>,
    autoscalers: Api<HorizontalPodAutoscaler>,
    scale: bool,
}

impl DeploymentScaler {
    /// The Deployments that the specification names.
    #[must_use]
    pub(crate) fn of(
        client: &Client,
        fence: &Fence,
        namespace: &str,
        known: &spec::Deployments,
    ) -> Self {
        let object = |name: &String| ManagedDeployment::new(client, fence, namespace, name);
        let Versions { baseline, candidate } = &known.names;
        Self {
            objects: Versions { baseline: object(baseline), candidate: object(candidate) },
            autoscalers: Api::namespaced(client.clone(), namespace),
            scale: known.scale,
        }
    }

    /// Whether the operator scales them.
    #[must_use]
    pub(crate) fn scale(&self) -> bool {
        self.scale
    }

    /// Ensures that the candidate can serve these requests. The measure is the desired replicas of
    /// the baseline, so a temporary shortage there does not lower the candidate's need.
    ///
    /// # Errors
    /// The missing capacity, or the obstacle to it.
    pub(crate) async fn ensure_capacity(&self, exposure: &Exposure) -> Result<(), CapacityError> {
        let Versions { baseline, candidate } = &self.objects;
        let (baseline, present) = try_join!(baseline.read(), candidate.read())?;
        let needed = required_replicas(exposure, baseline.desired);
        if present.ready >= needed {
            return Ok(());
        }
        let advice = match present.desired < needed {
            true => self.request_replicas(needed, present).await?,
            false => String::new(),
        };
        let purpose = match exposure {
            Exposure::Preview => "a preview".to_owned(),
            Exposure::Share(weight) | Exposure::Replacement { weight, .. } => weight.to_string(),
        };
        let (deployment, ready) = (candidate.object.describe(), present.ready);
        Err(CapacityError::NotReady { deployment, ready, needed, purpose, advice })
    }

    /// Scales the candidate to so many replicas. If that is not the operator's task, returns
    /// advice.
    async fn request_replicas(
        &self,
        needed: u32,
        present: Replicas,
    ) -> Result<String, ClusterError> {
        let candidate = &self.objects.candidate;
        if !self.scale {
            let desired = present.desired;
            return Ok(format!("; {desired} are desired: scale it up, or set spec.scale"));
        }
        if let Some(autoscaler) = self.autoscaler(&candidate.name).await? {
            return Ok(format!("; {autoscaler} scales it: raise its minReplicas to {needed}"));
        }
        let decide = |scale: &_| deployment::scale_up(scale, needed);
        candidate.scale.change::<FieldError>(decide).await?;
        Ok(String::new())
    }

    /// Scales the candidate to 0. If that is not the operator's task, returns the reason.
    ///
    /// # Errors
    /// The write failed.
    pub(crate) async fn scale_to_zero(&self) -> Result<Option<String>, ClusterError> {
        let candidate = &self.objects.candidate;
        if let Some(autoscaler) = self.autoscaler(&candidate.name).await? {
            return Ok(Some(format!("{autoscaler} scales it")));
        }
        match candidate.scale.change::<FieldError>(deployment::scale_to_zero).await {
            Ok(_) | Err(ClusterError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The name of the candidate's Deployment.
    #[must_use]
    pub(crate) fn candidate(&self) -> String {
        self.objects.candidate.object.describe()
    }

    /// The autoscaler of this Deployment, if any.
    async fn autoscaler(&self, deployment: &str) -> Result<Option<String>, ClusterError> {
        const KIND: &str = "HorizontalPodAutoscaler";
        let all = list(&self.autoscalers, KIND).await?;
        let found = all.iter().find(|autoscaler| scales_deployment(autoscaler, deployment));
        Ok(found.map(|autoscaler| format!("{KIND} {}", autoscaler.name_any())))
    }
}

fn scales_deployment(autoscaler: &HorizontalPodAutoscaler, deployment: &str) -> bool {
    let target = autoscaler.spec.as_ref().map(|spec| &spec.scale_target_ref);
    target.is_some_and(|target| target.kind == "Deployment" && target.name == deployment)
}

/// One Deployment.
#[derive(Debug)]
struct ManagedDeployment {
    name: String,
    object: ManagedObject,
    scale: ManagedObject,
}

impl ManagedDeployment {
    fn new(client: &Client, fence: &Fence, namespace: &str, name: &str) -> Self {
        let (client, fence) = (client.clone(), fence.clone());
        let resource = api_resource("apps", "v1", "Deployment");
        let object = ManagedObject::new(client, &resource, namespace, name, fence);
        Self { name: name.to_owned(), scale: object.clone().subresource("scale"), object }
    }

    async fn read(&self) -> Result<Replicas, ClusterError> {
        let object = self.object.read().await?;
        Ok(deployment::replicas(&object).map_err(|error| (self.object.describe(), error))?)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_autoscaler_scales_the_deployment_that_it_names() {
        let of = |kind: &str, name: &str| {
            let target = json!({"apiVersion": "apps/v1", "kind": kind, "name": name});
            let object = json!({
                "metadata": {"name": "a"},
                "spec": {"maxReplicas": 3, "scaleTargetRef": target},
            });
            let autoscaler: HorizontalPodAutoscaler = serde_json::from_value(object).unwrap();
            scales_deployment(&autoscaler, "shop-v2")
        };
        assert!(of("Deployment", "shop-v2"));
        assert!(!of("Deployment", "shop-v1") && !of("StatefulSet", "shop-v2"));
    }
}
