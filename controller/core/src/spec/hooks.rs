//! Hooks, as the user writes them.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::error::{SpecError, at};
use super::value::{SpecCount, SpecDuration};
use crate::rollout::call::{Hook, HookTarget, Hooks};

/// No hook is tried more often.
const MAX_RETRIES: u32 = 20;

/// Who is called, and when.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HooksSpec {
    /// Have to say yes before anything is asked for.
    before: Vec<HookSpec>,
    /// Keep a gate shut until they say yes.
    gate: Vec<HookSpec>,
    /// Are told of promotion.
    after: Vec<HookSpec>,
    /// Are told of a rollback.
    rollback: Vec<HookSpec>,
}

/// A webhook, `{ url: https://... }`, or a command, `{ command: [./replace.sh] }`.
#[derive(Deserialize, JsonSchema, Clone)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct HookSpec {
    /// Where to POST; any 2xx is a yes.
    url: Option<String>,
    /// What to run; exit code 0 is a yes. Not in a cluster.
    command: Option<Vec<String>>,
    /// How long the answer may take. Default: 10s.
    #[serde(default = "timeout")]
    timeout: SpecDuration,
    /// How often it is tried again. Default: 3.
    #[serde(default = "retries")]
    retries: SpecCount,
    /// A file with the key of the signature (Standard Webhooks).
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
                _ => return at(format!("{path}.command"), "empty; a program is needed"),
            },
            _ => return at(path, "exactly one of url and command is needed"),
        };
        if self.timeout.0.is_zero() {
            return at(format!("{path}.timeout"), "0 leaves no time to answer");
        }
        if self.secret_file.is_some() && matches!(target, HookTarget::Command(_)) {
            return at(format!("{path}.secretFile"), "a command needs no signature");
        }
        let retries = u32::try_from(self.retries.0).ok().filter(|retries| *retries <= MAX_RETRIES);
        let Some(retries) = retries else {
            let message = format!("{} is more than {MAX_RETRIES}", self.retries.0);
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
