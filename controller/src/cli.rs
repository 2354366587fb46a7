//! The command line: arguments in, text or JSON and an exit code out.

mod client;
mod commands;
mod completions;
mod config;
mod crd;
mod doctor;
mod init;
mod judge;
mod number;
mod openapi;
mod operator;
mod plan;
mod remote;
mod report;
mod reporter;
mod run;
mod serve;
mod simulate;
mod spec_file;
mod text;
mod traffic;
mod view;
mod xds;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::sources::metrics::web::allow_private_addresses;

/// Progressive delivery for Envoy: takes a service from one version to the next in steps, and back by itself when the new version is
/// worse.
///
/// The proxies run serin's filter, which chooses the version for each request and counts what comes of it. A rollout is described by a file
/// (envoy/rollout.yaml explains every field). `serin run` carries one out and ends with it; `serin serve` keeps many, each stored before it is
/// acted on, and takes orders.
#[derive(Debug, Parser)]
#[command(name = "serin", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: CliCommand,

    /// Let web metrics connect to private, loopback and link-local addresses
    #[arg(long, global = true, env = "SERIN_ALLOW_PRIVATE_ADDRESSES")]
    allow_private_addresses: bool,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    Run(run::RunArgs),
    Judge(judge::JudgeArgs),
    Simulate(Box<simulate::SimulateArgs>),
    Plan(plan::PlanArgs),
    Serve(serve::ServeArgs),
    Init(init::InitArgs),
    Doctor(doctor::DoctorArgs),
    Apply(remote::ApplyArgs),
    Status(remote::StatusArgs),
    Watch(remote::WatchArgs),
    History(remote::HistoryArgs),
    #[command(flatten)]
    Rollout(commands::RolloutCommand),
    Completions(completions::CompletionsArgs),
    Openapi(openapi::OpenApiArgs),
    Crd(crd::CrdArgs),
    Operator(operator::OperatorArgs),
}

const EXIT_CODES: &str = "\
Example:
  serin plan rollout.yaml --rate 200
  serin run rollout.yaml

Exit codes:
  0  promoted (run, watch); no harm shown (judge); done (the others)
  1  could not begin, or could not go on: nothing was changed, or the message says what; something is to be mended (doctor)
  2  the command line, the rollout or the counts are not valid; nothing was changed
  3  rolled back (run, watch): harm, or a limit of the rollout; the candidate is worse (judge)
  4  interrupted, aborted or undone; the baseline has all traffic
  5  the baseline was given all traffic, but the proxy has not confirmed it";

/// How a command ends, for scripts. The numbers are documented in `--help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ExitStatus {
    Success = 0,
    Failed = 1,
    Invalid = 2,
    Harm = 3,
    Interrupted = 4,
    Unconfirmed = 5,
}

impl From<ExitStatus> for ExitCode {
    fn from(exit: ExitStatus) -> Self {
        Self::from(exit as u8)
    }
}

/// Reports an error and how the command ends by it.
fn fail(exit: ExitStatus, message: impl std::fmt::Display) -> ExitStatus {
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
        Err(error) => return fail(ExitStatus::Invalid, error).into(),
    };
    let cli = match Cli::from_arg_matches(&command_line.get_matches()) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    if cli.allow_private_addresses {
        allow_private_addresses();
    }
    let exit = match cli.command {
        CliCommand::Run(run) => run.execute().await,
        CliCommand::Judge(judge) => judge.execute(),
        CliCommand::Simulate(simulate) => simulate.execute(),
        CliCommand::Plan(plan) => plan.execute(),
        CliCommand::Init(init) => init.execute(),
        CliCommand::Doctor(doctor) => doctor.execute().await,
        CliCommand::Serve(serve) => serve.execute().await,
        CliCommand::Apply(apply) => apply.execute().await,
        CliCommand::Status(status) => status.execute().await,
        CliCommand::Watch(watch) => watch.execute().await,
        CliCommand::History(history) => history.execute().await,
        CliCommand::Rollout(orders) => orders.execute().await,
        CliCommand::Completions(completions) => completions.execute(),
        CliCommand::Openapi(openapi) => openapi.execute(),
        CliCommand::Crd(crd) => crd.execute(),
        CliCommand::Operator(operator) => operator.execute().await,
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

    #[test]
    fn every_command_is_explained_and_has_an_example() {
        let mut all = command_line();
        all.build();
        for command in all.get_subcommands_mut().filter(|command| command.get_name() != "help") {
            let help = command.render_long_help().to_string();
            assert!(help.contains("\nExample:\n  serin "), "{help}");
            let (about, _) = help.split_once("\nUsage:").expect("a usage");
            assert!(about.trim().lines().count() > 1, "{about}");
        }
    }
}
