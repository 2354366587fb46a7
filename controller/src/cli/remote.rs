//! `serin apply`, `status`, `watch` and `history`: requests to `serin serve`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use reqwest::Method;
use serin_core::rollout::event::{Event, TimedEvent};
use serin_core::spec;

use super::client::ServerArgs;
use super::event_printer::EventPrinter;
use super::output::OutputArgs;
use super::run::exit;
use super::text::{history_line, rollout_line};
use super::{CliError, CliResult, ExitStatus};
use crate::files;
use crate::server::api::{ApplyQuery, ListQuery, RolloutView};
use crate::storage::sqlite::{QueueState, RolloutEntry};

/// Apply a rollout
///
/// `serin serve` validates the rollout and starts it, or queues it behind the running rollout of
/// its service.
#[derive(Debug, Args)]
#[command(after_help = APPLY, after_long_help = APPLY)]
pub(super) struct ApplyArgs {
    /// The rollout
    #[arg(value_name = "ROLLOUT.yaml")]
    rollout: PathBuf,

    /// Abort running and queued rollouts of the service first
    #[arg(long)]
    replace: bool,

    /// Print events until the rollout ends
    #[arg(long)]
    watch: bool,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    server: ServerArgs,
}

const APPLY: &str = "\
Example:
  serin apply rollout.yaml --watch

Exit codes:
  0 accepted (with --watch: promoted), 1 rejected or the server is unreachable, nothing was changed,
  2 the file can't be read. With --watch also 3 rolled back, 4 aborted or undone.";

/// Show rollouts
///
/// All rollouts of the server, the newest first, or one by its number, name or service.
#[derive(Debug, Args)]
#[command(after_help = STATUS, after_long_help = STATUS)]
pub(super) struct StatusArgs {
    /// Number, name or service of the rollout; of several, the running one or else the last
    rollout: Option<String>,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    server: ServerArgs,
}

const STATUS: &str = "\
Example:
  serin status
  serin status shop --output json | jq .status.evidence";

/// Show ended and promoted rollouts
///
/// The newest first, with their times. A rollout in its rollback window counts as promoted. `serin
/// serve --keep-history` sets how long ended rollouts are kept.
#[derive(Debug, Args)]
#[command(after_help = HISTORY, after_long_help = HISTORY)]
pub(super) struct HistoryArgs {
    /// Rollouts of this service only
    service: Option<String>,

    /// Promoted rollouts only
    #[arg(long)]
    promoted: bool,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    server: ServerArgs,
}

const HISTORY: &str = "\
Example:
  serin history shop
  serin history shop --promoted --output json | jq -r '.promoted + \" \" + .candidate'";

impl HistoryArgs {
    pub(super) async fn execute(self) -> CliResult {
        let query = ListQuery { service: self.service, promoted: self.promoted };
        let request = self.server.request(Method::GET, "rollouts").query(&query);
        let views: Vec<RolloutView> = self.server.read(request).await?;
        let is_past = |view: &&RolloutView| view.entry.ended.or(view.entry.promoted).is_some();
        for past in views.iter().filter(is_past) {
            self.output.print(past, |view| history_line(&view.entry));
        }
        Ok(ExitStatus::Success)
    }
}

/// Print the events of a rollout
///
/// All events from the first, until the rollout ends.
#[derive(Debug, Args)]
#[command(after_help = WATCH, after_long_help = WATCH)]
pub(super) struct WatchArgs {
    /// Number, name or service of the rollout; of several, the running one or else the last
    rollout: String,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    server: ServerArgs,
}

const WATCH: &str = "\
Example:
  serin watch shop --output json | jq -c 'select(.event == \"gateOpened\")'

Exit codes:
  0 promoted, 3 rolled back, 4 aborted or undone, 5 the same without confirmation by the proxies, 1 the server is unreachable.";

impl ApplyArgs {
    pub(super) async fn execute(self) -> CliResult {
        let path = self.rollout.display();
        let text = files::read_text(&self.rollout, spec::MAX_BYTES)
            .map_err(|error| CliError::invalid(format!("{path}: {error}")))?;
        let request = self.server.request(Method::POST, "rollouts").body(text);
        let request = request.query(&ApplyQuery { replace: self.replace });
        let view = self.server.read(request).await;
        let view: RolloutView =
            view.map_err(|error| CliError::failed(format!("{path}: {}", error.message)))?;
        if self.watch {
            return watch(&self.server, view.entry.id, self.output).await;
        }
        self.output.print(&view, rollout_line);
        Ok(ExitStatus::Success)
    }
}

impl StatusArgs {
    pub(super) async fn execute(self) -> CliResult {
        let views = match &self.rollout {
            None => self.server.rollouts().await?,
            Some(rollout) => vec![self.server.rollout(self.server.find(rollout).await?).await?],
        };
        views.iter().for_each(|view| self.output.print(view, rollout_line));
        Ok(ExitStatus::Success)
    }
}

impl WatchArgs {
    pub(super) async fn execute(self) -> CliResult {
        watch(&self.server, self.server.find(&self.rollout).await?, self.output).await
    }
}

/// Prints all events of a rollout, to its end.
async fn watch(server: &ServerArgs, id: i64, output: OutputArgs) -> CliResult {
    let request = server.request(Method::GET, &format!("rollouts/{id}/events"));
    let mut response = server.send(request).await?;
    let mut printer = EventPrinter::new(output.format);
    let mut unread = Vec::new();
    loop {
        let bytes = match response.chunk().await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => break,
            Err(error) => {
                tracing::warn!(%error, "event stream broken");
                break;
            }
        };
        unread.extend_from_slice(&bytes);
        while let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = unread.drain(..=end).collect();
            let Some(data) = line.strip_prefix(b"data: ") else { continue };
            let TimedEvent { at, event } = serde_json::from_slice::<TimedEvent<Event>>(data)
                .map_err(|error| CliError::failed(format!("unexpected event: {error}")))?;
            printer.event(Duration::try_from_secs_f64(at).unwrap_or_default(), &event);
            if let Event::Ended(summary) = event {
                return Ok(exit(&summary));
            }
        }
    }
    Err(CliError::failed(match server.rollout(id).await.map(|view| view.entry) {
        Ok(RolloutEntry { phase: QueueState::Failed, outcome, .. }) => {
            format!("the rollout failed to start: {}", outcome.unwrap_or_default())
        }
        _ => "event stream closed before the rollout ended".to_owned(),
    }))
}
