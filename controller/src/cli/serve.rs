//! `serin serve`: rollouts kept in a store, taken on and ordered about over HTTP.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::xds::XdsArgs;
use super::{ExitStatus, fail};
use crate::engine::EngineContext;
use crate::server::api::{Tokens, router, serve};
use crate::server::supervisor::{Supervisor, SupervisorOptions};
use crate::storage::sqlite::Store;

/// Serve rollouts over HTTP
///
/// Takes rollouts on (`serin apply`), carries them out, several at once but one at a time for a service, and
/// takes orders (`serin pause`, `serin promote`, ...). Every transition is stored before it is acted on: killed and started again, it
/// goes on where it was. Stopped by Ctrl-C or SIGTERM, it leaves all weights as they are.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE, after_long_help = EXAMPLE)]
pub(super) struct ServeArgs {
    /// The file in which rollouts and their history are kept
    #[arg(long, value_name = "FILE", default_value = "serin.db", env = "SERIN_STORE")]
    store: PathBuf,

    /// Address to listen on. Others than this machine's own ask for a token
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9290", env = "SERIN_LISTEN")]
    listen: SocketAddr,

    /// Whoever has this token may look
    #[arg(long, value_name = "TOKEN", env = "SERIN_READ_TOKEN", hide_env_values = true)]
    read_token: Option<String>,

    /// Whoever has this token may look and order
    #[arg(long, value_name = "TOKEN", env = "SERIN_OPERATE_TOKEN", hide_env_values = true)]
    operate_token: Option<String>,

    /// Run the commands that rollouts have as hooks: whoever may order can run anything then
    #[arg(long, env = "SERIN_ALLOW_COMMANDS")]
    allow_commands: bool,

    /// Directory of the files that rollouts may name: keys of webhooks, passwords and tokens for a Prometheus. With --allow-commands, any
    #[arg(long, value_name = "DIRECTORY", env = "SERIN_SECRETS")]
    secrets: Option<PathBuf>,

    /// For how long rollouts that have ended are kept, with their history. The last promotion of a service always is
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
  0 stopped, 1 could not begin (the store, the address), 2 the command line is not valid.";

/// Each proxy takes connections, and the usual soft limit is for a thousand.
fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    // With fewer it still serves whom it can.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

impl ServeArgs {
    pub(super) async fn execute(self) -> ExitStatus {
        allow_many_files();
        let tokens = Tokens { read: self.read_token, operate: self.operate_token };
        if [&tokens.read, &tokens.operate].into_iter().flatten().any(String::is_empty) {
            return fail(ExitStatus::Invalid, "an empty token is none");
        }
        if !self.listen.ip().is_loopback() && tokens.operate.is_none() {
            return fail(
                ExitStatus::Invalid,
                format_args!(
                    "--listen {}: others can reach it, so --operate-token is needed",
                    self.listen
                ),
            );
        }
        let secrets = match self.secrets.map(std::path::absolute).transpose() {
            Ok(secrets) => secrets,
            Err(error) => return fail(ExitStatus::Invalid, format_args!("--secrets: {error}")),
        };
        let options = SupervisorOptions {
            allow_commands: self.allow_commands,
            secrets,
            retention: self.keep_history,
        };
        let store = match Store::open(&self.store) {
            Ok(store) => Arc::new(store),
            Err(error) => return fail(ExitStatus::Failed, error),
        };
        let fleet = match self.xds.start(&store) {
            Ok(fleet) => fleet,
            Err((exit, why)) => return fail(exit, why),
        };
        let listener = match TcpListener::bind(self.listen).await {
            Ok(listener) => listener,
            Err(error) => {
                return fail(ExitStatus::Failed, format_args!("--listen {}: {error}", self.listen));
            }
        };
        let shared = EngineContext { sinks: fleet.sinks, ..EngineContext::default() };
        let supervisor = match Supervisor::start(store, options, shared).await {
            Ok(runner) => runner,
            Err(error) => return fail(ExitStatus::Failed, error),
        };
        if let Ok(address) = listener.local_addr() {
            tracing::info!("serving on http://{address}");
        }
        let (Ok(mut interrupt), Ok(mut terminate)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return fail(ExitStatus::Failed, "no signal handler");
        };
        // Streams of events never end by themselves, so nobody is waited for.
        tokio::select! {
            never = serve(listener, router(supervisor, tokens)) => match never {},
            error = fleet.serving => fail(ExitStatus::Failed, error),
            _ = interrupt.recv() => ExitStatus::Success,
            _ = terminate.recv() => ExitStatus::Success,
        }
    }
}
