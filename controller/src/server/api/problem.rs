//! The body of error responses.

use axum::Json;
use axum::body::to_bytes;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The maximum length of a framework's message, in bytes.
const MAX_PROBLEM_BYTES: usize = 10_000;

/// An error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Reason.
    pub error: String,
}

/// Converts error responses of the framework, such as for a body that is too long, to a
/// [`Problem`].
pub(super) async fn in_json(response: Response) -> Response {
    let status = response.status();
    let is_json =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if is_json || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (mut head, body) = response.into_parts();
    head.headers.remove(header::CONTENT_TYPE);
    head.headers.remove(header::CONTENT_LENGTH);
    let body = to_bytes(body, MAX_PROBLEM_BYTES).await.unwrap_or_default();
    let error = match String::from_utf8_lossy(&body).trim() {
        "" => status.canonical_reason().unwrap_or_default().to_lowercase(),
        text => text.to_owned(),
    };
    (head, Json(Problem { error })).into_response()
}
