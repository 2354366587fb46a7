//! The shipped `serin` command with a rollout of the service in the shipped bootstrap.
//!
//! It runs as a separate process, with a specification file as input and its printed events as
//! output, so that a test exercises the user's interface. The binary is `target/debug/serin` or
//! `SERIN_BIN`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::{Envoy, until};

/// The longest time of a test's rollout.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The specification of a rollout.
#[derive(Clone, Debug)]
pub struct Spec {
    admin: SocketAddr,
    evidence: Option<String>,
    xds: Option<&'static str>,
    filter_file: PathBuf,
    steps: Vec<(String, Duration, u32)>,
    strategy: Option<String>,
    name: &'static str,
    /// The service's name and authority.
    service: [&'static str; 2],
    fields: String,
    objectives: String,
    metrics: String,
    interval: Duration,
    watch: Option<Duration>,
    tripwire: bool,
    versions: [&'static str; 2],
}

impl Spec {
    /// A rollout from v1 to v2 in this Envoy, without steps.
    pub fn new(envoy: &Envoy) -> Self {
        Self {
            admin: envoy.admin(),
            evidence: None,
            xds: None,
            filter_file: envoy.filter_file(),
            steps: vec![],
            strategy: None,
            name: "shop-v2",
            service: ["shop", "*"],
            fields: String::new(),
            objectives: "{}".to_owned(),
            metrics: String::new(),
            interval: Duration::from_secs(1),
            watch: None,
            tripwire: true,
            versions: ["v1", "v2"],
        }
    }

    /// Adds a step: a weight such as `5%`, and the time and requests of its bake.
    #[must_use]
    pub fn step(mut self, weight: &str, time: Duration, requests: u32) -> Self {
        self.steps.push((weight.to_owned(), time, requests));
        self
    }

    /// Sets another strategy than steps, such as `canary: {}`.
    #[must_use]
    pub fn strategy(mut self, strategy: &str) -> Self {
        self.strategy = Some(strategy.to_owned());
        self
    }

    /// Sets the name, which distinguishes it from other rollouts of the same service.
    #[must_use]
    pub fn name(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// Sets another service than the shop, with this authority.
    #[must_use]
    pub fn service(mut self, name: &'static str, authority: &'static str) -> Self {
        self.service = [name, authority];
        self
    }

    /// Adds a field of `spec`, such as `rollbackWindow: 10m`.
    #[must_use]
    pub fn field(mut self, field: &str) -> Self {
        self.fields = format!("{}  {field}\n", self.fields);
        self
    }

    /// Sets `spec.analysis.objectives`.
    #[must_use]
    pub fn objectives(mut self, objectives: &str) -> Self {
        objectives.clone_into(&mut self.objectives);
        self
    }

    /// Sets `spec.analysis.metrics`, in one line.
    #[must_use]
    pub fn metrics(mut self, metrics: &str) -> Self {
        self.metrics = format!("    metrics: {metrics}\n");
        self
    }

    /// Sets the poll interval; the default is one second.
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Adds an A/A test before the first step, for this time and a thousand requests.
    #[must_use]
    pub fn watch(mut self, time: Duration) -> Self {
        self.watch = Some(time);
        self
    }

    /// Disables the tripwire, so that only the controller stops a bad candidate.
    #[must_use]
    pub fn without_tripwire(mut self) -> Self {
        self.tripwire = false;
        self
    }

    /// A rollout from v2 to v1, after v2 was promoted.
    #[must_use]
    pub fn next_release(mut self) -> Self {
        self.versions = ["v2", "v1"];
        self
    }

    /// Reads the statistics at another address.
    #[must_use]
    pub fn admin(mut self, admin: SocketAddr) -> Self {
        self.admin = admin;
        self
    }

    /// Configures the proxies of this group of the server by xDS, in place of proxies that follow
    /// a file.
    #[must_use]
    pub fn xds(mut self, group: &'static str) -> Self {
        self.xds = Some(group);
        self
    }

    /// Sets another source than the admin interface of one Envoy, such as
    /// `proxies: { file: ... }`.
    #[must_use]
    pub fn evidence(mut self, source: String) -> Self {
        self.evidence = Some(source);
        self
    }

    /// The specification in YAML.
    pub fn yaml(&self) -> String {
        let watch = self.watch.map_or_else(String::new, |time| {
            format!("    aaTest: {{ time: {}ms, requests: 1000 }}\n", time.as_millis())
        });
        let step = |(weight, time, requests): &(String, Duration, u32)| {
            let time = time.as_millis();
            format!(
                "        - {{ weight: {weight}, bake: {{ time: {time}ms, requests: {requests} }} }}\n"
            )
        };
        let shifting = || {
            let steps: String = self.steps.iter().map(step).collect();
            format!("trafficShifting:\n      steps:\n{steps}")
        };
        let admin = || format!("admin: http://{}", self.admin);
        let evidence = self.evidence.clone().unwrap_or_else(admin);
        let place = match self.xds {
            Some(group) => format!("xds: {{ group: {group} }}"),
            None => format!("filterConfig: {}", self.filter_file.display()),
        };
        let strategy = self.strategy.clone().unwrap_or_else(shifting);
        format!(
            "apiVersion: serin.dev/v1alpha1
kind: ServiceRollout
metadata:
  name: {}
spec:
  service: {}
  authorities: ['{}']
  sticky:
    - header: x-user-id
  versions:
    - {{ name: v1, cluster: shop-v1 }}
    - {{ name: v2, cluster: shop-v2 }}
  baseline: {}
  candidate: {}
  tripwire: {{ enabled: {} }}
{}  strategy:
    {strategy}
  analysis:
    objectives: {}
    interval: {}ms
{}{}  envoy:
    {}
    {}
",
            self.name,
            self.service[0],
            self.service[1],
            self.versions[0],
            self.versions[1],
            self.tripwire,
            self.fields,
            self.objectives,
            self.interval.as_millis(),
            self.metrics,
            watch,
            evidence,
            place
        )
    }
}

/// The `serin` command.
///
/// # Panics
/// The binary is missing.
pub fn serin() -> Command {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/debug/serin");
    let binary = std::env::var_os("SERIN_BIN").map_or(built, PathBuf::from);
    assert!(binary.exists(), "no serin, run `make build`: {}", binary.display());
    let mut command = Command::new(binary);
    command.kill_on_drop(true);
    command
}

/// A running rollout. Drop kills it.
#[derive(Debug)]
pub struct RolloutProcess {
    child: Child,
    events: Arc<Mutex<Vec<Event>>>,
    listener: JoinHandle<()>,
}

/// An event with the time of its receipt.
pub type Event = (Instant, Value);

/// A rollout that has ended.
#[derive(Debug)]
pub struct RolloutResult {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// All events.
    pub events: Vec<Event>,
    /// Standard error.
    pub stderr: String,
}

impl RolloutProcess {
    /// Starts `serin run`. Writes the specification beside the filter's configuration, and passes
    /// additional arguments on.
    pub fn start(envoy: &Envoy, spec: &Spec, arguments: &[&str]) -> Self {
        let path = envoy.dir().join("rollout.yaml");
        std::fs::write(&path, spec.yaml()).expect("a specification");
        let mut command = serin();
        command.arg("run").arg(path).args(["--output", "json"]).args(arguments);
        Self::from_command(command)
    }

    /// The events that a command prints, one JSON object per line.
    pub(crate) fn from_command(mut command: Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("serin starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let events = Arc::new(Mutex::new(vec![]));
        let heard = events.clone();
        let listener = tokio::spawn(async move {
            while let Some(line) = lines.next_line().await.expect("serin writes UTF-8") {
                let event = serde_json::from_str(&line).expect("serin writes JSON");
                heard.lock().expect("a lock").push((Instant::now(), event));
            }
        });
        Self { child, events, listener }
    }

    /// The events so far.
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().expect("a lock").clone()
    }

    /// Waits for an event that `matches` and returns it.
    ///
    /// # Panics
    /// No such event arrives in time.
    pub async fn until(&self, what: &str, matches: impl Fn(&Value) -> bool) -> Event {
        until(TIMEOUT, what, async || {
            let events = self.events();
            match events.iter().find(|(_, event)| matches(event)) {
                Some(event) => Ok(event.clone()),
                // The printer has ended: all events are received.
                None if self.listener.is_finished() => panic!("serin has ended without {what}"),
                None => Err(events.last().cloned()),
            }
        })
        .await
    }

    /// Waits until the step with this number, from 1, is live.
    pub async fn until_live(&self, step: usize) -> Event {
        self.until(&format!("step {step} live"), |event| {
            event["event"] == "progress" && event["step"] == step && event["live"] == true
        })
        .await
    }

    /// Sends SIGINT, as Ctrl-C does.
    ///
    /// # Panics
    /// The rollout has ended.
    pub fn interrupt(&self) {
        let id = self.child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        kill_process(id.expect("serin runs"), Signal::INT).expect("a signal");
    }

    /// Waits for the end of the rollout.
    ///
    /// # Panics
    /// The rollout does not end in time.
    pub async fn end(mut self) -> RolloutResult {
        let status = timeout(TIMEOUT, self.child.wait()).await;
        let status = status.unwrap_or_else(|_| panic!("did not end: {:?}", self.events().last()));
        self.listener.await.expect("the listener does not panic");
        let mut stderr = String::new();
        let pipe = self.child.stderr.as_mut().expect("a pipe");
        pipe.read_to_string(&mut stderr).await.expect("serin writes UTF-8");
        let events = std::mem::take(&mut *self.events.lock().expect("a lock"));
        RolloutResult { code: status.expect("a child can be waited for").code(), events, stderr }
    }
}

impl RolloutResult {
    /// The events of this kind.
    pub fn all(&self, kind: &str) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(move |(_, event)| event["event"] == kind)
    }

    /// The final summary.
    ///
    /// # Panics
    /// There is no summary.
    pub fn summary(&self) -> &Value {
        let (_, summary) =
            self.all("ended").next().unwrap_or_else(|| panic!("no event `ended`: {self:?}"));
        summary
    }
}
