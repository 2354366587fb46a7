//! Calls to `serin serve`.

use clap::Args;
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;

use crate::http;
use crate::server::api::RolloutView;
use crate::storage::sqlite::QueueState;

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
        let client = http::client(None).build().unwrap_or_default();
        let request = client.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request. An error response is an error with its reason.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, String> {
        let answer = request.send().await;
        let answer = answer.map_err(|error| {
            format!("no response from {} ({error}): does `serin serve` run there?", self.server)
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let text = answer.text().await.unwrap_or_default();
        let failed = serde_json::from_str::<ErrorBody>(&text);
        Err(failed
            .map_or_else(|_| format!("{}: {status}: {text}", self.server), |failed| failed.error))
    }

    /// Sends a request and parses the JSON of the response.
    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<T, String> {
        let answer = self.send(request).await?.text().await.map_err(|error| error.to_string())?;
        serde_json::from_str(&answer)
            .map_err(|error| format!("{}: unexpected response: {error}", self.server))
    }

    /// All rollouts, the newest first.
    pub(super) async fn rollouts(&self) -> Result<Vec<RolloutView>, String> {
        self.read(self.request(Method::GET, "rollouts")).await
    }

    /// The number of a rollout by its number, name or service; of several, the running one or else
    /// the last.
    pub(super) async fn find(&self, called: &str) -> Result<i64, String> {
        if let Ok(id) = called.parse() {
            return Ok(id);
        }
        let is_called =
            |view: &&RolloutView| view.entry.name == called || view.entry.service == called;
        let rollouts = self.rollouts().await?;
        let mut called_so = rollouts.iter().filter(is_called);
        let running = called_so.clone().find(|view| view.entry.phase == QueueState::Running);
        let found = running.or_else(|| called_so.next()).map(|view| view.entry.id);
        found.ok_or_else(|| format!("no rollout has the name or service {called:?}"))
    }
}
