//! `serin openapi`: the HTTP interface of `serin serve`, for programs that make clients and documentation.

use clap::Args;

use super::{ExitStatus, fail};
use crate::server::api::openapi::document;

/// Print the OpenAPI document of the HTTP interface of `serin serve`
///
/// OpenAPI 3.1, with the schema of every request, answer and event, made from the types that the server itself reads and writes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE, after_long_help = EXAMPLE)]
pub(super) struct OpenApiArgs {}

const EXAMPLE: &str = "\
Example:
  serin openapi > serin.json

A server has it at /openapi.json, too.";

impl OpenApiArgs {
    pub(super) fn execute(self) -> ExitStatus {
        match serde_json::to_string_pretty(&document()) {
            Ok(document) => println!("{document}"),
            Err(error) => return fail(ExitStatus::Failed, error),
        }
        ExitStatus::Success
    }
}
