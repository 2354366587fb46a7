//! The command line.

mod client;
mod commands;
mod completions;
mod crd;
mod doctor;
mod event_printer;
mod init;
mod judge;
mod logging;
mod openapi;
mod operator;
mod output;
mod plan;
mod remote;
mod reporter;
mod run;
mod serve;
mod signals;
mod simulate;
mod spec_file;
mod text;
mod traffic;
mod value_parsers;
mod view;
mod xds;

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::net::TcpListener;

use self::logging::LoggingArgs;
use crate::sources::metrics::web::allow_private_addresses;

/// Progressive delivery for Envoy: moves a service from one version to the next in steps, and
/// rolls it back when the new version is worse.
///
/// The proxies run serin's filter, which chooses the version of each request and counts the
/// outcomes. A file describes a rollout (envoy/rollout.yaml explains every field). `serin run`
/// runs one rollout; `serin serve` runs many, persists each transition before it acts on it, and
/// accepts commands over HTTP; `serin operator` runs those of a Kubernetes cluster.
#[derive(Debug, Parser)]
#[command(name = "serin", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(flatten)]
    logging: LoggingArgs,

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

impl CliCommand {
    fn is_server(&self) -> bool {
        matches!(self, Self::Serve(_) | Self::Operator(_))
    }
}

const EXIT_CODES: &str = "\
Example:
  serin plan rollout.yaml --rate 200
  serin run rollout.yaml

Exit codes:
  0  promoted (run, watch); no harm shown (judge); no problem (doctor); done (other commands)
  1  failed: nothing was changed, or the message says otherwise; a problem was found (doctor)
  2  invalid command line, rollout or counts; nothing was changed
  3  rolled back (run, watch): harm, or a limit of the rollout; the candidate is worse (judge)
  4  interrupted, aborted or undone; the baseline has all traffic
  5  all traffic returned to the baseline, not confirmed by a proxy";

/// Exit codes, as `--help` documents them.
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

/// The exit code of a command, or its error.
type CliResult = Result<ExitStatus, CliError>;

/// An error of a command, with its exit code.
#[derive(Debug)]
struct CliError {
    status: ExitStatus,
    message: String,
}

impl CliError {
    fn failed(message: impl ToString) -> Self {
        Self { status: ExitStatus::Failed, message: message.to_string() }
    }

    fn invalid(message: impl ToString) -> Self {
        Self { status: ExitStatus::Invalid, message: message.to_string() }
    }

    /// Prints the error and returns the exit code.
    fn report(self) -> ExitStatus {
        eprintln!("serin: {}", self.message);
        self.status
    }
}

/// Listens at the address of `--listen`.
async fn listen(address: SocketAddr) -> Result<TcpListener, CliError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| CliError::failed(format!("--listen {address}: {error}")))
}

/// Runs the command of the process's arguments.
pub async fn main() -> ExitCode {
    let cli = Cli::parse();
    let _logging = match cli.logging.init(cli.command.is_server()) {
        Ok(guard) => guard,
        Err(error) => return CliError::invalid(error).report().into(),
    };
    if cli.allow_private_addresses {
        allow_private_addresses();
    }
    let result = match cli.command {
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
        CliCommand::Rollout(command) => command.execute().await,
        CliCommand::Completions(completions) => completions.execute(),
        CliCommand::Openapi(openapi) => openapi.execute(),
        CliCommand::Crd(crd) => crd.execute(),
        CliCommand::Operator(operator) => operator.execute().await,
    };
    result.unwrap_or_else(CliError::report).into()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_is_explained_and_has_an_example() {
        let mut all = Cli::command();
        all.build();
        for command in all.get_subcommands_mut().filter(|command| command.get_name() != "help") {
            let help = command.render_long_help().to_string();
            assert!(help.contains("\nExample:\n  serin "), "{help}");
            let (about, _) = help.split_once("\nUsage:").expect("a usage");
            assert!(about.trim().lines().count() > 1, "{about}");
        }
    }
}
