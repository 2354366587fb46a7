//! Log entries, on standard error, and spans, for an OTLP collector.

use std::io::IsTerminal;

use clap::ValueEnum;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use thiserror::Error;
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

/// The format of log entries.
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
    #[error("--otlp-endpoint: {0}")]
    Exporter(#[from] ExporterBuildError),
    #[error("--log: {0}")]
    Init(#[from] tracing_subscriber::util::TryInitError),
}

/// Exports the remaining spans when it is dropped.
#[derive(Debug)]
pub struct LoggingGuard(Option<SdkTracerProvider>);

impl Drop for LoggingGuard {
    fn drop(&mut self) {
        if let Some(provider) = self.0.take()
            && let Err(error) = provider.shutdown()
        {
            tracing::warn!(%error, "spans not exported");
        }
    }
}

/// Installs the process's subscriber.
///
/// `directives` are a level (`debug`) or levels by module (`warn,serin::operator=debug`); without
/// them, `default` applies. Spans are exported to the OTLP collector at `otlp_endpoint` over HTTP.
///
/// # Errors
/// The directives or the endpoint are invalid, or the process has a subscriber already.
pub fn init(
    directives: Option<&str>,
    default: Level,
    format: LogFormat,
    otlp_endpoint: Option<&str>,
) -> Result<LoggingGuard, LoggingError> {
    let filter = match directives {
        Some(directives) => EnvFilter::try_new(directives)?,
        None => EnvFilter::default().add_directive(default.into()),
    };
    let provider = otlp_endpoint.map(tracer_provider).transpose()?;
    tracing_subscriber::registry()
        .with(layer(format, std::io::stderr).with_filter(filter))
        .with(provider.as_ref().map(export_layer))
        .try_init()?;
    Ok(LoggingGuard(provider))
}

/// Exports spans in batches, from a thread of its own.
fn tracer_provider(endpoint: &str) -> Result<SdkTracerProvider, ExporterBuildError> {
    // HTTPS needs a provider. An error means that the process has one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let endpoint = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
    let exporter = SpanExporter::builder().with_http().with_endpoint(endpoint).build()?;
    let resource = Resource::builder().with_service_name("serin").build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

/// Exports serin's own spans, with their log entries as events.
fn export_layer<S>(provider: &SdkTracerProvider) -> impl Layer<S> + Send + Sync + use<S>
where
    S: tracing::Subscriber + for<'s> LookupSpan<'s> + Send + Sync,
{
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("serin"))
        .with_filter(Targets::new().with_target("serin", Level::INFO))
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
    use std::time::Duration;

    use axum::Router;
    use axum::body::Bytes;
    use axum::routing::post;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use prost::Message;
    use serde_json::Value;
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;
    use tracing::Instrument;

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

    #[tokio::test(flavor = "multi_thread")]
    async fn a_collector_receives_the_span_of_a_rollout() {
        let (sender, mut requests) = mpsc::channel(8);
        let receive = async move |body: Bytes| {
            sender.send(ExportTraceServiceRequest::decode(body).unwrap()).await.unwrap();
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}/", listener.local_addr().unwrap());
        let router = Router::new().route("/v1/traces", post(receive));
        tokio::spawn(async move { axum::serve(listener, router).await });

        let provider = tracer_provider(&endpoint).unwrap();
        let subscriber = tracing_subscriber::registry().with(export_layer(&provider));
        let default = tracing::subscriber::set_default(subscriber);
        let rollout = async { tracing::info!(event = "promoted") };
        rollout.instrument(crate::telemetry::rollout_span(&7, &"shop", Some("prod"))).await;
        drop(default);
        tokio::task::spawn_blocking(move || drop(LoggingGuard(Some(provider)))).await.unwrap();

        let received = tokio::time::timeout(Duration::from_secs(10), requests.recv()).await;
        let request = received.unwrap().unwrap();
        let span = &request.resource_spans[0].scope_spans[0].spans[0];
        assert_eq!((span.name.as_str(), span.events.len()), ("rollout", 1));
        let attributes = format!("{:?}", span.attributes);
        for (key, value) in [("rollout", "7"), ("service", "shop"), ("namespace", "prod")] {
            let found = span.attributes.iter().any(|attribute| {
                attribute.key == key && format!("{:?}", attribute.value).contains(value)
            });
            assert!(found, "{key}: {attributes}");
        }
    }
}
