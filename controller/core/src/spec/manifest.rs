//! A rollout as an object of a cluster.
//!
//! The object outlives one rollout: `spec.candidate` changes with each, and the version promoted
//! last is the next baseline. The specification is parsed once the running version is known.

use std::path::Path;

use serde_json::{Value, json};
use serin_filter::names::{ServiceName, VersionName};

use super::document::{API_VERSION, Document, KIND, Spec};
use super::error::{SpecError, at};
use super::proxies::Proxies;

/// Secret files of a rollout are in the subdirectory of its namespace.
const SECRETS: &str = "/etc/serin/secrets";

/// An object of [`KIND`] whose fields have the right types. Nothing else has been checked.
pub struct Manifest(Document);

impl Manifest {
    /// Reads the name, the namespace and `spec` of an object.
    ///
    /// # Errors
    /// The first field of the wrong type, with its path.
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

    /// The service.
    #[must_use]
    pub fn service(&self) -> &ServiceName {
        &self.0.spec.service
    }

    /// The version that runs before the first promotion.
    #[must_use]
    pub fn baseline(&self) -> &VersionName {
        &self.0.spec.baseline
    }

    /// The new version.
    #[must_use]
    pub fn candidate(&self) -> &VersionName {
        &self.0.spec.candidate
    }

    /// Parses the specification of the rollout from `baseline` to `candidate`.
    ///
    /// # Errors
    /// The first invalid field, with its path.
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
                "not supported in a cluster; use spec.istio or spec.gatewayApi",
            );
        }
        let command = spec.plan.commands().next().map(|command| command.join(" "));
        match command {
            Some(command) => at(
                "spec.hooks",
                format!("{command}: commands are not supported in a cluster; use a url"),
            ),
            None => Ok(spec),
        }
    }
}

#[cfg(test)]
mod tests;
