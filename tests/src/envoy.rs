//! A real Envoy with serin's shipped files.
//!
//! The suites run `envoy/bootstrap.yaml` (or `bootstrap-xds.yaml`) and `envoy/filter.json`
//! unchanged except for ports and the directory, so that tests cover the files that users copy.
//! Envoy runs as a process (`SERIN_ENVOY=local`, the default; the binary is
//! `target/tools/envoy-1.40.0/bin/envoy` or `SERIN_ENVOY_BIN`) or in a container
//! (`SERIN_ENVOY=container`, with an engine at `DOCKER_HOST`), with the same results. The module
//! is `target/serin.wasm` or `SERIN_WASM`.

pub(crate) mod files;
mod filter;
pub(crate) mod process;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serin_filter::config::Config;
use serin_filter::stat;
use tempfile::TempDir;

use self::files::Ports;
use self::process::Process;
use crate::{http, ports, until};

/// The limit from a new configuration file to its use in all workers, and from an event to its
/// count.
const LIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// The setup of an Envoy.
#[derive(Clone, Debug)]
pub struct Setup {
    upstreams: [SocketAddr; 2],
    replacements: Vec<(String, String)>,
    filter_replacements: Vec<(String, String)>,
    configuration: Option<String>,
    followed: Option<PathBuf>,
    routes: Option<&'static str>,
    endpoint_files: bool,
    module: &'static str,
    xds: Option<SocketAddr>,
    bootstrap: Option<(String, Ports)>,
    more_files: Vec<(&'static str, String)>,
    workers: u32,
}

impl Setup {
    /// The shipped files in front of these two versions, with two workers.
    pub fn new(v1: SocketAddr, v2: SocketAddr) -> Self {
        Self {
            upstreams: [v1, v2],
            replacements: vec![],
            filter_replacements: vec![],
            configuration: None,
            followed: None,
            routes: None,
            endpoint_files: false,
            module: files::SHIPPED,
            xds: None,
            bootstrap: None,
            more_files: vec![],
            workers: 2,
        }
    }

    /// Changes the bootstrap: replaces every `from` by `to`. `from` must exist when Envoy starts.
    #[must_use]
    pub fn replace(mut self, from: &str, to: &str) -> Self {
        self.replacements.push((from.to_owned(), to.to_owned()));
        self
    }

    /// Changes the filter's file in the same way.
    #[must_use]
    pub fn replace_in_filter(mut self, from: &str, to: &str) -> Self {
        self.filter_replacements.push((from.to_owned(), to.to_owned()));
        self
    }

    /// Starts the filter with this configuration in place of the shipped one, which has no
    /// services.
    #[must_use]
    pub fn configuration(mut self, text: String) -> Self {
        self.configuration = Some(text);
        self
    }

    /// Follows the filter's file of another Envoy.
    #[must_use]
    pub fn follow(mut self, other: &Envoy) -> Self {
        self.followed = Some(other.filter_file());
        self
    }

    /// Replaces the bootstrap's `route_config` by the sample of this name, as the sample
    /// instructs.
    #[must_use]
    pub fn routes(mut self, sample: &'static str) -> Self {
        self.routes = Some(sample);
        self
    }

    /// Reads the endpoints of both versions from files ([`Envoy::endpoints_file`]), as a deployer
    /// writes them.
    #[must_use]
    pub fn endpoint_files(mut self) -> Self {
        self.endpoint_files = true;
        self
    }

    /// Uses the module of this name in `target`, in place of the shipped one.
    #[must_use]
    pub fn module(mut self, name: &'static str) -> Self {
        self.module = name;
        self
    }

    /// Gets the filter's configuration from this xDS server: the bootstrap is
    /// `envoy/bootstrap-xds.yaml`.
    #[must_use]
    pub fn xds(mut self, server: SocketAddr) -> Self {
        self.xds = Some(server);
        self
    }

    /// Uses this bootstrap with these ports. Only its directory is replaced.
    #[must_use]
    pub fn bootstrap(mut self, text: String, admin: u16, listener: u16) -> Self {
        self.bootstrap = Some((text, Ports { admin, listener }));
        self
    }

    /// Adds a file to Envoy's directory.
    #[must_use]
    pub fn file(mut self, name: &'static str, text: String) -> Self {
        self.more_files.push((name, text));
        self
    }

    /// Sets the number of worker threads.
    #[must_use]
    pub fn workers(mut self, workers: u32) -> Self {
        self.workers = workers;
        self
    }
}

/// An Envoy with its directory, which replaces `/etc/envoy/serin`. Drop ends Envoy and removes the
/// directory.
#[derive(Debug)]
pub struct Envoy {
    /// `None` after [`Envoy::stop`] and [`Envoy::kill`]. Declared before the directory, which must
    /// outlive it.
    process: Option<Process>,
    directory: TempDir,
    ports: Ports,
    workers: u32,
}

impl Envoy {
    /// Installs the files, starts Envoy and waits until it is LIVE.
    ///
    /// # Panics
    /// A file, the module or Envoy is missing, a replacement matches nothing, or Envoy does not
    /// start.
    pub async fn start(setup: &Setup) -> Self {
        let directory =
            tempfile::Builder::new().prefix("serin-envoy-").tempdir().expect("a directory");
        let ports = files::install(setup, directory.path());
        let mut envoy = Self { process: None, directory, ports, workers: setup.workers };
        envoy.restart().await;
        envoy
    }

    /// The address of the service.
    pub fn listener(&self) -> SocketAddr {
        ports::local(self.ports.listener)
    }

    /// The address of the admin interface.
    pub fn admin(&self) -> SocketAddr {
        ports::local(self.ports.admin)
    }

    /// The directory of the filter's configuration and its module.
    pub fn dir(&self) -> &Path {
        self.directory.path()
    }

    /// The file with the filter's configuration.
    pub fn filter_file(&self) -> PathBuf {
        files::filter_path(self.dir())
    }

    /// The file of the module.
    pub fn module(&self) -> PathBuf {
        files::module_path(self.dir())
    }

    /// The file with the endpoints of this version, for [`Setup::endpoint_files`].
    pub fn endpoints_file(&self, version: &str) -> PathBuf {
        files::endpoints_path(self.dir(), version)
    }

    /// The weight of v2 in Envoy's configuration file, in parts per million.
    ///
    /// # Panics
    /// The configuration is invalid.
    pub fn weight_of_v2(&self) -> u32 {
        let config = self.given();
        let Some(service) = config.services.first() else { return 0 };
        let v2 = service.versions.iter().position(|version| version.name.as_str() == "v2");
        v2.zip(service.table()).map_or(0, |(v2, table)| table.weight(v2).ppm())
    }

    /// The generation in Envoy's configuration file.
    ///
    /// # Panics
    /// The configuration is invalid.
    pub fn generation(&self) -> u64 {
        self.given().generation.0
    }

    /// The configuration in Envoy's file.
    fn given(&self) -> Config {
        let text = filter::configuration(&self.filter_text());
        Config::parse(text.as_bytes()).expect("a configuration")
    }

    /// Replaces the filter's file with this configuration. [`Envoy::until_live`] waits for its
    /// effect.
    ///
    /// # Panics
    /// The file can't be written.
    pub fn give(&self, configuration: &str) {
        let next = self.dir().join("next.json");
        let text = filter::with_configuration(&self.filter_text(), configuration);
        std::fs::write(&next, text).expect("the filter's next file");
        std::fs::rename(next, self.filter_file()).expect("the filter's file can be replaced");
    }

    /// Waits until the filter runs this generation in every worker: no worker has reported an
    /// older one for a while.
    pub async fn until_live(&self, generation: u64) {
        let mut quiet: Option<(u64, u64)> = None;
        until(LIVE_TIMEOUT, "the generation is live", async || {
            let stats = self.stats().await;
            let [shown, ticks, behind] = [stat::GENERATION, stat::TICKS, stat::TICKS_BEHIND]
                .map(|name| stats.get(&format!("wasmcustom.{name}")).copied().unwrap_or(0));
            let (since, then_behind) = *quiet.get_or_insert((ticks, behind));
            if shown != generation || behind != then_behind {
                quiet = None;
            }
            if quiet.is_some() && ticks >= since + self.ticks_of_all() {
                Ok(())
            } else {
                Err((shown, ticks, behind))
            }
        })
        .await;
    }

    /// Waits until every worker has flushed its counts of past events.
    pub async fn until_flushed(&self) -> BTreeMap<String, u64> {
        const TICKS: &str = "wasmcustom.serin.ticks";
        let before = self.stats().await.get(TICKS).copied().unwrap_or(0);
        until(LIVE_TIMEOUT, "every worker ticks", async || {
            let stats = self.stats().await;
            let ticks = stats.get(TICKS).copied().unwrap_or(0);
            if ticks >= before + self.ticks_of_all() { Ok(stats) } else { Err((before, ticks)) }
        })
        .await
    }

    /// The number of ticks after which every worker and the main thread have very likely ticked
    /// twice.
    fn ticks_of_all(&self) -> u64 {
        2 * (u64::from(self.workers) + 1)
    }

    /// Envoy's log, over all restarts.
    pub fn log(&self) -> String {
        process::log(self.dir())
    }

    /// A counter or gauge by its full name; `None` if it does not exist, or Envoy does not
    /// respond.
    pub async fn stat(&self, name: &str) -> Option<u64> {
        self.stats().await.get(name).copied()
    }

    /// All counters and gauges by their full names; empty if Envoy does not respond.
    pub async fn stats(&self) -> BTreeMap<String, u64> {
        let Ok(page) = http::get(self.admin(), "/stats?format=json").await else {
            return BTreeMap::new();
        };
        let page: serde_json::Value = serde_json::from_slice(page.body()).expect("JSON");
        let stats = page["stats"].as_array().expect("a list").iter();
        stats
            .filter_map(|stat| Some((stat["name"].as_str()?.to_owned(), stat["value"].as_u64()?)))
            .collect()
    }

    /// The process id, for measurements.
    ///
    /// # Panics
    /// Envoy is not running, or runs in a container.
    pub fn pid(&self) -> u32 {
        let process = self.process.as_ref().and_then(Process::id);
        process.expect("an Envoy that runs as a process of this machine")
    }

    /// Freezes or resumes the process: a frozen Envoy holds its connections and does not respond.
    ///
    /// # Panics
    /// Envoy is not running, or runs in a container.
    pub fn freeze(&self, frozen: bool) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("a process");
        kill_process(pid, if frozen { Signal::STOP } else { Signal::CONT }).expect("a signal");
    }

    /// Ends Envoy with SIGTERM and waits for its end.
    pub async fn stop(&mut self) {
        if let Some(process) = self.process.take() {
            process.stop().await;
        }
    }

    /// Ends Envoy with SIGKILL.
    pub async fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill().await;
        }
    }

    /// Restarts Envoy on the same ports and files. Its counters start at zero.
    ///
    /// # Panics
    /// Envoy does not start.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.process = Some(Process::start(self.dir(), self.workers, &[], self.admin()).await);
    }

    fn filter_text(&self) -> String {
        std::fs::read_to_string(self.filter_file()).expect("the filter's file")
    }
}

#[cfg(test)]
mod tests;
