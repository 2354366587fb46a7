//! Instant queries through Prometheus' HTTP interface.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::RequestBuilder;
use serde::Deserialize;
use serin_core::config::prometheus::{Auth, PrometheusConnection};
use thiserror::Error;

use crate::files::{self, MAX_SECRET_BYTES};
use crate::http::{self, quote, root_cause};

/// Timeout of a query.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The size limit of an answer, in bytes.
const MAX_RESPONSE_BYTES: usize = 64 << 20;

/// The error of a query.
#[derive(Debug, Error)]
#[allow(missing_docs)] // the messages say it
pub enum QueryError {
    #[error("Prometheus at {url} can't be reached: {cause}")]
    Unreachable { url: String, cause: String },
    #[error("Prometheus at {url} has not answered within {}", humantime::format_duration(*after))]
    Timeout { url: String, after: Duration },
    #[error("Prometheus at {url} rejected the query with status {status}: {reason}")]
    Rejected { url: String, status: u16, reason: String },
    #[error("Prometheus at {url} answered {what}")]
    InvalidResponse { url: String, what: String },
    #[error("the secret for Prometheus can't be read: {path}: {cause}")]
    Secret { path: PathBuf, cause: std::io::Error },
}

/// A Prometheus.
#[derive(Debug)]
pub struct PrometheusClient {
    /// The client, or the error that left it unbuilt.
    client: Result<reqwest::Client, String>,
    /// Without a slash at its end.
    url: String,
    auth: Auth,
}

/// An element of an instant vector.
#[derive(Debug, Clone, Deserialize, PartialEq)]
pub struct Sample {
    /// Its labels, including the metric's name as `__name__`.
    pub metric: HashMap<String, String>,
    /// The requested time, and the value as text.
    value: (f64, String),
}

impl Sample {
    /// A label; `""` if absent, as in PromQL.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        self.metric.get(name).map_or("", String::as_str)
    }

    /// The value; `None` if it is not a finite number.
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        self.value.1.parse().ok().filter(|value: &f64| value.is_finite())
    }
}

#[derive(Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
enum QueryResponse {
    Success { data: QueryData },
    Error { error: String },
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum QueryData {
    Vector(Vec<Sample>),
    Scalar((f64, String)),
}

impl PrometheusClient {
    /// A Prometheus that has not been queried.
    #[must_use]
    pub fn new(PrometheusConnection { url, auth }: PrometheusConnection) -> Self {
        let client = http::client(TIMEOUT).build().map_err(|error| root_cause(&error));
        Self { client, url: url.trim_end_matches('/').to_owned(), auth }
    }

    /// The base address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The result of a query at a time in seconds since 1970.
    ///
    /// # Errors
    /// Prometheus can't be reached, or does not answer with a result.
    pub async fn query(&self, query: &str, as_of: f64) -> Result<Vec<Sample>, QueryError> {
        let unreachable = |cause| QueryError::Unreachable { url: self.url.clone(), cause };
        let client = self.client.as_ref().map_err(|cause| unreachable(cause.clone()))?;
        let failed = |error: reqwest::Error| match error.is_timeout() {
            true => QueryError::Timeout { url: self.url.clone(), after: TIMEOUT },
            false => unreachable(root_cause(&error)),
        };
        let (time, timeout) = (format!("{as_of:.3}"), format!("{}s", TIMEOUT.as_secs()));
        let request = client.get(format!("{}/api/v1/query", self.url));
        let request = request.query(&[("query", query), ("time", &time), ("timeout", &timeout)]);
        let answer = self.authorized(request)?.send().await.map_err(failed)?;
        let status = answer.status();
        let body = http::body(answer, MAX_RESPONSE_BYTES).await.map_err(failed)?;
        let body = body.ok_or_else(|| {
            self.invalid_response(format!("with more than {MAX_RESPONSE_BYTES} bytes"))
        })?;
        match serde_json::from_slice(&body) {
            Ok(QueryResponse::Success { data: QueryData::Vector(samples) }) => Ok(samples),
            Ok(QueryResponse::Success { data: QueryData::Scalar(value) }) => {
                Ok(vec![Sample { metric: HashMap::new(), value }])
            }
            Ok(QueryResponse::Error { error }) => {
                let reason = quote(error.as_bytes());
                Err(QueryError::Rejected { url: self.url.clone(), status: status.as_u16(), reason })
            }
            Err(_) if !status.is_success() => {
                Err(self.invalid_response(format!("with status {status}")))
            }
            Err(error) => {
                let error = quote(error.to_string().as_bytes());
                Err(self.invalid_response(format!(
                    "something that is not the result of a query: {error}"
                )))
            }
        }
    }

    /// An answer that is not a result.
    pub(super) fn invalid_response(&self, what: String) -> QueryError {
        QueryError::InvalidResponse { url: self.url.clone(), what }
    }

    fn authorized(&self, request: RequestBuilder) -> Result<RequestBuilder, QueryError> {
        Ok(match &self.auth {
            Auth::None => request,
            Auth::Basic { username, password_file } => {
                request.basic_auth(username, Some(secret(password_file)?))
            }
            Auth::Bearer { token_file } => request.bearer_auth(secret(token_file)?),
        })
    }
}

fn secret(path: &Path) -> Result<String, QueryError> {
    let text = files::read_text(path, MAX_SECRET_BYTES)
        .map_err(|cause| QueryError::Secret { path: path.to_owned(), cause })?;
    Ok(text.trim().to_owned())
}
