//! The command line: arguments in, text or JSON and an exit code out.

mod client;
mod completions;
mod config;
mod crd;
mod init;
mod judge;
mod made;
mod number;
mod openapi;
mod operator;
mod plan;
mod remote;
mod report;
mod run;
mod serve;
mod simulate;
mod text;
mod view;
mod voice;
mod xds;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::rollout::order::Verb;

/// Progressive delivery for Envoy: takes a service from one version to the next in steps, and back by itself when the new version is
/// worse.
#[derive(Debug, Parser)]
#[command(name = "serin", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Judge(judge::Judge),
    Simulate(Box<simulate::Simulate>),
    Plan(plan::Plan),
    Serve(serve::Serve),
    Init(init::Init),
    Apply(remote::Apply),
    Status(remote::Status),
    Watch(remote::Watch),
    History(remote::History),
    /// Keep a rollout where it is. Harm still takes it back
    Pause(remote::Give),
    Hold(remote::Hold),
    /// Let a paused rollout go on
    Resume(remote::Give),
    /// Approve of the step that a rollout is at
    Approve(remote::Give),
    /// Open the gate of the step that a rollout is at, whatever it wants
    Advance(remote::Give),
    /// Open all gates that are left
    Promote(remote::Give),
    /// Give all traffic back to the baseline
    Abort(remote::Give),
    /// Take a promotion back, within its rollback window
    Undo(remote::Give),
    /// Begin once more what was rolled back, aborted, or could not begin
    Retry(remote::Give),
    Completions(completions::Completions),
    Openapi(openapi::OpenApi),
    Crd(crd::Crd),
    Operator(operator::Operator),
}

const EXIT_CODES: &str = "\
Exit codes:
  0  promoted (run, watch); no harm shown (judge); done (the others)
  1  could not begin, or could not go on: nothing was changed, or the message says what
  2  the command line, the rollout or the counts are not valid; nothing was changed
  3  rolled back (run, watch): harm, or a limit of the rollout; the candidate is worse (judge)
  4  interrupted, aborted or undone; the baseline has all traffic
  5  the baseline was given all traffic, but the proxy has not confirmed it";

/// How a command ends, for scripts. The numbers are documented in `--help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    Good = 0,
    Failed = 1,
    Invalid = 2,
    Harm = 3,
    Interrupted = 4,
    Unconfirmed = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Reports an error and how the command ends by it.
fn fail(exit: Exit, message: impl std::fmt::Display) -> Exit {
    eprintln!("serin: {message}");
    exit
}

/// The command line, with the flag that names a file of defaults.
fn command_line() -> clap::Command {
    Cli::command().arg(config::flag())
}

/// Does what the command line says.
pub async fn main() -> ExitCode {
    let command_line = match config::with_defaults(command_line(), std::env::args_os()) {
        Ok(command_line) => command_line,
        Err(error) => return fail(Exit::Invalid, error).into(),
    };
    let cli = match Cli::from_arg_matches(&command_line.get_matches()) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let exit = match cli.command {
        Command::Run(run) => run.execute().await,
        Command::Judge(judge) => judge.execute(),
        Command::Simulate(simulate) => simulate.execute(),
        Command::Plan(plan) => plan.execute(),
        Command::Init(init) => init.execute(),
        Command::Serve(serve) => serve.execute().await,
        Command::Apply(apply) => apply.execute().await,
        Command::Status(status) => status.execute().await,
        Command::Watch(watch) => watch.execute().await,
        Command::History(history) => history.execute().await,
        Command::Pause(order) => order.execute(Verb::Pause, None).await,
        Command::Hold(hold) => hold.execute().await,
        Command::Resume(order) => order.execute(Verb::Resume, None).await,
        Command::Approve(order) => order.execute(Verb::Approve, None).await,
        Command::Advance(order) => order.execute(Verb::Advance, None).await,
        Command::Promote(order) => order.execute(Verb::Promote, None).await,
        Command::Abort(order) => order.execute(Verb::Abort, None).await,
        Command::Undo(order) => order.execute(Verb::Undo, None).await,
        Command::Retry(order) => order.execute(Verb::Retry, None).await,
        Command::Completions(completions) => completions.execute(),
        Command::Openapi(openapi) => openapi.execute(),
        Command::Crd(crd) => crd.execute(),
        Command::Operator(operator) => operator.execute().await,
    };
    exit.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command_line().debug_assert();
    }
}
