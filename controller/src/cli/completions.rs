//! `serin completions`: shell completions.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, CliResult, ExitStatus};

/// Print a script that completes commands and options in a shell
///
/// See the manual of the shell for the directory of such scripts.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE, after_long_help = EXAMPLE)]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

const EXAMPLE: &str = "\
Example:
  serin completions bash > /etc/bash_completion.d/serin";

impl CompletionsArgs {
    pub(super) fn execute(self) -> CliResult {
        clap_complete::generate(self.shell, &mut Cli::command(), "serin", &mut std::io::stdout());
        Ok(ExitStatus::Success)
    }
}
