//! `spec.hooks`: webhooks and commands called at points of the rollout.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::error::{SpecError, at};
use super::value::{SpecCount, SpecDuration};
use crate::rollout::call::{Hook, HookTarget, Hooks};

/// The most retries of a hook.
const MAX_RETRIES: u32 = 20;

/// Hooks by the point at which they are called.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HooksSpec {
    /// Before lists hooks that must succeed before the rollout starts.
    before: Vec<HookSpec>,
    /// Gate lists hooks that must succeed before a gate opens.
    gate: Vec<HookSpec>,
    /// After lists hooks that are notified of the promotion.
    after: Vec<HookSpec>,
    /// Rollback lists hooks that are notified of a rollback.
    rollback: Vec<HookSpec>,
}

/// A webhook, `{ url: https://... }`, or a command, `{ command: [./replace.sh] }`.
#[derive(Deserialize, JsonSchema, Clone)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct HookSpec {
    /// Url is the address that receives a POST request. Any 2xx response is a success.
    url: Option<String>,
    /// Command is a program with its arguments. Exit code 0 is a success. Not in a cluster.
    command: Option<Vec<String>>,
    /// Timeout is the longest time of one attempt. Above 0s. Default: 10s.
    #[serde(default = "timeout")]
    timeout: SpecDuration,
    /// Retries is the number of further attempts after a failure. At most 20. Default: 3.
    #[serde(default = "retries")]
    retries: SpecCount,
    /// SecretFile is the path of the file with the signing key (Standard Webhooks).
    secret_file: Option<PathBuf>,
}

fn timeout() -> SpecDuration {
    SpecDuration(Duration::from_secs(10))
}

fn retries() -> SpecCount {
    SpecCount(3)
}

impl HooksSpec {
    pub(super) fn parse(self) -> Result<Hooks, SpecError> {
        let all = |point: &str, hooks: Vec<HookSpec>| {
            let hooks = hooks.into_iter().enumerate();
            hooks
                .map(|(index, hook)| hook.parse(&format!("spec.hooks.{point}[{index}]")))
                .collect::<Result<_, _>>()
        };
        Ok(Hooks {
            before: all("before", self.before)?,
            gate: all("gate", self.gate)?,
            after: all("after", self.after)?,
            rollback: all("rollback", self.rollback)?,
        })
    }
}

impl HookSpec {
    pub(super) fn parse(self, path: &str) -> Result<Hook, SpecError> {
        let target = match (self.url, self.command) {
            (Some(url), None) => HookTarget::Url(address(&format!("{path}.url"), url)?),
            (None, Some(command)) => match command.first() {
                Some(program) if !program.is_empty() => HookTarget::Command(command),
                _ => return at(format!("{path}.command"), "empty; set a program"),
            },
            _ => return at(path, "exactly one of url and command is required"),
        };
        if self.timeout.0.is_zero() {
            return at(format!("{path}.timeout"), "must be above 0s");
        }
        if self.secret_file.is_some() && matches!(target, HookTarget::Command(_)) {
            return at(format!("{path}.secretFile"), "a command is not signed; remove it");
        }
        let retries = u32::try_from(self.retries.0).ok().filter(|retries| *retries <= MAX_RETRIES);
        let Some(retries) = retries else {
            let message = format!("{} is above {MAX_RETRIES}", self.retries.0);
            return at(format!("{path}.retries"), message);
        };
        Ok(Hook { target, timeout: self.timeout.0, retries, secret_file: self.secret_file })
    }
}

fn address(path: &str, url: String) -> Result<String, SpecError> {
    let parsed = url::Url::parse(&url);
    match parsed.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
        true => Ok(url),
        false => at(path, format!("{url:?} is not an address such as https://deploy.example/hook")),
    }
}
