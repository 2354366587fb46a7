//! What people may order of a rollout under way.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// An order, with who gave it and why: it is kept in the rollout's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Command {
    /// What is to be done.
    pub action: Action,
    /// Who wants it.
    pub by: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// At which step, from 1; `None`: at the present one. An order that is given twice by mistake then counts once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<usize>,
    /// Of a hold: for how many seconds.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// Of an order that gives traffic back: end at once, without the proxy's word that it has taken that up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

impl Command {
    /// Whether it ends a rollout whatever is known of the proxies.
    #[must_use]
    pub fn skips_confirmation(&self) -> bool {
        self.action == Action::Abort && self.force
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.action.past_tense())?;
        if let Some(seconds) = self.seconds {
            write!(f, " for {}", humantime::format_duration(Duration::from_secs(seconds)))?;
        }
        write!(f, " by {}", self.by)?;
        self.reason.as_ref().map_or(Ok(()), |reason| write!(f, ": {reason}"))
    }
}

/// What can be ordered. To order what is so already changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Stay where it is. Harm still takes everything back.
    Pause,
    /// The same for a time, after which it goes on by itself.
    PauseFor,
    /// Go on.
    Resume,
    /// Approve of the step: its gate opens when all else it wants is there.
    Approve,
    /// Open the gate of the step now, whatever it wants. A pause goes on in the next one.
    Advance,
    /// Open all gates that are left.
    Promote,
    /// Give all traffic back to the baseline.
    Abort,
    /// The same after promotion, within the rollback window.
    Undo,
    /// Begin once more what has ended otherwise than by promotion, as a new rollout.
    Retry,
}

impl Action {
    /// Every verb.
    pub const ALL: [Self; 9] = [
        Self::Pause,
        Self::PauseFor,
        Self::Resume,
        Self::Approve,
        Self::Advance,
        Self::Promote,
        Self::Abort,
        Self::Undo,
        Self::Retry,
    ];

    /// What has been done, once it is.
    #[must_use]
    pub fn past_tense(self) -> &'static str {
        match self {
            Self::Pause => "paused",
            Self::PauseFor => "paused",
            Self::Resume => "resumed",
            Self::Approve => "approved",
            Self::Advance => "advanced",
            Self::Promote => "promoted",
            Self::Abort => "aborted",
            Self::Undo => "undone",
            Self::Retry => "retried",
        }
    }
}

/// Why an order makes no sense. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Rejected(pub String);
