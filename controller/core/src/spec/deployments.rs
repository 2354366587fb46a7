//! `spec.scale` and `spec.versions[].deployment`: the Deployments of the versions.

use serin_filter::names::VersionName;

use super::error::{SpecError, at};
use super::versions::VersionSpec;
use crate::config::mesh::Versions;

/// The Deployments of the two versions, in the rollout's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployments {
    /// Their names.
    pub names: Versions<String>,
    /// Whether replicas follow the weights. Otherwise the rollout only waits for them.
    pub scale: bool,
}

/// Parses the Deployments; `None` if the specification names none. Either all versions have one, or
/// none.
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
            Some("") => return at(path, "empty; set the name of a Deployment"),
            Some(deployment) => deployment,
            None if scale => return at(path, "missing; spec.scale requires it, such as shop-v2"),
            None => return at(path, "missing; set it for all versions or for none"),
        };
        if known.iter().any(|(_, other)| *other == deployment) {
            return at(
                path,
                format!("{deployment:?} already runs another version; set a different Deployment"),
            );
        }
        known.push((version.name(), deployment));
    }
    let find = |version| known.iter().find(|(name, _)| *name == version);
    // Both are in `spec.versions`.
    let Some(((_, baseline), (_, candidate))) = find(baseline).zip(find(candidate)) else {
        return Ok(None);
    };
    let names = Versions { baseline: (*baseline).to_owned(), candidate: (*candidate).to_owned() };
    Ok(Some(Deployments { names, scale }))
}

#[cfg(test)]
mod tests;
