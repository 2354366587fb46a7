//! Discovery by a file of targets, in the format of Prometheus' `file_sd`.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::Deserialize;
use serin_core::config::discovery::host_and_port;
use serin_core::observation::health::ProxyName;

use super::{ProxyEndpoint, ProxyEndpoints, at, listed};
use crate::files;

/// The size limit of the list, in bytes.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// The label that names a proxy if it is the only target of its group.
const NAME_LABEL: &str = "instance";

/// A file that is read again after a change.
#[derive(Debug)]
pub(super) struct FileDiscovery {
    path: PathBuf,
    proxies: ProxyEndpoints,
    read: Option<FileVersion>,
    warning: Option<String>,
}

/// Changes when the file is written or replaced.
type FileVersion = (SystemTime, u64, u64);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetGroup {
    targets: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

impl FileDiscovery {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, proxies: ProxyEndpoints::from([]), read: None, warning: None }
    }

    pub(super) fn proxies(&self) -> &ProxyEndpoints {
        &self.proxies
    }

    pub(super) fn refresh(&mut self) -> Option<String> {
        let version = std::fs::metadata(&self.path)
            .and_then(|file| Ok((file.modified()?, file.len(), file.ino())));
        let problem = match version {
            Ok(version) if self.read == Some(version) => return self.warning.clone(),
            Ok(version) => {
                self.read = Some(version);
                self.reload().err()
            }
            Err(error) => {
                self.read = None;
                Some(error.to_string())
            }
        };
        let last = if self.proxies.is_empty() { "" } else { "; its last list stays in force" };
        let path = self.path.display();
        self.warning = problem.map(|what| format!("spec.envoy.proxies.file: {path}: {what}{last}"));
        self.warning.clone()
    }

    fn reload(&mut self) -> Result<(), String> {
        let text =
            files::read_text(&self.path, MAX_FILE_BYTES).map_err(|error| error.to_string())?;
        let is_json = self.path.extension().is_some_and(|extension| extension == "json");
        let proxies = if is_json { json(&text) } else { yaml(&text) }.and_then(proxies)?;
        if proxies != self.proxies {
            self.proxies = proxies;
        }
        Ok(())
    }
}

fn json(text: &str) -> Result<Vec<TargetGroup>, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn yaml(text: &str) -> Result<Vec<TargetGroup>, String> {
    serde_saphyr::from_str(text).map_err(|error| error.without_snippet().to_string())
}

fn proxies(groups: Vec<TargetGroup>) -> Result<ProxyEndpoints, String> {
    let mut proxies = Vec::new();
    for TargetGroup { targets, labels } in groups {
        if let Some(bad) = targets.iter().find(|target| host_and_port(target).is_none()) {
            return Err(format!("{bad:?} is not a target such as 10.0.0.7:9901"));
        }
        match (&targets[..], labels.get(NAME_LABEL)) {
            ([target], Some(name)) => {
                proxies.push(ProxyEndpoint { name: ProxyName::from(name.as_str()), ..at(target) });
            }
            _ => proxies.extend(targets.iter().map(|target| at(target))),
        }
    }
    if proxies.is_empty() {
        return Err("it has no targets".to_owned());
    }
    Ok(listed(proxies.into_iter()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(file: &FileDiscovery) -> Vec<String> {
        file.proxies().iter().map(|proxy| proxy.name.to_string()).collect()
    }

    #[test]
    fn json_and_yaml_are_read() {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in [
            (
                "proxies.json",
                "[\n\t{\"targets\": [\"b:1\", \"a:1\"]},\n\t{\"targets\": [\"c:1\"], \"labels\": {\"instance\": \"edge-3\", \"zone\": \"x\"}}]",
            ),
            (
                "proxies.yaml",
                "- targets: ['b:1', 'a:1']\n- targets: ['c:1']\n  labels: {instance: edge-3, zone: x}\n",
            ),
        ] {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            let mut file = FileDiscovery::new(path);
            assert_eq!(file.refresh(), None);
            assert_eq!(names(&file), ["a:1", "b:1", "edge-3"]);
            assert_eq!(file.proxies()[2].address, "http://c:1");
        }
    }

    #[test]
    fn a_broken_file_leaves_the_last_list_in_force() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("proxies.yml");
        let mut file = FileDiscovery::new(path.clone());
        let missing = file.refresh().unwrap();
        assert!(missing.contains("proxies.yml: No such file"), "{missing}");
        let replace = |text: &str| {
            let next = directory.path().join("next");
            std::fs::write(&next, text).unwrap();
            std::fs::rename(next, &path).unwrap();
        };
        replace("- targets: ['a:1']");
        assert_eq!((file.refresh(), names(&file)), (None, vec!["a:1".to_owned()]));
        for (broken, what) in [
            ("- targets: [", ""),
            ("- targets: ['a']", "\"a\" is not a target such as 10.0.0.7:9901"),
            ("- tragets: ['a:1']", "tragets"),
            ("[]", "it has no targets"),
        ] {
            replace(broken);
            let warning = file.refresh().unwrap();
            assert!(warning.starts_with("spec.envoy.proxies.file: "), "{warning}");
            assert!(warning.contains(what), "{warning}");
            assert!(warning.ends_with("; its last list stays in force"), "{warning}");
            assert_eq!((file.refresh(), names(&file)), (Some(warning), vec!["a:1".to_owned()]));
        }
        std::fs::remove_file(&path).unwrap();
        assert!(file.refresh().is_some());
        replace("- targets: ['b:1']");
        assert_eq!((file.refresh(), names(&file)), (None, vec!["b:1".to_owned()]));
    }
}
