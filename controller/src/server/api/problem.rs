//! What is answered when something goes wrong.

use axum::Json;
use axum::body::to_bytes;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The longest explanation, in bytes, that is handed on.
const MAX_PROBLEM_BYTES: usize = 10_000;

/// What is answered instead of what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Why, as a sentence.
    pub error: String,
}

/// Makes a [`Problem`] of the answer if it tells of a failure in another form: what the framework answers by itself, be it that a body is too
/// long or a method not served, looks like all other failures then.
pub(super) async fn in_json(answer: Response) -> Response {
    let status = answer.status();
    let is_json =
        answer.headers().get(header::CONTENT_TYPE).is_some_and(|is| is == "application/json");
    if is_json || !(status.is_client_error() || status.is_server_error()) {
        return answer;
    }
    let (mut head, body) = answer.into_parts();
    head.headers.remove(header::CONTENT_TYPE);
    head.headers.remove(header::CONTENT_LENGTH);
    let said = to_bytes(body, MAX_PROBLEM_BYTES).await.unwrap_or_default();
    let error = match String::from_utf8_lossy(&said).trim() {
        "" => status.canonical_reason().unwrap_or_default().to_lowercase(),
        said => said.to_owned(),
    };
    (head, Json(Problem { error })).into_response()
}
