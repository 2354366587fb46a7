//! `serin openapi`: the HTTP API, for generators of clients and documentation.

use clap::Args;

use super::{CliError, CliResult, ExitStatus};
use crate::server::api::openapi::document;

/// Print the OpenAPI document of the HTTP API
///
/// OpenAPI 3.1, with the schema of every request, response and event, generated from the types of
/// the server.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE, after_long_help = EXAMPLE)]
pub(super) struct OpenApiArgs {}

const EXAMPLE: &str = "\
Example:
  serin openapi > serin.json

`serin serve` has it at /openapi.json.";

impl OpenApiArgs {
    pub(super) fn execute(self) -> CliResult {
        println!("{}", serde_json::to_string_pretty(&document()).map_err(CliError::failed)?);
        Ok(ExitStatus::Success)
    }
}
