//! `serin pause`, `serin promote` and the like: orders to a rollout of a server.

use std::time::Duration;

use clap::{Args, Subcommand};
use serin_core::rollout::command::Verb;

use super::client::Server;
use super::{Exit, fail};
use crate::server::api::{Reasons, Shown};

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
pub(super) enum Orders {
    /// Keep a rollout where it is
    ///
    /// Its weight stays, and no gate opens until `serin resume`. Harm, a limit or the tripwire still takes it back. Refused when it is promoted or
    /// on its way back.
    #[command(after_help = example!("serin pause shop --why \"the database is being moved\""))]
    Pause(Give),

    /// Keep a rollout where it is for a time
    ///
    /// After that it goes on by itself, as after `serin resume`. Harm, a limit or the tripwire still takes it back. Another hold takes the place of the
    /// one before.
    #[command(after_help = example!("serin hold shop --for 30m --why lunch"))]
    Hold(Hold),

    /// Let a paused rollout go on
    ///
    /// Whether somebody paused it, holds it, or it paused itself because a step took longer than its limit: that limit begins anew.
    #[command(after_help = example!("serin resume shop"))]
    Resume(Give),

    /// Approve of the step that a rollout is at
    ///
    /// For steps with `approval: true`. The gate opens when all else that it wants is there too, which may be later. With --step nothing is approved
    /// by mistake that has begun meanwhile.
    #[command(after_help = example!("serin approve shop --step 2 --why \"looks good on the dashboard\""))]
    Approve(At),

    /// Open the gate of the step that a rollout is at
    ///
    /// Whatever the gate wants: time, requests, evidence, hooks, approval. The next step is judged as usual, and a paused rollout stays paused in
    /// it. Refused while the step is not live yet, or its instances are being replaced.
    #[command(after_help = example!("serin advance shop --step 2"))]
    Advance(At),

    /// Open all gates that are left
    ///
    /// Goes to the last step at once, and is promoted when that is live. Where instances are replaced (rolling), they all are, batch by batch, without
    /// any bake. Harm that is seen on the way, or in the rollback window, still takes it back.
    #[command(after_help = example!("serin promote shop --why \"the fix has to be everywhere now\""))]
    Promote(Give),

    /// Give all traffic back to the baseline
    ///
    /// At once, without analysis, gate or approval; ends when every proxy has confirmed it. A rollout that is queued leaves the queue. After promotion it
    /// is `serin undo` that takes it back.
    #[command(after_help = example!("serin abort shop --why \"support reports empty carts\""))]
    Abort(Back),

    /// Take a promotion back, within its rollback window
    ///
    /// At once, without analysis, gate or approval; ends when every proxy has confirmed it. Refused after the window (spec.rollbackWindow): then the old
    /// version is the candidate of a rollout of its own.
    #[command(after_help = example!("serin undo shop --why \"orders are down by a third\""))]
    Undo(Back),

    /// Begin a rollout once more
    ///
    /// One that was rolled back, aborted, or could not begin, from its first step, with the specification that it had. It gets a number of its own. To
    /// retry what is being retried gives that.
    #[command(after_help = example!("serin retry shop --why \"the disk of the database was full\""))]
    Retry(Give),
}

/// Whom an order is for, and who gives it.
#[derive(Debug, Args)]
pub(super) struct Give {
    /// Its number, name or service; of several the one under way, or the last
    rollout: String,

    /// Why, for the history
    #[arg(long)]
    why: Option<String>,

    /// Who, for the history
    #[arg(long, env = "USER", default_value = "somebody")]
    by: String,

    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Args)]
pub(super) struct Hold {
    /// For how long, such as 30m
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    time: Duration,

    #[command(flatten)]
    give: Give,
}

#[derive(Debug, Args)]
pub(super) struct At {
    /// Only if the rollout is at this step: given twice, it counts once
    #[arg(long)]
    step: Option<usize>,

    #[command(flatten)]
    give: Give,
}

#[derive(Debug, Args)]
pub(super) struct Back {
    /// End at once, without the proxies' word that they have taken it up. One that can't go on, because its file or its server is gone, is
    /// given up where it stands
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    give: Give,
}

/// What is said beside the verb.
#[derive(Default)]
struct Terms {
    step: Option<usize>,
    seconds: Option<u64>,
    force: bool,
}

impl Orders {
    pub(super) async fn execute(self) -> Exit {
        let none = Terms::default();
        let at = |step| Terms { step, ..Terms::default() };
        let back = |force| Terms { force, ..Terms::default() };
        let (verb, give, terms) = match self {
            Self::Pause(give) => (Verb::Pause, give, none),
            Self::Hold(Hold { time, give }) => {
                (Verb::Hold, give, Terms { seconds: Some(time.as_secs()), ..none })
            }
            Self::Resume(give) => (Verb::Resume, give, none),
            Self::Approve(At { step, give }) => (Verb::Approve, give, at(step)),
            Self::Advance(At { step, give }) => (Verb::Advance, give, at(step)),
            Self::Promote(give) => (Verb::Promote, give, none),
            Self::Abort(Back { force, give }) => (Verb::Abort, give, back(force)),
            Self::Undo(Back { force, give }) => (Verb::Undo, give, back(force)),
            Self::Retry(give) => (Verb::Retry, give, none),
        };
        match give.send(verb, terms).await {
            Ok(Shown { entry, .. }) => {
                match verb {
                    Verb::Retry => println!("{}: retried as rollout {}", entry.name, entry.id),
                    _ => println!("{}: {}", entry.name, verb.done()),
                }
                Exit::Good
            }
            Err(error) => fail(Exit::Failed, error),
        }
    }
}

impl Give {
    async fn send(self, verb: Verb, terms: Terms) -> Result<Shown, String> {
        let Self { rollout, why, by, server } = self;
        let id = server.find(&rollout).await?;
        let verb = serde_json::to_value(verb).map_err(|error| error.to_string())?;
        let path = format!("rollouts/{id}/{}", verb.as_str().unwrap_or_default());
        let Terms { step, seconds, force } = terms;
        let reasons = Reasons { by, why, step, seconds, force };
        server.read(server.request(reqwest::Method::POST, &path).json(&reasons)).await
    }
}
