//! `serin crd`: the definition of the kind ServiceRollout.

use clap::Args;

use super::{CliError, CliResult, ExitStatus};
use crate::kubernetes::crd::yaml;

/// Print the definition of the kind ServiceRollout, for a cluster
///
/// The CustomResourceDefinition servicerollouts.serin.dev, with the schema of every field, made from the types that serin itself reads. A cluster needs
/// it before the first ServiceRollout.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE, after_long_help = EXAMPLE)]
pub(super) struct CrdArgs {}

const EXAMPLE: &str = "\
Example:
  serin crd | kubectl apply -f -";

impl CrdArgs {
    pub(super) fn execute(self) -> CliResult {
        print!("{}", yaml().map_err(CliError::failed)?);
        Ok(ExitStatus::Success)
    }
}
