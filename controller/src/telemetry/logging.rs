//! Log lines and spans, on standard error.

use std::io::IsTerminal;

use clap::ValueEnum;
use thiserror::Error;
use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line of text per entry, in color on a terminal
    Text,
    /// One JSON object per entry
    Json,
}

/// The log can't be set up.
#[derive(Debug, Error)]
#[allow(missing_docs)] // the messages say it
pub enum LoggingError {
    #[error("--log: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    #[error("--log: {0}")]
    Init(#[from] tracing_subscriber::util::TryInitError),
}

/// Installs the process's subscriber.
///
/// `directives` are a level (`debug`) or levels by module (`warn,serin::operator=debug`); without them, `default` holds.
///
/// # Errors
/// The directives are invalid, or the process has a subscriber already.
pub fn init(
    directives: Option<&str>,
    default: Level,
    format: LogFormat,
) -> Result<(), LoggingError> {
    let filter = match directives {
        Some(directives) => EnvFilter::try_new(directives)?,
        None => EnvFilter::default().add_directive(default.into()),
    };
    tracing_subscriber::registry().with(layer(format, std::io::stderr)).with(filter).try_init()?;
    Ok(())
}

/// Writes entries with the fields of their spans.
fn layer<W>(format: LogFormat, writer: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_writer(writer);
    match format {
        LogFormat::Text => layer.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => {
            layer.json().flatten_event(true).with_current_span(false).with_span_list(true).boxed()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use serde_json::Value;

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, directives: &str) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let filter = EnvFilter::try_new(directives).unwrap();
        let subscriber =
            tracing_subscriber::registry().with(layer(format, move || writer.clone())).with(filter);
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("rollout", rollout = "7", service = "shop");
            let _entered = span.enter();
            tracing::debug!("polled");
            tracing::warn!(error = "disk full", "store write failed");
        });
        String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn json_entries_have_fields_and_spans() {
        let text = logged(LogFormat::Json, "info");
        let entries: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [entry] = entries.as_slice() else { panic!("{text}") };
        assert_eq!(entry["level"], "WARN");
        assert_eq!(entry["message"], "store write failed");
        assert_eq!(entry["error"], "disk full");
        assert_eq!(entry["spans"][0]["rollout"], "7");
        assert_eq!(entry["spans"][0]["service"], "shop");
    }

    #[test]
    fn directives_select_levels_by_module() {
        assert!(logged(LogFormat::Text, "off,serin::telemetry=debug").contains("polled"));
        assert_eq!(logged(LogFormat::Text, "off,serin::operator=debug"), "");
    }
}
