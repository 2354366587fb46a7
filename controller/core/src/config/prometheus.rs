//! Where a Prometheus is, and how Prometheus names what Envoy counts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Where a Prometheus is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrometheusConnection {
    /// Base address, such as `https://prometheus.example.com`.
    pub url: String,
    /// Who asks.
    pub auth: Auth,
}

/// A Prometheus, and which of its targets are the proxies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrometheusSettings {
    /// Where it is.
    pub connection: PrometheusConnection,
    /// Labels that all proxies have, and no other target; if there are none, whatever has the filter's statistics is a proxy.
    pub instances: BTreeMap<String, String>,
}

/// How a request shows who asks. Files are read for each request, so a secret can be changed at any time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Auth {
    /// Not at all.
    #[default]
    None,
    /// By name and password.
    Basic {
        /// The name.
        username: String,
        /// The file with the password.
        password_file: PathBuf,
    },
    /// By a token.
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

/// A statistic's name as the page has it.
#[must_use]
pub fn prometheus_name(name: &str) -> String {
    name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '_', "_")
}
