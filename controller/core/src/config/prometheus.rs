//! The connection to a Prometheus, and its names for Envoy's statistics.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The connection to a Prometheus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrometheusConnection {
    /// Base address, such as `https://prometheus.example.com`.
    pub url: String,
    /// The credentials.
    pub auth: Auth,
}

/// A Prometheus that scrapes the proxies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrometheusSettings {
    /// The connection.
    pub connection: PrometheusConnection,
    /// Labels that all proxies have and no other target has. Without labels, every target with the
    /// filter's statistics is a proxy.
    pub instances: BTreeMap<String, String>,
}

/// The authentication of a request. Files are read for each request, so secrets can be rotated.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Auth {
    /// No authentication.
    #[default]
    None,
    /// HTTP basic authentication.
    Basic {
        /// The user name.
        username: String,
        /// The file with the password.
        password_file: PathBuf,
    },
    /// A bearer token.
    Bearer {
        /// The file with the token.
        token_file: PathBuf,
    },
}

impl Auth {
    /// The file with the secret, if there is one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::None => None,
            Self::Basic { password_file, .. } => Some(password_file),
            Self::Bearer { token_file } => Some(token_file),
        }
    }
}

/// The name of a statistic in Prometheus.
#[must_use]
pub fn prometheus_name(name: &str) -> String {
    name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '_', "_")
}
