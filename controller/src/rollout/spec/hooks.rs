//! Hooks, as the user writes them.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::super::call::{Hook, Hooks, Target};
use super::value::{Count, Span};
use super::{SpecError, at};

/// No hook is tried more often.
const MOST_RETRIES: u32 = 20;

/// Who is called, and when.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HooksSpec {
    before: Vec<HookSpec>,
    gate: Vec<HookSpec>,
    after: Vec<HookSpec>,
    rollback: Vec<HookSpec>,
}

/// A webhook, `{ url: https://... }`, or a command, `{ command: [./replace.sh] }`.
#[derive(Deserialize, Clone)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct HookSpec {
    url: Option<String>,
    command: Option<Vec<String>>,
    #[serde(default = "timeout")]
    timeout: Span,
    #[serde(default = "retries")]
    retries: Count,
    secret_file: Option<PathBuf>,
}

fn timeout() -> Span {
    Span(Duration::from_secs(10))
}

fn retries() -> Count {
    Count(3)
}

impl HooksSpec {
    pub(super) fn checked(self) -> Result<Hooks, SpecError> {
        let all = |point: &str, hooks: Vec<HookSpec>| {
            let hooks = hooks.into_iter().enumerate();
            hooks
                .map(|(index, hook)| hook.checked(&format!("spec.hooks.{point}[{index}]")))
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
    pub(super) fn checked(self, path: &str) -> Result<Hook, SpecError> {
        let target = match (self.url, self.command) {
            (Some(url), None) => Target::Url(address(&format!("{path}.url"), url)?),
            (None, Some(command)) => match command.first() {
                Some(program) if !program.is_empty() => Target::Command(command),
                _ => return at(format!("{path}.command"), "empty; a program is needed"),
            },
            _ => return at(path, "exactly one of url and command is needed"),
        };
        if self.timeout.0.is_zero() {
            return at(format!("{path}.timeout"), "0 leaves no time to answer");
        }
        if self.secret_file.is_some() && matches!(target, Target::Command(_)) {
            return at(format!("{path}.secretFile"), "a command needs no signature");
        }
        let retries = u32::try_from(self.retries.0).ok().filter(|retries| *retries <= MOST_RETRIES);
        let Some(retries) = retries else {
            let message = format!("{} is more than {MOST_RETRIES}", self.retries.0);
            return at(format!("{path}.retries"), message);
        };
        Ok(Hook { target, timeout: self.timeout.0, retries, secret_file: self.secret_file })
    }
}

fn address(path: &str, url: String) -> Result<String, SpecError> {
    let parsed = reqwest::Url::parse(&url);
    match parsed.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
        true => Ok(url),
        false => at(path, format!("{url:?} is not an address such as https://deploy.example/hook")),
    }
}
