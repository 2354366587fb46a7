//! The result of a check.

use serde::Serialize;

/// The checks, in the order of their dependencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Check {
    /// The filter's file, if serin rewrites one.
    FilterFile,
    /// Webhooks and commands.
    Hooks,
    /// Files with keys and passwords.
    Secrets,
    /// The Prometheus of the evidence.
    Prometheus,
    /// The metrics of the rollout.
    Metrics,
    /// The list of proxies.
    Proxies,
    /// Whether the admin interface answers, and the proxy is ready.
    Admin,
    /// The proxy's release.
    Version,
    /// The proxy's clock against this one.
    Clock,
    /// The filter among the listener's filters.
    Filter,
    /// The filter's module.
    Module,
    /// How requests fare if the module fails.
    FailurePolicy,
    /// The connection to serin's xDS server.
    Xds,
    /// The configuration that the filter runs.
    Generation,
    /// What prevents clients from choosing a version.
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

/// The level of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Level {
    /// The setup is correct.
    Ok,
    /// The check was skipped, or does not apply.
    Skipped,
    /// The setup works, but less well or less safely than it could.
    Warn,
    /// A rollout would fail.
    Fail,
}

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check.
    pub check: Check,
    /// The level.
    pub level: Level,
    /// The proxy; `None` if the finding concerns none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// The observation.
    pub message: String,
    /// The fix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Finding {
    fn new(check: Check, level: Level, message: impl Into<String>, fix: Option<String>) -> Self {
        Self { check, level, proxy: None, message: message.into(), fix }
    }

    /// A correct setup.
    pub(super) fn ok(check: Check, message: impl Into<String>) -> Self {
        Self::new(check, Level::Ok, message, None)
    }

    /// A skipped check, with the reason.
    pub(super) fn skipped(check: Check, reason: impl Into<String>) -> Self {
        Self::new(check, Level::Skipped, reason, None)
    }

    /// A weakness, with the fix.
    pub(super) fn warn(check: Check, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(check, Level::Warn, message, Some(fix.into()))
    }

    /// A problem, with the fix.
    pub(super) fn fail(check: Check, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(check, Level::Fail, message, Some(fix.into()))
    }
}
