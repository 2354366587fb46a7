//! A real Prometheus that scrapes real Envoys.
//!
//! `make build` does not fetch it: `make test-prometheus` unpacks it to `target/tools`, or
//! `SERIN_PROMETHEUS_BIN` names it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{http, ports, until};

const BINARY: &str = "target/tools/prometheus-2.42.0/usr/bin/prometheus";

/// From the start of the process to its first response.
const START: Duration = Duration::from_secs(30);

/// A Prometheus with its directory. Drop kills the process and removes the directory.
#[derive(Debug)]
pub struct Prometheus {
    /// `None` after [`Prometheus::kill`]. Declared before the directory, which must outlive it.
    process: Option<Child>,
    directory: TempDir,
    binary: PathBuf,
    address: SocketAddr,
}

impl Prometheus {
    /// Starts a Prometheus that scrapes these admin interfaces every second. Without a binary,
    /// prints a note and returns `None`.
    ///
    /// # Panics
    /// Prometheus does not start.
    pub async fn start(admins: &[SocketAddr]) -> Option<Self> {
        let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(BINARY);
        let binary = std::env::var_os("SERIN_PROMETHEUS_BIN").map_or(unpacked, PathBuf::from);
        if !binary.exists() {
            eprintln!(
                "skipped: no Prometheus at {}; `make test-prometheus` fetches it",
                binary.display()
            );
            return None;
        }
        let directory = tempfile::Builder::new().prefix("serin-prometheus-").tempdir();
        let directory = directory.expect("a directory");
        let targets: Vec<_> = admins.iter().map(|admin| format!("'{admin}'")).collect();
        let configuration = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}
scrape_configs:
  - job_name: envoy
    metrics_path: /stats/prometheus
    static_configs: [{{ targets: [{}] }}]
",
            targets.join(", ")
        );
        std::fs::write(directory.path().join("prometheus.yml"), configuration).expect("a file");
        let address = ports::local(ports::free());
        let mut prometheus = Self { process: None, directory, binary, address };
        prometheus.restart().await;
        Some(prometheus)
    }

    /// The address of Prometheus.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills the process with SIGKILL.
    ///
    /// # Panics
    /// The process has ended.
    pub async fn kill(&mut self) {
        let mut process = self.process.take().expect("Prometheus runs");
        process.kill().await.expect("Prometheus can be killed");
    }

    /// Freezes or resumes the process: a frozen Prometheus accepts requests and does not respond.
    ///
    /// # Panics
    /// The process is not running.
    pub fn freeze(&self, frozen: bool) {
        let pid = self.process.as_ref().and_then(Child::id);
        let pid = pid.and_then(|id| Pid::from_raw(id.try_into().ok()?)).expect("Prometheus runs");
        kill_process(pid, if frozen { Signal::STOP } else { Signal::CONT }).expect("a signal");
    }

    /// Restarts Prometheus with its stored data.
    ///
    /// # Panics
    /// Prometheus does not start.
    pub async fn restart(&mut self) {
        let directory = self.directory.path();
        let log = std::fs::File::create(directory.join("log")).expect("a log");
        let process = Command::new(&self.binary)
            .arg(format!("--config.file={}", directory.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", directory.join("data").display()))
            .arg(format!("--web.listen-address={}", self.address))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("Prometheus starts");
        self.process = Some(process);
        until(START, "Prometheus is ready", async || {
            match http::get(self.address, "/-/ready").await {
                Ok(answer) if answer.status().is_success() => Ok(()),
                other => Err(other),
            }
        })
        .await;
    }
}
