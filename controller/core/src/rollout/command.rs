//! Commands to a running rollout.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A command, with its author and reason for the history of the rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Command {
    /// The action.
    pub action: Action,
    /// The author.
    pub by: String,
    /// The reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The step that the command is for, from 1, so that a repeated command has one effect.
    /// `None`: the current step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<usize>,
    /// The duration of a timed pause in seconds.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// Whether an abort or undo ends without confirmation by the proxies.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

impl Command {
    /// Returns true if the command ends a rollout without confirmation by the proxies.
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

/// Defines the actions: each with its verb, its past tense, and its summary for help and the API.
macro_rules! actions {
    ($($action:ident $verb:literal $past_tense:literal $summary:literal;)+) => {
        /// The action of a command. An action that is already in effect changes nothing.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        pub enum Action {
            $(#[doc = $summary] #[serde(rename = $verb)] $action,)+
        }

        impl Action {
            /// Every action.
            pub const ALL: [Self; [$($verb),+].len()] = [$(Self::$action),+];

            /// The verb, as in `serin VERB` and in paths of the API.
            #[must_use]
            pub fn verb(self) -> &'static str {
                match self { $(Self::$action => $verb,)+ }
            }

            /// The verb after the command succeeded.
            #[must_use]
            pub fn past_tense(self) -> &'static str {
                match self { $(Self::$action => $past_tense,)+ }
            }

            /// One line for help.
            #[must_use]
            pub fn summary(self) -> &'static str {
                match self { $(Self::$action => $summary,)+ }
            }

            /// The verbs, for messages.
            #[must_use]
            pub fn verbs() -> String {
                [$($verb),+].join(", ")
            }
        }

        impl FromStr for Action {
            type Err = UnknownAction;

            fn from_str(verb: &str) -> Result<Self, UnknownAction> {
                match verb {
                    $($verb => Ok(Self::$action),)+
                    _ => Err(UnknownAction(verb.to_owned())),
                }
            }
        }
    };
}

actions! {
    Pause "pause" "paused" "Pause a rollout at its step";
    PauseFor "pause-for" "paused" "Pause a rollout for a time";
    Resume "resume" "resumed" "Resume a paused rollout";
    Approve "approve" "approved" "Approve the step of a rollout";
    Advance "advance" "advanced" "Open the gate of the step of a rollout";
    Promote "promote" "promoted" "Open all remaining gates of a rollout";
    Abort "abort" "aborted" "Return all traffic to the baseline";
    Undo "undo" "undone" "Revert a promotion within its rollback window";
    Retry "retry" "retried" "Start a rollout that was not promoted again";
}

/// No action has this verb.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown action {0:?}; the actions are {verbs}", verbs = Action::verbs())]
pub struct UnknownAction(pub String);

/// A command was rejected, with the reason. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Rejected(pub String);
