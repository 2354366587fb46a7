//! The shipped `serin serve`, and the commands that call it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::{RolloutProcess, Spec, serin};

/// A server with its store. Drop kills it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    url: String,
    store: PathBuf,
    /// Standard error since the server started to serve.
    log: Arc<Mutex<String>>,
}

/// The command of a server with its store in this directory.
fn command_line(directory: &Path) -> Command {
    let mut command = serin();
    command.arg("serve").arg("--store").arg(directory.join("serin.db"));
    command.args(["--listen", "127.0.0.1:0"]);
    command
}

/// The same, run by another program.
fn under(directory: &Path, program: &[&str]) -> Command {
    let serin = command_line(directory);
    let (name, arguments) = program.split_first().expect("a program");
    let mut command = Command::new(name);
    command.kill_on_drop(true).args(arguments);
    command.arg(serin.as_std().get_program()).args(serin.as_std().get_args());
    command
}

impl Server {
    /// Starts a server with its store in this directory.
    pub async fn start(directory: &Path) -> Self {
        Self::with(directory, &[]).await
    }

    /// The same with additional environment variables.
    ///
    /// # Panics
    /// The server does not serve.
    pub async fn with(directory: &Path, environment: &[(&str, &str)]) -> Self {
        let mut command = command_line(directory);
        command.envs(environment.iter().copied());
        Self::spawn(directory, command).await
    }

    /// Starts a server with additional arguments.
    pub async fn started_with(directory: &Path, arguments: &[&str]) -> Self {
        let mut command = command_line(directory);
        command.args(arguments);
        Self::spawn(directory, command).await
    }

    async fn spawn(directory: &Path, command: Command) -> Self {
        Self::begin(directory, command).await.expect("serin serves")
    }

    /// `None` if the server ends before it serves.
    async fn begin(directory: &Path, mut command: Command) -> Option<Self> {
        let store = directory.join("serin.db");
        let mut child =
            command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("serin starts");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let url = loop {
            let line = lines.next_line().await.expect("serin writes UTF-8");
            let Some(line) = line else {
                child.wait().await.expect("a child can be waited for");
                return None;
            };
            if let Some((_, url)) = line.split_once("serving on ") {
                break url.to_owned();
            }
            eprintln!("{line}");
        };
        let log = Arc::new(Mutex::new(String::new()));
        let heard = log.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let mut log = heard.lock().expect("a lock");
                log.push_str(&line);
                log.push('\n');
            }
        });
        Some(Self { child, url, store, log })
    }

    /// The address in the line that announces the server.
    ///
    /// # Panics
    /// The address is invalid.
    pub fn address(&self) -> SocketAddr {
        self.url
            .strip_prefix("http://")
            .and_then(|address| address.parse().ok())
            .expect("an address")
    }

    /// Starts a server with a file size limit in KiB, as if the disk were full.
    pub async fn limited(directory: &Path, kib: u32) -> Self {
        // Child processes inherit an ignored SIGXFSZ.
        let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", kib * 2);
        Self::spawn(directory, under(directory, &["sh", "-c", &script, "sh"])).await
    }

    /// Whether [`Server::killed_at`] is supported.
    pub fn has_tracer() -> bool {
        std::process::Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_ok()
    }

    /// Starts a server that strace kills (SIGKILL) at the n-th call of this system call in a
    /// thread; `None` if that precedes serving.
    pub async fn killed_at(directory: &Path, call: &str, n: u32) -> Option<Self> {
        let (trace, inject) =
            (format!("trace={call}"), format!("inject={call}:signal=KILL:when={n}"));
        // The tracer is a child of the server, not its parent.
        let tracer = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
        Self::begin(directory, under(directory, &tracer)).await
    }

    /// Whether the process has ended.
    pub fn is_over(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// The address of the API.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The process id, for measurements.
    ///
    /// # Panics
    /// The server has ended.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("serin runs")
    }

    /// Standard error since the server started to serve.
    ///
    /// # Panics
    /// The thread that records it has panicked.
    pub fn log(&self) -> String {
        self.log.lock().expect("a lock").clone()
    }

    /// Tries to start a second server on the same store.
    ///
    /// # Panics
    /// The binary does not run.
    pub async fn second(&self) -> Output {
        let directory = self.store.parent().expect("a directory");
        command_line(directory).output().await.expect("serin runs")
    }

    /// Kills the server without warning, as a power failure would.
    ///
    /// # Panics
    /// The process can't be waited for.
    pub async fn kill(mut self) {
        // Fails if the server has ended.
        let _ = self.child.start_kill();
        self.child.wait().await.expect("a child can be waited for");
    }

    /// Ends the server by SIGTERM, and returns its exit code.
    ///
    /// # Panics
    /// The server has ended.
    pub async fn stop(mut self) -> Option<i32> {
        let id = self.child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        kill_process(id.expect("serin runs"), Signal::TERM).expect("a signal");
        self.child.wait().await.expect("a child can be waited for").code()
    }

    /// Runs `serin` with these arguments against the server.
    ///
    /// # Panics
    /// The binary does not run.
    pub async fn serin(&self, arguments: &[&str]) -> Output {
        let mut command = serin();
        command.args(arguments).env("SERIN_SERVER", &self.url).env("USER", "ada");
        command.output().await.expect("serin runs")
    }

    /// Runs `serin`, and returns its output.
    ///
    /// # Panics
    /// The command fails.
    pub async fn ok(&self, arguments: &[&str]) -> String {
        let output = self.serin(arguments).await;
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs `serin`, and returns its error.
    ///
    /// # Panics
    /// The command does not fail.
    pub async fn refused(&self, arguments: &[&str]) -> String {
        let output = self.serin(arguments).await;
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", text(&output.stdout));
        text(&output.stderr)
    }

    /// Applies a rollout, and returns the response.
    ///
    /// # Panics
    /// The server rejects the rollout.
    pub async fn apply(&self, spec: &Spec) -> Value {
        let path = self.store.with_extension("yaml");
        std::fs::write(&path, spec.yaml()).expect("a specification");
        let path = path.display().to_string();
        let view = self.ok(&["apply", &path, "--output", "json"]).await;
        serde_json::from_str(&view).expect("JSON")
    }

    /// The state of a rollout.
    ///
    /// # Panics
    /// The rollout does not exist.
    pub async fn status(&self, rollout: &str) -> Value {
        let view = self.ok(&["status", rollout, "--output", "json"]).await;
        serde_json::from_str(&view).expect("JSON")
    }

    /// Watches a rollout.
    pub fn follow(&self, rollout: &str) -> RolloutProcess {
        let mut command = serin();
        command.args(["watch", rollout, "--output", "json"]).env("SERIN_SERVER", &self.url);
        RolloutProcess::from_command(command)
    }

    /// Watches a rollout to its end; returns the exit code and the events.
    pub async fn watch(&self, rollout: &str) -> (Option<i32>, Vec<Value>) {
        let output = self.serin(&["watch", rollout, "--output", "json"]).await;
        let events = text(&output.stdout);
        let events = events.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        (output.status.code(), events.collect())
    }
}

/// The output of a process.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
