//! What a check has found.

use serde::Serialize;

/// What has been looked at. In the order in which things depend on each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Check {
    /// The filter's file, if serin rewrites one.
    FilterFile,
    /// Webhooks and commands.
    Hooks,
    /// Files with keys and passwords.
    Secrets,
    /// The Prometheus that evidence comes from.
    Prometheus,
    /// The metrics of the rollout.
    Metrics,
    /// Which proxies there are.
    Proxies,
    /// Whether the admin interface answers, and the proxy is ready.
    Admin,
    /// The proxy's release.
    Version,
    /// The proxy's clock against this one.
    Clock,
    /// The filter among the listener's filters.
    Filter,
    /// The filter's module, running.
    Module,
    /// What becomes of requests if the module fails.
    FailurePolicy,
    /// The connection to serin's xDS server.
    Xds,
    /// The configuration that the filter runs.
    Generation,
    /// What keeps clients from choosing.
    Guard,
    /// The routes that follow the filter's choice.
    Routes,
    /// The clusters of the versions.
    Clusters,
    /// What the filter has counted.
    Traffic,
    /// The labels of the statistics.
    Statistics,
}

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Level {
    /// As it has to be.
    Ok,
    /// It could not be looked at, or does not matter here.
    Skipped,
    /// It works, but not as well or as safely as it could.
    Warn,
    /// A rollout would not work.
    Fail,
}

/// What a check has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: Check,
    /// How it is.
    pub level: Level,
    /// At which proxy; `None` if it is about none of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// What was found.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Finding {
    fn new(check: Check, level: Level, message: impl Into<String>, fix: Option<String>) -> Self {
        Self { check, level, proxy: None, message: message.into(), fix }
    }

    /// As it has to be.
    pub(super) fn ok(check: Check, message: impl Into<String>) -> Self {
        Self::new(check, Level::Ok, message, None)
    }

    /// Not looked at, and why.
    pub(super) fn skipped(check: Check, reason: impl Into<String>) -> Self {
        Self::new(check, Level::Skipped, reason, None)
    }

    /// Not as it should be, and what to do.
    pub(super) fn warn(check: Check, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(check, Level::Warn, message, Some(fix.into()))
    }

    /// Not as it has to be, and what to do.
    pub(super) fn fail(check: Check, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(check, Level::Fail, message, Some(fix.into()))
    }
}
