//! What every HTTP client of the controller has in common.

use std::error::Error;
use std::time::Duration;

use reqwest::ClientBuilder;

/// A client that gives up after this time, if any is given.
pub(crate) fn client(timeout: impl Into<Option<Duration>>) -> ClientBuilder {
    // Whoever comes later finds it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder();
    match timeout.into() {
        Some(timeout) => client.timeout(timeout),
        None => client,
    }
}

/// What an error comes down to: the words around it say nothing that the user does not know.
pub(crate) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
