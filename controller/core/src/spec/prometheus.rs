//! Where a Prometheus is, as the user writes it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::error::{SpecError, at};
use crate::config::prometheus::{Auth, PrometheusConnection, PrometheusSettings};

/// One that scrapes the proxies.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PrometheusSpec {
    /// Its address.
    url: String,
    /// A user and a password to log in with.
    basic_auth: Option<BasicAuth>,
    /// A file with a token to log in with.
    bearer_token_file: Option<PathBuf>,
    /// Labels that all of the proxies have, and no other of its targets.
    #[serde(default)]
    instances: BTreeMap<String, String>,
}

/// One that is asked for metrics.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ConnectionSpec {
    /// Its address.
    url: String,
    /// A user and a password to log in with.
    basic_auth: Option<BasicAuth>,
    /// A file with a token to log in with.
    bearer_token_file: Option<PathBuf>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BasicAuth {
    /// The user.
    username: String,
    /// A file with the password.
    password_file: PathBuf,
}

impl PrometheusSpec {
    pub(super) fn parse(self, path: &str) -> Result<PrometheusSettings, SpecError> {
        let Self { url, basic_auth, bearer_token_file, instances } = self;
        let connection = ConnectionSpec { url, basic_auth, bearer_token_file }.parse(path)?;
        for label in instances.keys() {
            let first = label.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            if !first || !label.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return at(format!("{path}.instances"), format!("{label:?} is not a label's name"));
            }
        }
        Ok(PrometheusSettings { connection, instances })
    }
}

impl ConnectionSpec {
    pub(super) fn parse(self, path: &str) -> Result<PrometheusConnection, SpecError> {
        let url = url::Url::parse(&self.url).ok();
        let good = |url: &url::Url| {
            let nobody = url.username().is_empty() && url.password().is_none();
            matches!(url.scheme(), "http" | "https") && url.has_host() && nobody
        };
        if !url.as_ref().is_some_and(good) {
            return at(
                format!("{path}.url"),
                format!(
                    "{:?} is not an address such as https://prometheus.example.com, without a user",
                    self.url
                ),
            );
        }
        let auth = match (self.basic_auth, self.bearer_token_file) {
            (None, None) => Auth::None,
            (Some(BasicAuth { username, password_file }), None) => {
                Auth::Basic { username, password_file }
            }
            (None, Some(token_file)) => Auth::Bearer { token_file },
            (Some(_), Some(_)) => {
                return at(path, "more than one of: basicAuth, bearerTokenFile");
            }
        };
        Ok(PrometheusConnection { url: self.url, auth })
    }
}
