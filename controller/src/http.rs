//! Helpers of the controller's HTTP clients.

use std::error::Error;
use std::time::Duration;

use reqwest::{ClientBuilder, Response};

/// The longest quotation of an answer, in characters.
const MAX_QUOTED_CHARS: usize = 200;

/// A character has at most four bytes.
const MAX_QUOTED_BYTES: usize = 4 * MAX_QUOTED_CHARS;

/// A client with this timeout, if there is one.
pub(crate) fn client(timeout: impl Into<Option<Duration>>) -> ClientBuilder {
    // Fails if a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder();
    match timeout.into() {
        Some(timeout) => client.timeout(timeout),
        None => client,
    }
}

/// The body of an answer; `None` if it is longer than `limit` bytes.
pub(crate) async fn body(
    mut answer: Response,
    limit: usize,
) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > limit {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

/// The start of an answer's body, for a quotation.
pub(crate) async fn start_of_body(mut answer: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < MAX_QUOTED_BYTES
        && let Ok(Some(chunk)) = answer.chunk().await
    {
        body.extend_from_slice(&chunk);
    }
    body
}

/// The innermost cause of an error; its wrappers repeat what the user knows.
pub(crate) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// The start of a foreign text, as one line without control characters.
pub(crate) fn quote(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text.get(..MAX_QUOTED_BYTES).unwrap_or(text));
    let clean = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(MAX_QUOTED_CHARS).collect()
}
