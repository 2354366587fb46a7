//! `serin pause`, `serin promote` and the like: orders to a rollout of a server.

use std::time::Duration;

use clap::{Args, Subcommand};
use serin_core::rollout::command::Action;

use super::client::ServerArgs;
use super::{ExitStatus, fail};
use crate::server::api::{CommandBody, RolloutView};

/// What follows the options of an order.
macro_rules! example {
    ($example:literal) => {
        concat!(
            "Example:\n  ",
            $example,
            "\n\nExit codes:\n  0 done, or so already; 1 refused, with the reason, and nothing was changed, or the server can't be reached."
        )
    };
}

/// An order, by its verb.
#[derive(Debug, Subcommand)]
pub(super) enum RolloutCommand {
    /// Keep a rollout where it is
    ///
    /// Its weight stays, and no gate opens until `serin resume`. Harm, a limit or the tripwire still takes it back. Refused when it is promoted or
    /// on its way back.
    #[command(after_help = example!("serin pause shop --reason \"the database is being moved\""))]
    Pause(TargetArgs),

    /// Keep a rollout where it is for a time
    ///
    /// After that it goes on by itself, as after `serin resume`. Harm, a limit or the tripwire still takes it back. Another hold takes the place of the
    /// one before.
    #[command(after_help = example!("serin pause-for shop --for 30m --reason lunch"))]
    PauseFor(PauseForArgs),

    /// Let a paused rollout go on
    ///
    /// Whether somebody paused it, holds it, or it paused itself because a step took longer than its limit: that limit begins anew.
    #[command(after_help = example!("serin resume shop"))]
    Resume(TargetArgs),

    /// Approve of the step that a rollout is at
    ///
    /// For steps with `approval: true`. The gate opens when all else that it wants is there too, which may be later. With --step nothing is approved
    /// by mistake that has begun meanwhile.
    #[command(after_help = example!("serin approve shop --step 2 --reason \"looks good on the dashboard\""))]
    Approve(StepArgs),

    /// Open the gate of the step that a rollout is at
    ///
    /// Whatever the gate wants: time, requests, evidence, hooks, approval. The next step is judged as usual, and a paused rollout stays paused in
    /// it. Refused while the step is not live yet, or its instances are being replaced.
    #[command(after_help = example!("serin advance shop --step 2"))]
    Advance(StepArgs),

    /// Open all gates that are left
    ///
    /// Goes to the last step at once, and is promoted when that is live. Where instances are replaced (rolling), they all are, batch by batch, without
    /// any bake. Harm that is seen on the way, or in the rollback window, still takes it back.
    #[command(after_help = example!("serin promote shop --reason \"the fix has to be everywhere now\""))]
    Promote(TargetArgs),

    /// Give all traffic back to the baseline
    ///
    /// At once, without analysis, gate or approval; ends when every proxy has confirmed it. A rollout that is queued leaves the queue. After promotion it
    /// is `serin undo` that takes it back.
    #[command(after_help = example!("serin abort shop --reason \"support reports empty carts\""))]
    Abort(RevertArgs),

    /// Take a promotion back, within its rollback window
    ///
    /// At once, without analysis, gate or approval; ends when every proxy has confirmed it. Refused after the window (spec.rollbackWindow): then the old
    /// version is the candidate of a rollout of its own.
    #[command(after_help = example!("serin undo shop --reason \"orders are down by a third\""))]
    Undo(RevertArgs),

    /// Begin a rollout once more
    ///
    /// One that was rolled back, aborted, or could not begin, from its first step, with the specification that it had. It gets a number of its own. To
    /// retry what is being retried gives that.
    #[command(after_help = example!("serin retry shop --reason \"the disk of the database was full\""))]
    Retry(TargetArgs),
}

/// Whom an order is for, and who gives it.
#[derive(Debug, Args)]
pub(super) struct TargetArgs {
    /// Its number, name or service; of several the one under way, or the last
    rollout: String,

    /// Why, for the history
    #[arg(long)]
    reason: Option<String>,

    /// Who, for the history
    #[arg(long, env = "USER", default_value = "somebody")]
    by: String,

    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
pub(super) struct PauseForArgs {
    /// For how long, such as 30m
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    time: Duration,

    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Debug, Args)]
pub(super) struct StepArgs {
    /// Only if the rollout is at this step: given twice, it counts once
    #[arg(long)]
    step: Option<usize>,

    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Debug, Args)]
pub(super) struct RevertArgs {
    /// End at once, without the proxies' word that they have taken it up. One that can't go on, because its file or its server is gone, is
    /// given up where it stands
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    target: TargetArgs,
}

/// What is said beside the verb.
#[derive(Default)]
struct CommandOptions {
    step: Option<usize>,
    seconds: Option<u64>,
    force: bool,
}

impl RolloutCommand {
    pub(super) async fn execute(self) -> ExitStatus {
        let none = CommandOptions::default();
        let at = |step| CommandOptions { step, ..CommandOptions::default() };
        let back = |force| CommandOptions { force, ..CommandOptions::default() };
        let (verb, give, terms) = match self {
            Self::Pause(give) => (Action::Pause, give, none),
            Self::PauseFor(PauseForArgs { time, target }) => {
                (Action::PauseFor, target, CommandOptions { seconds: Some(time.as_secs()), ..none })
            }
            Self::Resume(give) => (Action::Resume, give, none),
            Self::Approve(StepArgs { step, target: give }) => (Action::Approve, give, at(step)),
            Self::Advance(StepArgs { step, target: give }) => (Action::Advance, give, at(step)),
            Self::Promote(give) => (Action::Promote, give, none),
            Self::Abort(RevertArgs { force, target: give }) => (Action::Abort, give, back(force)),
            Self::Undo(RevertArgs { force, target: give }) => (Action::Undo, give, back(force)),
            Self::Retry(give) => (Action::Retry, give, none),
        };
        match give.send(verb, terms).await {
            Ok(RolloutView { entry, .. }) => {
                match verb {
                    Action::Retry => println!("{}: retried as rollout {}", entry.name, entry.id),
                    _ => println!("{}: {}", entry.name, verb.past_tense()),
                }
                ExitStatus::Success
            }
            Err(error) => fail(ExitStatus::Failed, error),
        }
    }
}

impl TargetArgs {
    async fn send(self, action: Action, terms: CommandOptions) -> Result<RolloutView, String> {
        let Self { rollout, reason, by, server } = self;
        let id = server.find(&rollout).await?;
        let action = serde_json::to_value(action).map_err(|error| error.to_string())?;
        let path = format!("rollouts/{id}/{}", action.as_str().unwrap_or_default());
        let CommandOptions { step, seconds, force } = terms;
        let reasons = CommandBody { by, reason, step, seconds, force };
        server.read(server.request(reqwest::Method::POST, &path).json(&reasons)).await
    }
}
