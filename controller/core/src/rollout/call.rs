//! Calls from a rollout to webhooks and commands. This module defines the hooks and their
//! messages; `serin::webhooks` makes the calls.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serin_filter::names::{Generation, ServiceName, VersionName};
use serin_filter::table::Weight;

use crate::split::ppm;

/// A webhook or a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// The target of the call.
    pub target: HookTarget,
    /// The time limit of one attempt.
    pub timeout: Duration,
    /// The number of retries after a failure or without an answer.
    pub retries: u32,
    /// The file with the key that signs the calls.
    pub secret_file: Option<PathBuf>,
}

/// The target of a hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HookTarget {
    /// A URL for a POST request. A status of 2xx means success.
    Url(String),
    /// A program with its arguments. An exit code of 0 means success.
    Command(Vec<String>),
}

impl fmt::Display for HookTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // User info and query of a URL may be secret, and so may arguments.
            Self::Url(url) => match url::Url::parse(url) {
                Ok(url) => write!(f, "{}{}", url.origin().ascii_serialization(), url.path()),
                Err(_) => f.write_str("a webhook"),
            },
            Self::Command(command) => f.write_str(command.first().map_or("", |program| program)),
        }
    }
}

/// The point of a rollout at which serin calls a hook.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum HookPoint {
    /// Before the first split. A failure ends the rollout.
    Before,
    /// Before a step's gate opens. A failure keeps the gate shut, and serin calls the hook again.
    Gate,
    /// Takes instances out of service.
    Drain,
    /// Replaces the version of instances.
    Replace,
    /// Checks that instances can serve.
    Ready,
    /// After the promotion. serin does not wait for success.
    After,
    /// When all traffic moves back. serin does not wait for success.
    Rollback,
}

impl HookPoint {
    /// Returns true if the hook is for instances.
    #[must_use]
    pub fn replaces_instances(self) -> bool {
        matches!(self, Self::Drain | Self::Replace | Self::Ready)
    }

    /// Returns true if the answer has no effect on the rollout.
    #[must_use]
    pub fn is_notification(self) -> bool {
        matches!(self, Self::After | Self::Rollback)
    }
}

impl fmt::Display for HookPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Before => "before",
            Self::Gate => "gate",
            Self::Drain => "drain",
            Self::Replace => "replace",
            Self::Ready => "ready",
            Self::After => "after",
            Self::Rollback => "rollback",
        })
    }
}

/// A call of a hook. A repeated call is identical.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookCall {
    /// The hook.
    pub hook: Hook,
    /// The message.
    pub message: HookMessage,
}

/// The message to a hook, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HookMessage {
    /// The id of this transition of this rollout. Repeated messages have the same id.
    pub id: String,
    /// The point of the call.
    pub point: HookPoint,
    /// The rollout's name.
    pub rollout: String,
    /// The service.
    pub service: ServiceName,
    /// The version that serves all users at the start.
    pub baseline: VersionName,
    /// The version to roll out.
    pub candidate: VersionName,
    /// Number of the step, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<usize>,
    /// The candidate's last requested weight in parts per million.
    #[serde(with = "ppm")]
    pub weight: Weight,
    /// The generation of that split.
    pub generation: Generation,
    /// The instances to drain, replace or check.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<String>,
    /// The version that the instances must run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionName>,
    /// The reason of a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The hooks of a rollout, except those that replace instances.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Hooks {
    /// The hooks before the first split, called in order.
    pub before: Vec<Hook>,
    /// The hooks before a step's gate opens, called in order.
    pub gate: Vec<Hook>,
    /// The hooks after the promotion.
    pub after: Vec<Hook>,
    /// The hooks at a rollback.
    pub rollback: Vec<Hook>,
}

/// The hooks that replace instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replacement {
    /// Takes instances out of service.
    pub drain: Option<Hook>,
    /// Replaces their version.
    pub replace: Hook,
    /// Checks that they can serve.
    pub ready: Option<Hook>,
}

impl Replacement {
    /// The hooks of each batch, in order.
    pub fn calls(&self) -> impl Iterator<Item = (HookPoint, &Hook)> {
        let drain = self.drain.iter().map(|hook| (HookPoint::Drain, hook));
        let ready = self.ready.iter().map(|hook| (HookPoint::Ready, hook));
        drain.chain([(HookPoint::Replace, &self.replace)]).chain(ready)
    }
}
