//! `serin pause`, `serin promote` and the like: commands to a rollout of a server.

use std::time::Duration;

use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand};
use serin_core::rollout::command::Action;

use super::client::ServerArgs;
use super::output::OutputArgs;
use super::{CliResult, ExitStatus};
use crate::server::api::{CommandBody, RolloutView};

/// A command to a rollout, by its action.
#[derive(Debug)]
pub(super) struct RolloutCommand {
    action: Action,
    step: Option<usize>,
    duration: Option<Duration>,
    force: bool,
    target: TargetArgs,
}

/// The rollout, and an entry for its history.
#[derive(Debug, Args)]
struct TargetArgs {
    /// Number, name or service of the rollout; of several, the running one or else the last
    rollout: String,

    /// Reason, for the history
    #[arg(long)]
    reason: Option<String>,

    /// Author of the command, for the history
    #[arg(long, env = "USER", default_value = "unknown")]
    by: String,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct PauseArgs {
    /// Duration of the pause, such as 30m
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    duration: Duration,
}

#[derive(Debug, Args)]
struct StepArgs {
    /// Reject the command unless the rollout is at this step: sent twice, it has one effect
    #[arg(long)]
    step: Option<usize>,
}

#[derive(Debug, Args)]
struct RevertArgs {
    /// End at once, without confirmation by the proxies. A rollout that can't resume, because its
    /// file or its server is gone, ends with its proxies unchanged
    #[arg(long)]
    force: bool,
}

const EXIT_CODES: &str = "Exit codes:
  0 done, or in effect already; 1 rejected with a reason and nothing changed, or the server is unreachable.";

/// Details and an example for the help of an action.
fn explain(action: Action) -> (&'static str, &'static str) {
    match action {
        Action::Pause => (
            "The rollout keeps its weight, and no gate opens until `serin resume`. Harm, a limit or the tripwire still rolls it back. Rejected \
             after promotion and during a rollback.",
            "serin pause shop --reason \"the database is being moved\"",
        ),
        Action::PauseFor => (
            "The rollout resumes by itself after the time. Harm, a limit or the tripwire still rolls it back. A second pause replaces the first.",
            "serin pause-for shop --for 30m --reason lunch",
        ),
        Action::Resume => (
            "Ends a pause by a person, a timed pause, and the pause after a step exceeded its time limit: that limit starts again.",
            "serin resume shop",
        ),
        Action::Approve => (
            "For steps with `approval: true`. The gate opens when its other conditions hold too, which may be later. --step protects against \
             approval of a step that started meanwhile.",
            "serin approve shop --step 2 --reason \"looks good on the dashboard\"",
        ),
        Action::Advance => (
            "Overrides all conditions of the gate: time, requests, evidence, hooks, approval. The judge continues in the next step, and a paused \
             rollout stays paused there. Rejected until the step is live and its instances are replaced.",
            "serin advance shop --step 2",
        ),
        Action::Promote => (
            "Goes to the last step at once; the rollout is promoted when that step is live. A rolling rollout replaces all instances, batch by \
             batch, without a bake. Harm on the way, or in the rollback window, still rolls it back.",
            "serin promote shop --reason \"every user needs the fix now\"",
        ),
        Action::Abort => (
            "Immediate: no analysis, gate or approval. Ends when every proxy has confirmed. A queued rollout leaves the queue. After promotion, \
             use `serin undo`.",
            "serin abort shop --reason \"support reports empty carts\"",
        ),
        Action::Undo => (
            "Immediate: no analysis, gate or approval. Ends when every proxy has confirmed. Rejected after the window (spec.rollbackWindow): then \
             the old version is the candidate of a rollout of its own.",
            "serin undo shop --reason \"sales are down by a third\"",
        ),
        Action::Retry => (
            "For a rollout that was rolled back, was aborted, or failed to start. It starts at its first step with the same specification, under a \
             new number. While a retry runs, a second retry returns it.",
            "serin retry shop --reason \"the disk of the database was full\"",
        ),
    }
}

fn command(action: Action) -> Command {
    let command = TargetArgs::augment_args(Command::new(action.verb()));
    let command = match action {
        Action::PauseFor => PauseArgs::augment_args(command),
        Action::Approve | Action::Advance => StepArgs::augment_args(command),
        Action::Abort | Action::Undo => RevertArgs::augment_args(command),
        Action::Pause | Action::Resume | Action::Promote | Action::Retry => command,
    };
    let (summary, (details, example)) = (action.summary(), explain(action));
    // After the arguments, whose documentation would take its place.
    command
        .about(summary)
        .long_about(format!("{summary}\n\n{details}"))
        .after_help(format!("Example:\n  {example}\n\n{EXIT_CODES}"))
}

impl Subcommand for RolloutCommand {
    fn augment_subcommands(parent: Command) -> Command {
        parent.subcommands(Action::ALL.map(command))
    }

    fn augment_subcommands_for_update(parent: Command) -> Command {
        Self::augment_subcommands(parent)
    }

    fn has_subcommand(name: &str) -> bool {
        name.parse::<Action>().is_ok()
    }
}

impl FromArgMatches for RolloutCommand {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let (verb, matches) = matches.subcommand().unwrap_or(("", matches));
        let action: Action = verb.parse().map_err(|error| {
            clap::Error::raw(clap::error::ErrorKind::InvalidSubcommand, format!("{error}\n"))
        })?;
        let target = TargetArgs::from_arg_matches(matches)?;
        let mut command = Self { action, step: None, duration: None, force: false, target };
        match action {
            Action::PauseFor => {
                command.duration = Some(PauseArgs::from_arg_matches(matches)?.duration);
            }
            Action::Approve | Action::Advance => {
                command.step = StepArgs::from_arg_matches(matches)?.step;
            }
            Action::Abort | Action::Undo => {
                command.force = RevertArgs::from_arg_matches(matches)?.force;
            }
            Action::Pause | Action::Resume | Action::Promote | Action::Retry => {}
        }
        Ok(command)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl RolloutCommand {
    pub(super) async fn execute(self) -> CliResult {
        let Self { action, step, duration, force, target } = self;
        let TargetArgs { rollout, reason, by, output, server } = target;
        let id = server.find(&rollout).await?;
        let path = format!("rollouts/{id}/{}", action.verb());
        let seconds = duration.map(|duration| duration.as_secs());
        let body = CommandBody { by, reason, step, seconds, force };
        let request = server.request(reqwest::Method::POST, &path).json(&body);
        let view: RolloutView = server.read(request).await?;
        output.print(&view, |RolloutView { entry, .. }| match action {
            Action::Retry => format!("{}: retried as rollout {}", entry.name, entry.id),
            _ => format!("{}: {}", entry.name, action.past_tense()),
        });
        Ok(ExitStatus::Success)
    }
}
