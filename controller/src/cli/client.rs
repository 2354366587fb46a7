//! Calls to `serin serve`.

use std::net::IpAddr;

use clap::Args;
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;

use super::CliError;
use crate::http::{self, quote};
use crate::server::api::RolloutView;
use crate::storage::sqlite::QueueState;

/// The size limit of a response, in bytes: a history can be long.
const MAX_RESPONSE_BYTES: usize = 64 << 20;

/// The server of a command.
#[derive(Debug, Args)]
pub(super) struct ServerArgs {
    /// Address of `serin serve`
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9290", env = "SERIN_SERVER")]
    server: Url,

    /// Token of the server
    #[arg(long, value_name = "TOKEN", env = "SERIN_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

/// An error response.
#[derive(serde::Deserialize)]
struct ErrorBody {
    error: String,
}

impl ServerArgs {
    /// A request for a path below `/v1`.
    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut url = self.server.clone();
        url.set_path(&format!("/v1/{path}"));
        let client = match self.is_local() {
            true => http::client(None).no_proxy(),
            false => http::client(None),
        };
        let client = client.build().unwrap_or_default();
        let request = client.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Whether the server is on this machine. Its token must not reach a proxy.
    fn is_local(&self) -> bool {
        let host = self.server.host_str().unwrap_or_default();
        let address = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    }

    /// Sends a request. An error response is an error with its reason.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, CliError> {
        let answer = request.send().await;
        let answer = answer.map_err(|error| {
            let server = &self.server;
            CliError::failed(format!(
                "no response from {server} ({error}): check that `serin serve` runs there"
            ))
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let body = http::body(answer, MAX_RESPONSE_BYTES).await.ok().flatten().unwrap_or_default();
        let failed = serde_json::from_slice::<ErrorBody>(&body);
        let raw = |_| format!("{}: {status}: {}", self.server, quote(&body));
        Err(CliError::failed(failed.map_or_else(raw, |failed| failed.error)))
    }

    /// Sends a request and parses the JSON of the response.
    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<T, CliError> {
        let response = self.send(request).await?;
        let body = http::body(response, MAX_RESPONSE_BYTES).await.map_err(CliError::failed)?;
        let body = body.ok_or_else(|| {
            let limit = "the response is longer than";
            CliError::failed(format!("{}: {limit} {MAX_RESPONSE_BYTES} bytes", self.server))
        })?;
        serde_json::from_slice(&body).map_err(|error| {
            CliError::failed(format!("{}: unexpected response: {error}", self.server))
        })
    }

    /// All rollouts, the newest first.
    pub(super) async fn rollouts(&self) -> Result<Vec<RolloutView>, CliError> {
        self.read(self.request(Method::GET, "rollouts")).await
    }

    /// The rollout with this number.
    pub(super) async fn rollout(&self, id: i64) -> Result<RolloutView, CliError> {
        self.read(self.request(Method::GET, &format!("rollouts/{id}"))).await
    }

    /// The number of a rollout by its number, name or service; of several, the running one or else
    /// the last.
    pub(super) async fn find(&self, name: &str) -> Result<i64, CliError> {
        if let Ok(id) = name.parse() {
            return Ok(id);
        }
        let is_named = |view: &&RolloutView| view.entry.name == name || view.entry.service == name;
        let rollouts = self.rollouts().await?;
        let mut named = rollouts.iter().filter(is_named);
        let running = named.clone().find(|view| view.entry.phase == QueueState::Running);
        let found = running.or_else(|| named.next()).map(|view| view.entry.id);
        let unknown = || CliError::failed(format!("no rollout has the name or service {name:?}"));
        found.ok_or_else(unknown)
    }
}
