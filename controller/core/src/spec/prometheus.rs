//! The address and the credentials of a Prometheus.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::error::{SpecError, at};
use super::value::is_http_url;
use crate::config::prometheus::{Auth, PrometheusConnection, PrometheusSettings};

/// A Prometheus that scrapes the proxies.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PrometheusSpec {
    /// Url is the base address, such as https://prometheus.example.com.
    url: String,
    /// BasicAuth is a user name and a password. Not with bearerTokenFile.
    basic_auth: Option<BasicAuth>,
    /// BearerTokenFile is the path of the file with a bearer token. Not with basicAuth.
    bearer_token_file: Option<PathBuf>,
    /// Instances are labels that all proxies have and no other target has.
    #[serde(default)]
    instances: BTreeMap<String, String>,
}

/// A Prometheus that answers the queries of metrics.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ConnectionSpec {
    /// Url is the base address, such as https://prometheus.example.com.
    url: String,
    /// BasicAuth is a user name and a password. Not with bearerTokenFile.
    basic_auth: Option<BasicAuth>,
    /// BearerTokenFile is the path of the file with a bearer token. Not with basicAuth.
    bearer_token_file: Option<PathBuf>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BasicAuth {
    /// Username is the user name.
    username: String,
    /// PasswordFile is the path of the file with the password.
    password_file: PathBuf,
}

impl PrometheusSpec {
    pub(super) fn parse(self, path: &str) -> Result<PrometheusSettings, SpecError> {
        let Self { url, basic_auth, bearer_token_file, instances } = self;
        let connection = ConnectionSpec { url, basic_auth, bearer_token_file }.parse(path)?;
        for label in instances.keys() {
            let first = label.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            if !first || !label.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return at(format!("{path}.instances"), format!("{label:?} is not a label name"));
            }
        }
        Ok(PrometheusSettings { connection, instances })
    }
}

impl ConnectionSpec {
    pub(super) fn parse(self, path: &str) -> Result<PrometheusConnection, SpecError> {
        if !is_http_url(&self.url) {
            return at(
                format!("{path}.url"),
                format!(
                    "{:?} is not an address such as https://prometheus.example.com without credentials",
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
                return at(path, "set only one of basicAuth and bearerTokenFile");
            }
        };
        Ok(PrometheusConnection { url: self.url, auth })
    }
}
