//! `--output`: text for people, or JSON for programs.

use clap::{Args, ValueEnum};
use serde::Serialize;

#[derive(Debug, Clone, Copy, Args)]
pub(super) struct OutputArgs {
    /// Output format
    #[arg(
        long = "output",
        value_name = "FORMAT",
        value_enum,
        default_value_t = OutputFormat::Text,
        env = "SERIN_OUTPUT"
    )]
    pub(super) format: OutputFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum OutputFormat {
    /// Text for people
    Text,
    /// One JSON object per line
    Json,
}

impl OutputArgs {
    /// Prints a value as text, or as a line of JSON.
    pub(super) fn print<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) {
        match self.format {
            OutputFormat::Text => println!("{}", text(value)),
            OutputFormat::Json => print_json(value),
        }
    }
}

/// Prints a value as a line of JSON.
pub(super) fn print_json(value: &impl Serialize) {
    match serde_json::to_string(value) {
        Ok(json) => println!("{json}"),
        Err(error) => eprintln!("serin: {error}"),
    }
}
