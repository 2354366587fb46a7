//! What a rollout calls outside of serin: webhooks and commands. What they are and what they are told is decided here; [`serin::webhooks`]
//! makes the call.

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
    /// What is called.
    pub target: HookTarget,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How often it is tried again when there is no answer, or one that says that it failed.
    pub retries: u32,
    /// The file with the key that signs the call.
    pub secret_file: Option<PathBuf>,
}

/// What is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HookTarget {
    /// An address, with a POST request. Any status of 2xx says yes.
    Url(String),
    /// A program with its arguments. An exit code of 0 says yes.
    Command(Vec<String>),
}

impl fmt::Display for HookTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // What comes before the host, or behind the path, may be a secret; so may arguments.
            Self::Url(url) => match url::Url::parse(url) {
                Ok(url) => write!(f, "{}{}", url.origin().ascii_serialization(), url.path()),
                Err(_) => f.write_str("a webhook"),
            },
            Self::Command(command) => f.write_str(command.first().map_or("", |program| program)),
        }
    }
}

/// When a hook is called.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum HookPoint {
    /// Before anything is asked for. A no ends the rollout.
    Before,
    /// When a step's gate would open. A no keeps it shut; it is asked again.
    Gate,
    /// Instances are to get no more requests.
    Drain,
    /// Instances are to run another version.
    Replace,
    /// Whether instances are ready to serve.
    Ready,
    /// The candidate is promoted. Nobody waits for a yes.
    After,
    /// All traffic goes back. Nobody waits for a yes.
    Rollback,
}

impl HookPoint {
    /// Whether it is about instances.
    #[must_use]
    pub fn replaces_instances(self) -> bool {
        matches!(self, Self::Drain | Self::Replace | Self::Ready)
    }

    /// Whether the answer decides nothing.
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

/// A call to be made, or made again: then it is the same to the letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookCall {
    /// What is called.
    pub hook: Hook,
    /// What it is told.
    pub message: HookMessage,
}

/// What a hook is told, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HookMessage {
    /// Of this transition of this rollout: who gets a message twice has got the same one.
    pub id: String,
    /// When in the rollout.
    pub point: HookPoint,
    /// Name of the rollout.
    pub rollout: String,
    /// The service.
    pub service: ServiceName,
    /// The version that runs.
    pub baseline: VersionName,
    /// The version that shall replace it.
    pub candidate: VersionName,
    /// Number of the step, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<usize>,
    /// The candidate's weight in parts per million, as last asked for.
    #[serde(with = "ppm")]
    pub weight: Weight,
    /// The generation that carries it.
    pub generation: Generation,
    /// The instances that this is about, of drain, replace and ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<String>,
    /// The version that they are to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionName>,
    /// Why traffic goes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The hooks of a rollout, but for those that replace instances.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Hooks {
    /// Called one after the other, before anything is asked for.
    pub before: Vec<Hook>,
    /// Called one after the other, when a step's gate would open.
    pub gate: Vec<Hook>,
    /// Called at promotion.
    pub after: Vec<Hook>,
    /// Called when traffic goes back.
    pub rollback: Vec<Hook>,
}

/// How instances are replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replacement {
    /// Takes their requests away.
    pub drain: Option<Hook>,
    /// Has them run the other version.
    pub replace: Hook,
    /// Tells whether they can serve.
    pub ready: Option<Hook>,
}

impl Replacement {
    /// What is called for each batch, in order.
    pub fn calls(&self) -> impl Iterator<Item = (HookPoint, &Hook)> {
        let drain = self.drain.iter().map(|hook| (HookPoint::Drain, hook));
        let ready = self.ready.iter().map(|hook| (HookPoint::Ready, hook));
        drain.chain([(HookPoint::Replace, &self.replace)]).chain(ready)
    }
}
