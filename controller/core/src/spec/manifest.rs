//! A rollout as an object in a cluster has it.
//!
//! It outlives one release: `spec.candidate` changes with each, and the version that was promoted last is the baseline of the next. So what is to
//! be done is not checked before it is known which version runs.

use std::path::Path;

use serde_json::{Value, json};
use serin_filter::names::{ServiceName, VersionName};

use super::{API_VERSION, Document, KIND, Proxies, Spec, SpecError, at};

/// The files that ServiceRollouts may name are in the directory of their namespace in this one.
const SECRETS: &str = "/etc/serin/secrets";

/// An object of the kind [`KIND`] that has the form of one, and perhaps not more.
pub struct Manifest(Document);

impl Manifest {
    /// Reads an object: its name, its namespace, and `spec`. All else is the cluster's.
    ///
    /// # Errors
    /// What does not have the form, and where.
    pub fn read(name: &str, namespace: &str, spec: &Value) -> Result<Self, SpecError> {
        let document = json!({
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": { "name": name, "namespace": namespace },
            "spec": spec,
        });
        serde_path_to_error::deserialize(document).map(Self).map_err(|error| SpecError {
            path: Some(error.path().to_string()),
            message: error.into_inner().to_string(),
        })
    }

    /// The label of the service's statistics.
    #[must_use]
    pub fn service(&self) -> &ServiceName {
        &self.0.spec.service
    }

    /// The version that runs as long as none has been promoted.
    #[must_use]
    pub fn baseline(&self) -> &VersionName {
        &self.0.spec.baseline
    }

    /// The version that shall run.
    #[must_use]
    pub fn candidate(&self) -> &VersionName {
        &self.0.spec.candidate
    }

    /// What is to be done for one version to take the place of another.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn parse(
        mut self,
        baseline: VersionName,
        candidate: VersionName,
    ) -> Result<Spec, SpecError> {
        (self.0.spec.baseline, self.0.spec.candidate) = (baseline, candidate);
        let Document { metadata, spec, .. } = self.0;
        let secrets = Path::new(SECRETS).join(metadata.namespace.as_deref().unwrap_or_default());
        let spec = spec.parse(metadata)?;
        spec.confine_secrets_to(Some(&secrets))?;
        if let Proxies::Envoy(_) = spec.proxies {
            return at(
                "spec.envoy",
                "is for files; in a cluster spec.istio or spec.gatewayApi is needed",
            );
        }
        let command = spec.plan.commands().next().map(|command| command.join(" "));
        match command {
            Some(command) => {
                at("spec.hooks", format!("{command}: no commands are run in a cluster; give a url"))
            }
            None => Ok(spec),
        }
    }
}

#[cfg(test)]
mod tests;
