//! One running Envoy: a process of this machine, or a container.

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

/// How long Envoy may take from SIGTERM to its end.
const GRACE: Duration = Duration::from_secs(10);

/// Killed, or removed, when dropped.
#[derive(Debug)]
pub(crate) enum Process {
    Local(Child),
    Container(Box<ContainerAsync<GenericImage>>),
}

impl Process {
    /// Starts Envoy on the files in `directory`, in the way `SERIN_ENVOY` asks for, and waits until its admin interface says LIVE.
    ///
    /// # Panics
    /// When it does not come up; with the end of its log.
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
            // Several Envoys on one machine would otherwise take each other for predecessors.
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

    /// `None` in a container, and at its end.
    pub(super) fn id(&self) -> Option<u32> {
        match self {
            Self::Local(child) => child.id(),
            Self::Container(_) => None,
        }
    }

    pub(super) async fn is_running(&mut self) -> bool {
        match self {
            Self::Local(child) => child.try_wait().expect("a child can be waited for").is_none(),
            Self::Container(container) => container.is_running().await.expect("the engine answers"),
        }
    }

    /// SIGTERM, and waits for the end.
    pub(super) async fn stop(self) {
        match self {
            Self::Local(mut child) => {
                let pid = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
                // Without an id it has ended already.
                if let Some(pid) = pid {
                    kill_process(pid, Signal::TERM).expect("Envoy takes SIGTERM");
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

    /// SIGKILL, and waits for the end.
    pub(super) async fn kill(self) {
        match self {
            Self::Local(mut child) => child.kill().await.expect("Envoy can be killed"),
            // Removes by force, which kills.
            Self::Container(container) => {
                container.rm().await.expect("the engine removes the container")
            }
        }
    }
}

/// Everything that an Envoy in this directory has logged, over all restarts.
pub(crate) fn log(directory: &Path) -> String {
    let log = std::fs::read(log_path(directory)).unwrap_or_default();
    String::from_utf8_lossy(&log).into_owned()
}

/// What a failed test needs to say.
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
    // What Envoy says before it has opened its log goes there too.
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(log_path(directory))
        .expect("a log");
    Command::new(&binary)
        .args(arguments)
        // Files named without a directory are its own.
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        // Ctrl-C in a terminal is for the demo, which then ends Envoy when it no longer needs it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("no Envoy, run `make build`: {}: {error}", binary.display()))
}

async fn container(directory: &Path, arguments: Vec<String>) -> ContainerAsync<GenericImage> {
    let path = directory.to_str().expect("a temporary directory in UTF-8");
    GenericImage::new(IMAGE.0, IMAGE.1)
        .with_cmd(arguments)
        // Everything talks over 127.0.0.1.
        .with_network("host")
        // The directory, not its files: a file moved into place must be seen inside.
        .with_mount(Mount::bind_mount(path, path))
        // The directory belongs to the user that runs the tests.
        .with_user("0")
        .start()
        .await
        .expect("an engine at DOCKER_HOST starts Envoy's image")
}
