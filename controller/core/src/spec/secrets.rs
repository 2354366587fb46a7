//! Secret files: passwords, tokens and signing keys, sent to the addresses in the specification. A
//! server reads them only from a directory for secrets; otherwise a specification could send out
//! any file that the server can read.

use std::path::{Component, Path};

use super::document::Spec;
use super::error::{SpecError, at};
use super::metrics;
use crate::rollout::metric::MetricsPlan;

impl Spec {
    /// Checks that all secret files are in `directory`; without one, that there are none.
    ///
    /// # Errors
    /// The first file outside of the directory, with the path of its field.
    pub fn confine_secrets_to(&self, directory: Option<&Path>) -> Result<(), SpecError> {
        for (path, file) in self.secrets() {
            let file_name = file.display();
            let Some(directory) = directory else {
                let message = format!(
                    "{file_name} is not allowed; set --secrets, the directory for secret files"
                );
                return at(path, message);
            };
            let has_parent = file.components().any(|part| part == Component::ParentDir);
            if has_parent || !file.starts_with(directory) {
                let directory = directory.display();
                let message = format!("{file_name} is outside of {directory}; move it there");
                return at(path, message);
            }
        }
        Ok(())
    }

    /// The secret files, with the paths of their fields.
    fn secrets(&self) -> impl Iterator<Item = (String, &Path)> {
        let keys = self.plan.all_hooks().filter_map(|hook| hook.secret_file.as_deref());
        let metrics = self.plan.metrics.iter().flat_map(MetricsPlan::secret_files);
        let metrics = metrics.map(|file| (metrics::PATH.to_owned(), file));
        let source = self.proxies.prometheus();
        let login = source.and_then(|(path, connection)| Some((path, connection.auth.file()?)));
        keys.map(|file| ("spec.hooks".to_owned(), file)).chain(login).chain(metrics)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::spec::tests::mesh::changed;

    fn named(file: &str) -> [(&'static str, Spec); 4] {
        let log_in =
            json!({ "url": "http://p", "bearerTokenFile": file, "instances": { "a": "b" } });
        let queries = json!([{ "name": "m", "query": "m", "atMost": 1 }]);
        let basic = json!({ "username": "u", "passwordFile": file });
        [
            (
                "spec.hooks",
                changed(|s| {
                    s["hooks"] = json!({"gate": [{"url": "http://h/", "secretFile": file}]})
                }),
            ),
            (
                "spec.istio.proxies.prometheus",
                changed(|s| s["istio"]["proxies"]["prometheus"] = log_in.clone()),
            ),
            (
                "spec.analysis.metrics",
                changed(|s| {
                    let prometheus = json!({ "url": "http://p", "basicAuth": basic });
                    let metrics = json!({ "prometheus": prometheus, "queries": queries });
                    s["analysis"] = json!({ "metrics": metrics });
                }),
            ),
            (
                "spec.hooks",
                changed(|s| {
                    s["hooks"] = json!({"rollback": [{"url": "http://h/", "secretFile": file}]});
                }),
            ),
        ]
        .map(|(path, spec)| (path, spec.unwrap()))
    }

    fn rejected(file: &str, directory: Option<&str>) -> bool {
        let all = named(file).map(|(path, spec)| {
            let confined = spec.confine_secrets_to(directory.map(Path::new));
            confined
                .map_err(|error| assert!(error.to_string().starts_with(&format!("{path}: {file}"))))
        });
        assert!(all.windows(2).all(|two| two[0] == two[1]), "{file} in {directory:?}");
        all[0].is_err()
    }

    #[test]
    fn secret_files_are_confined_to_their_directory() {
        assert!(!rejected("/secrets/a/key", Some("/secrets/a")));
        assert!(!rejected("/secrets/a/deep/key", Some("/secrets/a")));
        assert!(rejected("/secrets/b/key", Some("/secrets/a")));
        assert!(rejected("/secrets/ab", Some("/secrets/a")));
        assert!(rejected("/secrets/a/../b/key", Some("/secrets/a")));
        assert!(rejected("key", Some("/secrets/a")));
        assert!(rejected("/secrets/a/key", None));
    }

    /// A stored state must not call more than the specification beside it.
    #[test]
    fn plans_with_other_files_differ() {
        for ((path, one), (_, other)) in named("/secrets/a").into_iter().zip(named("/secrets/b")) {
            assert!(one.plan.calls_same_as(&one.plan.clone()));
            // Sources are not part of a plan.
            assert_eq!(one.plan.calls_same_as(&other.plan), path.contains("proxies"), "{path}");
        }
    }

    #[test]
    fn a_specification_without_secrets_requires_no_directory() {
        changed(|_| {}).unwrap().confine_secrets_to(None).unwrap();
    }
}
