//! Flags of the log, which every command has.

use clap::Args;
use tracing::Level;

use crate::telemetry::logging::{self, LogFormat, LoggingError};

#[derive(Debug, Args)]
#[command(next_help_heading = "Logging")]
pub(super) struct LoggingArgs {
    /// Level, or levels by module such as warn,serin::operator=debug. [default: info for servers, warn for other commands]
    #[arg(long, value_name = "LEVEL", env = "SERIN_LOG", global = true)]
    log: Option<String>,

    /// Format of log lines, on standard error
    #[arg(
        long,
        value_enum,
        default_value_t = LogFormat::Text,
        env = "SERIN_LOG_FORMAT",
        global = true
    )]
    log_format: LogFormat,
}

impl LoggingArgs {
    pub(super) fn init(&self, is_server: bool) -> Result<(), LoggingError> {
        let default = if is_server { Level::INFO } else { Level::WARN };
        logging::init(self.log.as_deref(), default, self.log_format)
    }
}
