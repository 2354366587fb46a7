//! `serin serve`: rollouts in a store, controlled over HTTP.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::signals::StopSignals;
use super::xds::XdsArgs;
use super::{CliError, CliResult, ExitStatus, listen};
use crate::engine::EngineContext;
use crate::server::api::{Tokens, router, serve};
use crate::server::supervisor::{Supervisor, SupervisorOptions};
use crate::storage::sqlite::Store;

/// Serve rollouts over HTTP
///
/// Runs the rollouts that it receives (`serin apply`), one at a time for each service, and accepts
/// commands (`serin pause`, `serin promote`, ...). Each transition is persisted before it takes
/// effect: after a crash the server resumes its rollouts. Ctrl-C and SIGTERM stop the server and
/// leave all weights unchanged.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE, after_long_help = EXAMPLE)]
pub(super) struct ServeArgs {
    /// File of the rollouts and their history
    #[arg(long, value_name = "FILE", default_value = "serin.db", env = "SERIN_STORE")]
    store: PathBuf,

    /// Address of the API. Other addresses than loopback require a token and --allow-plain-http
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9290", env = "SERIN_LISTEN")]
    listen: SocketAddr,

    /// Token that allows reads, of at least 16 characters
    #[arg(long, value_name = "TOKEN", env = "SERIN_READ_TOKEN", hide_env_values = true)]
    read_token: Option<String>,

    /// Token that allows reads and commands, of at least 16 characters
    #[arg(long, value_name = "TOKEN", env = "SERIN_OPERATE_TOKEN", hide_env_values = true)]
    operate_token: Option<String>,

    /// Accept requests and tokens without TLS on other addresses than loopback: for a network that
    /// only a TLS proxy in front of the server can reach
    #[arg(long, env = "SERIN_ALLOW_PLAIN_HTTP")]
    allow_plain_http: bool,

    /// Name by which clients address the server, apart from IP addresses and localhost. Others are
    /// rejected, so that no web page can rebind its name to the server
    #[arg(long = "host", value_name = "NAME", env = "SERIN_HOST", value_delimiter = ',')]
    hosts: Vec<String>,

    /// Run hooks that are commands: each client with the operate token can then run any command
    #[arg(long, env = "SERIN_ALLOW_COMMANDS")]
    allow_commands: bool,

    /// Directory of the files that rollouts may name: keys of webhooks, credentials of a
    /// Prometheus. With --allow-commands, any file
    #[arg(long, value_name = "DIRECTORY", env = "SERIN_SECRETS")]
    secrets: Option<PathBuf>,

    /// Time that ended rollouts stay in the store. The last promotion of a service always stays
    #[arg(
        long,
        value_name = "TIME",
        default_value = "90d",
        env = "SERIN_KEEP_HISTORY",
        value_parser = humantime::parse_duration
    )]
    keep_history: Duration,

    #[command(flatten)]
    xds: XdsArgs,
}

const EXAMPLE: &str = "\
Example:
  serin serve --store /var/lib/serin/serin.db &
  serin apply rollout.yaml
  serin watch shop

Exit codes:
  0 stopped, 1 failed to start (the store, the address), 2 invalid command line.";

/// The minimum length of a token, in bytes.
const MIN_TOKEN_BYTES: usize = 16;

/// Each proxy needs connections, and the usual soft limit is about a thousand.
fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "limit of open files not raised");
    }
}

impl ServeArgs {
    pub(super) async fn execute(self) -> CliResult {
        allow_many_files();
        let tokens = Tokens { read: self.read_token, operate: self.operate_token };
        let is_short = |token: &String| token.len() < MIN_TOKEN_BYTES;
        if [&tokens.read, &tokens.operate].into_iter().flatten().any(is_short) {
            return Err(CliError::invalid(format!(
                "a token has at least {MIN_TOKEN_BYTES} characters, so that it can't be guessed"
            )));
        }
        if !self.listen.ip().is_loopback() && tokens.operate.is_none() {
            return Err(CliError::invalid(format!(
                "--listen {}: other machines can reach it: --operate-token is required",
                self.listen
            )));
        }
        if !self.listen.ip().is_loopback() && !self.allow_plain_http {
            return Err(CliError::invalid(format!(
                "--listen {}: tokens would cross the network without TLS: listen on loopback behind a TLS proxy, or accept it with --allow-plain-http",
                self.listen
            )));
        }
        let secrets = self.secrets.map(std::path::absolute).transpose();
        let secrets = secrets.map_err(|error| CliError::invalid(format!("--secrets: {error}")))?;
        let options = SupervisorOptions {
            allow_commands: self.allow_commands,
            secrets,
            retention: self.keep_history,
        };
        let store = Arc::new(Store::open(&self.store).map_err(CliError::failed)?);
        let fleet = self.xds.start(&store)?;
        let listener = listen(self.listen).await?;
        let context = EngineContext { sinks: fleet.sinks, ..EngineContext::default() };
        let supervisor = Supervisor::start(store, options, context).await;
        let supervisor = supervisor.map_err(CliError::failed)?;
        // A client that reads the address may stop the server at once.
        let mut stop = StopSignals::new()?;
        if let Ok(address) = listener.local_addr() {
            tracing::info!("serving on http://{address}");
        }
        // Event streams do not end by themselves: open connections are dropped.
        tokio::select! {
            never = serve(listener, router(supervisor, tokens, self.hosts)) => match never {},
            error = fleet.serving => Err(CliError::failed(error)),
            () = stop.recv() => Ok(ExitStatus::Success),
        }
    }
}
