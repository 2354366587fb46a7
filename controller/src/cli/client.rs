//! Calls to `serin serve`.

use clap::Args;
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;

use crate::http;
use crate::server::api::RolloutView;
use crate::storage::sqlite::QueueState;

/// Where `serin serve` is.
#[derive(Debug, Args)]
pub(super) struct ServerArgs {
    /// Address of `serin serve`
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9290", env = "SERIN_SERVER")]
    server: Url,

    /// What it asks for, if it asks for a token
    #[arg(long, value_name = "TOKEN", env = "SERIN_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

/// What the server says instead of an answer.
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

    /// Sends it; an answer that tells of a failure is an error in its words.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, String> {
        let answer = request.send().await;
        let answer = answer.map_err(|error| {
            format!("no answer from {} ({error}): does `serin serve` run there?", self.server)
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

    /// Sends it and reads the JSON of its answer.
    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<T, String> {
        let answer = self.send(request).await?.text().await.map_err(|error| error.to_string())?;
        serde_json::from_str(&answer)
            .map_err(|error| format!("{}: not serin's: {error}", self.server))
    }

    /// All rollouts, the last first.
    pub(super) async fn rollouts(&self) -> Result<Vec<RolloutView>, String> {
        self.read(self.request(Method::GET, "rollouts")).await
    }

    /// The number of a rollout that is called by its number, or by its name or service: then the one under way, or the last.
    pub(super) async fn find(&self, called: &str) -> Result<i64, String> {
        if let Ok(id) = called.parse() {
            return Ok(id);
        }
        let is_called =
            |shown: &&RolloutView| shown.entry.name == called || shown.entry.service == called;
        let rollouts = self.rollouts().await?;
        let mut called_so = rollouts.iter().filter(is_called);
        let running = called_so.clone().find(|view| view.entry.phase == QueueState::Running);
        let found = running.or_else(|| called_so.next()).map(|view| view.entry.id);
        found.ok_or_else(|| format!("there is no rollout of the name or service {called:?}"))
    }
}
