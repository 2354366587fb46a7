//! Calls hooks: sends a webhook, or runs a command, until it succeeds or its attempts are used up.
//!
//! A webhook is a POST of the message as JSON, with the headers of Standard Webhooks
//! (<https://www.standardwebhooks.com>): `webhook-id`, `webhook-timestamp` and, with a key,
//! `webhook-signature`. A command gets the message at its standard input, and the most used fields
//! as environment variables. After a crash, both may get the same message again, with the same id.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, SystemTime};

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use rustix::process::{Pid, Signal, kill_process_group};
use serin_core::rollout::call::{Hook, HookCall, HookMessage, HookTarget};
use standardwebhooks::{Webhook, WebhookError};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::files::{self, MAX_SECRET_BYTES};
use crate::http::{self, quote, root_cause};

/// Time before the first retry; it doubles with each, up to a maximum.
const RETRY_DELAY: Duration = Duration::from_millis(500);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(30);

/// Size and time limits for reading a command's output after its end.
const MAX_OUTPUT_BYTES: u64 = 1 << 16;
const FLUSH_TIMEOUT: Duration = Duration::from_millis(200);

/// Why a hook has not succeeded.
#[derive(Debug, Error)]
#[allow(missing_docs)] // the messages say it
pub enum HookError {
    #[error("no answer within {}", humantime::format_duration(*.0))]
    Timeout(Duration),
    #[error("no answer: {0}")]
    Unreachable(String),
    #[error("it answered {status}{text}")]
    Rejected { status: u16, text: String },
    #[error("it can't be run: {0}")]
    SpawnFailed(std::io::Error),
    #[error("it ended with {how}{text}")]
    Exited { how: String, text: String },
    #[error("{path}: {cause}", path = .path.display())]
    Secret { path: PathBuf, cause: std::io::Error },
    #[error("{path}: not a key: {cause}", path = .path.display())]
    Key { path: PathBuf, cause: WebhookError },
    #[error("its input can't be written: {0}")]
    Message(serde_json::Error),
}

impl HookError {
    /// Whether the next attempt may succeed. A status of 4xx is final.
    fn is_transient(&self) -> bool {
        match self {
            Self::Rejected { status, .. } => *status >= 500 || matches!(status, 408 | 425 | 429),
            _ => true,
        }
    }
}

/// Calls until success, or until no attempt is left.
///
/// # Errors
/// The error of the last attempt, as a message for the user.
pub async fn call(call: &HookCall) -> Result<(), String> {
    let HookCall { hook, message } = call;
    let mut pause = RETRY_DELAY;
    for left in (0..=hook.retries).rev() {
        match attempt(hook, message).await {
            Ok(()) => return Ok(()),
            Err(error) if left == 0 || !error.is_transient() => return Err(error.to_string()),
            Err(_) => sleep(pause).await,
        }
        pause = pause.saturating_mul(2).min(MAX_RETRY_DELAY);
    }
    Ok(())
}

async fn attempt(hook: &Hook, message: &HookMessage) -> Result<(), HookError> {
    let once = async {
        match &hook.target {
            HookTarget::Url(url) => post(url, hook.secret_file.as_deref(), message).await,
            HookTarget::Command(command) => run(command, message).await,
        }
    };
    timeout(hook.timeout, once).await.unwrap_or(Err(HookError::Timeout(hook.timeout)))
}

async fn post(url: &str, secret: Option<&Path>, message: &HookMessage) -> Result<(), HookError> {
    let body = serde_json::to_vec(message).map_err(HookError::Message)?;
    let headers = headers(secret, &message.id, &body)?;
    let unreachable = |error: reqwest::Error| HookError::Unreachable(root_cause(&error));
    // No redirects: the user has named, and signed for, this address only.
    let client = http::client(None).redirect(Policy::none()).build().map_err(unreachable)?;
    let request = client.post(url).headers(headers).header(CONTENT_TYPE, "application/json");
    let answer = request.body(body).send().await.map_err(unreachable)?;
    if answer.status().is_success() {
        return Ok(());
    }
    let status = answer.status().as_u16();
    Err(HookError::Rejected { status, text: suffix(&http::start_of_body(answer).await) })
}

fn headers(secret: Option<&Path>, id: &str, body: &[u8]) -> Result<HeaderMap, HookError> {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs().cast_signed();
    let mut headers = HeaderMap::new();
    let mut put = |name, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    };
    put("webhook-id", id.to_owned());
    put("webhook-timestamp", now.to_string());
    if let Some(path) = secret {
        let text = files::read_text(path, MAX_SECRET_BYTES)
            .map_err(|cause| HookError::Secret { path: path.to_owned(), cause })?;
        let signature = Webhook::new(text.trim()).and_then(|key| key.sign(id, now, body));
        put(
            "webhook-signature",
            signature.map_err(|cause| HookError::Key { path: path.to_owned(), cause })?,
        );
    }
    Ok(headers)
}

async fn run(command: &[String], message: &HookMessage) -> Result<(), HookError> {
    let body = serde_json::to_vec(message).map_err(HookError::Message)?;
    let (program, arguments) = command.split_first().unwrap_or((const { &String::new() }, &[]));
    let version = message.version.as_ref().map_or("", |version| version.as_str());
    // The command and its children form one process group, which is killed as a whole after the
    // timeout.
    let mut child = Command::new(program)
        .process_group(0)
        .args(arguments)
        .env("SERIN_ID", &message.id)
        .env("SERIN_POINT", message.point.to_string())
        .env("SERIN_INSTANCES", message.instances.join(" "))
        .env("SERIN_VERSION", version)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(HookError::SpawnFailed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // The command may ignore its input.
        let _ = stdin.write_all(&body).await;
    }
    let group = ProcessGroup(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
    let (status, text) = end(&mut child).await.map_err(HookError::SpawnFailed)?;
    group.detach();
    match status.success() {
        true => Ok(()),
        false => Err(HookError::Exited {
            how: status.to_string(),
            text: suffix(text.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or(&[])),
        }),
    }
}

/// Waits for the child, and returns its standard error. Its children may keep that open.
async fn end(child: &mut Child) -> std::io::Result<(ExitStatus, Vec<u8>)> {
    let mut text = Vec::new();
    let Some(stderr) = child.stderr.take() else { return Ok((child.wait().await?, text)) };
    let mut stderr = stderr.take(MAX_OUTPUT_BYTES);
    let status = {
        let mut read = pin!(stderr.read_to_end(&mut text));
        tokio::select! {
            status = child.wait() => {
                let _ = timeout(FLUSH_TIMEOUT, read).await;
                status?
            }
            _ = &mut read => child.wait().await?,
        }
    };
    Ok((status, text))
}

/// The process group of a command. Killed when dropped, unless released.
struct ProcessGroup(Option<Pid>);

impl ProcessGroup {
    /// Lets the remaining processes run.
    fn detach(mut self) {
        self.0 = None;
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // A group that has ended needs no kill.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// A quotation that follows the message.
fn suffix(text: &[u8]) -> String {
    let line = quote(text);
    if line.is_empty() { line } else { format!(": {line}") }
}

#[cfg(test)]
mod tests;
