//! A running Envoy: a local process or a container.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use hyper::Response;
use rustix::process::{Pid, Signal, kill_process};
use testcontainers::core::Mount;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::files;
use crate::{http, until};

const IMAGE: (&str, &str) = ("envoyproxy/envoy", "distroless-v1.40.0");
const BINARY: &str = "target/tools/envoy-1.40.0/bin/envoy";

/// From the start of the process to LIVE.
const START: Duration = Duration::from_secs(30);

/// The limit from SIGTERM to Envoy's end.
const GRACE: Duration = Duration::from_secs(10);

/// A running Envoy. Drop kills or removes it.
#[derive(Debug)]
pub(crate) enum Process {
    Local(Child),
    Container(Box<ContainerAsync<GenericImage>>),
}

impl Process {
    /// Starts Envoy with the files in `directory`, in the mode of `SERIN_ENVOY`, and waits until
    /// its admin interface reports LIVE.
    ///
    /// # Panics
    /// Envoy does not start. The message has the end of its log.
    pub(crate) async fn start(
        directory: &Path,
        workers: u32,
        options: &[&str],
        admin: SocketAddr,
    ) -> Self {
        let mut process = Self::spawn(directory, workers, options).await;
        until(START, "Envoy is LIVE", async || {
            let ready = http::get(admin, "/ready").await;
            match ready.map(Response::into_body) {
                Ok(body) if body.starts_with(b"LIVE") => Ok(()),
                _ if !process.is_running().await => {
                    panic!("Envoy has ended; its log: {}", log_tail(directory))
                }
                other => Err((other, log_tail(directory))),
            }
        })
        .await;
        process
    }

    async fn spawn(directory: &Path, workers: u32, options: &[&str]) -> Self {
        let path =
            |path: PathBuf| path.to_str().expect("a temporary directory in UTF-8").to_owned();
        let fixed = [
            "-c".to_owned(),
            path(files::bootstrap_path(directory)),
            "--concurrency".to_owned(),
            workers.to_string(),
            "--log-path".to_owned(),
            path(log_path(directory)),
            // By default, several Envoys on one machine would act as hot restarts of one another.
            "--disable-hot-restart".to_owned(),
        ];
        let options = options.iter().map(|option| (*option).to_owned());
        let arguments: Vec<_> = fixed.into_iter().chain(options).collect();
        match std::env::var("SERIN_ENVOY").as_deref() {
            Err(_) | Ok("local") => Self::Local(local(directory, &arguments)),
            Ok("container") => Self::Container(Box::new(container(directory, arguments).await)),
            Ok(other) => panic!("SERIN_ENVOY is `local` or `container`, not `{other}`"),
        }
    }

    /// The process id; `None` in a container and after the end.
    pub(super) fn id(&self) -> Option<u32> {
        match self {
            Self::Local(child) => child.id(),
            Self::Container(_) => None,
        }
    }

    pub(super) async fn is_running(&mut self) -> bool {
        match self {
            Self::Local(child) => child.try_wait().expect("a child can be waited for").is_none(),
            Self::Container(container) => {
                container.is_running().await.expect("the engine responds")
            }
        }
    }

    /// Sends SIGTERM, and waits for the end.
    pub(super) async fn stop(self) {
        match self {
            Self::Local(mut child) => {
                let pid = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
                // A process without an id has ended already.
                if let Some(pid) = pid {
                    kill_process(pid, Signal::TERM).expect("Envoy receives SIGTERM");
                }
                let end = timeout(GRACE, child.wait()).await.expect("Envoy ends after SIGTERM");
                end.expect("a child can be waited for");
            }
            Self::Container(container) => {
                let grace = GRACE.as_secs().try_into().expect("a few seconds");
                container.stop_with_timeout(Some(grace)).await.expect("the engine stops Envoy");
                container.rm().await.expect("the engine removes the container");
            }
        }
    }

    /// Sends SIGKILL, and waits for the end.
    pub(super) async fn kill(self) {
        match self {
            Self::Local(mut child) => child.kill().await.expect("Envoy can be killed"),
            // A forced removal kills the container.
            Self::Container(container) => {
                container.rm().await.expect("the engine removes the container")
            }
        }
    }
}

/// The log of an Envoy in this directory, over all restarts.
pub(crate) fn log(directory: &Path) -> String {
    let log = std::fs::read(log_path(directory)).unwrap_or_default();
    String::from_utf8_lossy(&log).into_owned()
}

/// The end of the log, for a failure message.
fn log_tail(directory: &Path) -> String {
    let log = log(directory);
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

fn log_path(directory: &Path) -> PathBuf {
    directory.join("envoy.log")
}

fn local(directory: &Path, arguments: &[String]) -> Child {
    let binary = std::env::var_os("SERIN_ENVOY_BIN")
        .map_or_else(|| files::root().join(BINARY), PathBuf::from);
    // Envoy prints here until it opens its log file.
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(log_path(directory))
        .expect("a log");
    Command::new(&binary)
        .args(arguments)
        // Relative file names refer to this directory.
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        // Ctrl-C in a terminal must end the demo only, which then ends Envoy.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("no Envoy, run `make build`: {}: {error}", binary.display()))
}

async fn container(directory: &Path, arguments: Vec<String>) -> ContainerAsync<GenericImage> {
    let path = directory.to_str().expect("a temporary directory in UTF-8");
    GenericImage::new(IMAGE.0, IMAGE.1)
        .with_cmd(arguments)
        // All addresses are on 127.0.0.1.
        .with_network("host")
        // Mounts the directory, not its files: Envoy must see renamed files.
        .with_mount(Mount::bind_mount(path, path))
        // The user of the tests owns the directory.
        .with_user("0")
        .start()
        .await
        .expect("an engine at DOCKER_HOST starts Envoy's image")
}
