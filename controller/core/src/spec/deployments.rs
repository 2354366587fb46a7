//! The Deployments that run the versions, where a cluster has to have enough of the candidate before it gets users.

use serin_filter::names::VersionName;

use super::error::{SpecError, at};
use super::versions::VersionSpec;
use crate::config::mesh::Versions;

/// The Deployments of the two versions, in the rollout's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployments {
    /// Their names.
    pub names: Versions<String>,
    /// Whether their replicas follow the weights. Otherwise they are only waited for.
    pub scale: bool,
}

/// Checks what is said of Deployments; `None` where nothing is said. Either all versions have one, or none has.
pub(super) fn parse(
    versions: &[VersionSpec],
    baseline: &VersionName,
    candidate: &VersionName,
    scale: bool,
) -> Result<Option<Deployments>, SpecError> {
    if !scale && versions.iter().all(|version| version.deployment().is_none()) {
        return Ok(None);
    }
    let mut known: Vec<(&VersionName, &str)> = Vec::with_capacity(versions.len());
    for (index, version) in versions.iter().enumerate() {
        let path = format!("spec.versions[{index}].deployment");
        let deployment = match version.deployment() {
            Some("") => return at(path, "empty; a Deployment's name is needed"),
            Some(deployment) => deployment,
            None if scale => return at(path, "missing; spec.scale needs it, such as shop-v2"),
            None => return at(path, "missing; the others have one, and either all have or none"),
        };
        if known.iter().any(|(_, other)| *other == deployment) {
            return at(path, format!("{deployment:?} already runs another version"));
        }
        known.push((version.name(), deployment));
    }
    let find = |wanted| known.iter().find(|(name, _)| *name == wanted);
    // That both are among the versions has been checked.
    let Some(((_, baseline), (_, candidate))) = find(baseline).zip(find(candidate)) else {
        return Ok(None);
    };
    let names = Versions { baseline: (*baseline).to_owned(), candidate: (*candidate).to_owned() };
    Ok(Some(Deployments { names, scale }))
}

#[cfg(test)]
mod tests;
