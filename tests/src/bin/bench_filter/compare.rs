//! Compares all subjects: CPU per request, latency, memory.

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use serin_tests::figures::Measurements;
use serin_tests::{Envoy, until, usage};

use crate::backend::Backend;
use crate::load::{Callers, Clients, Pace, Sample};
use crate::subject::Subject;

/// Load before the measurement: connections, caches and the VM's compiler settle.
const WARM_UP: Duration = Duration::from_secs(2);

struct SubjectRunner {
    subject: Subject,
    envoy: Envoy,
    clients: Clients,
    /// By round, in microseconds of CPU per request.
    cpu: Vec<f64>,
    /// By round, in milliseconds.
    p50: Vec<f64>,
    p99: Vec<f64>,
    requests: usize,
}

/// The results of one subject.
struct Row {
    subject: Subject,
    cpu: Measurements,
    /// The difference to no filter, by round.
    added: Measurements,
    p50: Measurements,
    p99: Measurements,
    resident_kib: u64,
    linear_kib: Vec<u64>,
    requests: usize,
}

pub(crate) struct Comparison {
    rows: Vec<Row>,
    rate: u32,
    module: Module,
}

struct Module {
    bytes: u64,
    gzipped: u64,
}

/// Parameters of the measurement.
pub(crate) struct BenchmarkPlan {
    pub(crate) rounds: u32,
    /// The length of each visit, once for CPU and once for latency.
    pub(crate) visit: Duration,
    /// Requests per second of the CPU measurement; 0: as many as Envoy can serve.
    pub(crate) cpu_rate: u32,
    /// Requests per second of the latency measurement.
    pub(crate) rate: u32,
    /// Other builds of the module.
    pub(crate) others: Vec<String>,
}

/// Visits every subject in every round.
pub(crate) async fn run(plan: &BenchmarkPlan) -> Comparison {
    let BenchmarkPlan { rounds, visit, cpu_rate, rate, .. } = *plan;
    let others = plan.others.iter().map(|name| Subject::Other(name.clone().leak()));
    let (v1, v2) = (Backend::start("v1").await, Backend::start("v2").await);
    let mut runners = Vec::new();
    for subject in Subject::ALL.into_iter().chain(others) {
        eprintln!("starting: {}", subject.name());
        let envoy = subject.start([&v1, &v2], 1).await;
        let mut clients = Clients::connect(envoy.listener()).await;
        until_it_splits(subject, &mut clients).await;
        clients.send(Pace::Saturate, Callers::OneService, WARM_UP).await;
        let (cpu, p50, p99) = (vec![], vec![], vec![]);
        runners.push(SubjectRunner { subject, envoy, clients, cpu, p50, p99, requests: 0 });
    }
    let pace = if cpu_rate == 0 { Pace::Saturate } else { Pace::Rate(cpu_rate) };
    let mut command: Vec<usize> = (0..runners.len()).collect();
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        fastrand::shuffle(&mut command);
        for index in &command {
            runners[*index].visit(pace, rate, visit).await;
        }
    }
    Comparison { rows: rows(&runners), rate, module: module() }
}

/// Waits until the subject splits as its name says.
async fn until_it_splits(subject: Subject, clients: &mut Clients) {
    let expected = match subject {
        Subject::Filter(percent) => f64::from(percent) / 100.0,
        _ => 0.1,
    };
    until(Duration::from_secs(20), "the weights are in force", async || {
        let time = Duration::from_millis(300);
        let samples = clients.send(Pace::Saturate, Callers::OneService, time).await;
        let of_v2 = samples.iter().filter(|sample| sample.version == Some(*b"v2")).count();
        let share = of_v2 as f64 / samples.len() as f64;
        if (share - expected).abs() <= 0.05 && (share > 0.0) == (expected > 0.0) {
            Ok(())
        } else {
            Err(share)
        }
    })
    .await;
}

impl SubjectRunner {
    async fn visit(&mut self, pace: Pace, rate: u32, time: Duration) {
        let pid = self.envoy.pid();
        let before = usage::cpu(pid);
        let samples = self.clients.send(pace, Callers::OneService, time).await;
        let cpu = usage::cpu(pid) - before;
        self.cpu.push(cpu.as_secs_f64() * 1e6 / samples.len() as f64);
        self.enter(&samples);

        let samples = self.clients.send(Pace::Rate(rate), Callers::OneService, time).await;
        let latencies = samples.iter().map(|sample| sample.latency.as_secs_f64() * 1e3).collect();
        let latencies = Measurements::new(latencies);
        self.p50.push(latencies.median());
        self.p99.push(latencies.quantile(0.99));
        self.enter(&samples);
    }

    fn enter(&mut self, samples: &[Sample]) {
        self.requests += samples.len();
        let failed = samples.iter().filter(|sample| sample.version.is_none()).count();
        assert_eq!(failed, 0, "requests without a response from {}", self.subject.name());
    }
}

fn rows(runners: &[SubjectRunner]) -> Vec<Row> {
    let native = &runners[0].cpu;
    let row = |runner: &SubjectRunner| Row {
        subject: runner.subject,
        cpu: Measurements::new(runner.cpu.clone()),
        added: Measurements::new(
            runner.cpu.iter().zip(native).map(|(cpu, native)| cpu - native).collect(),
        ),
        p50: Measurements::new(runner.p50.clone()),
        p99: Measurements::new(runner.p99.clone()),
        resident_kib: usage::resident_kib(runner.envoy.pid()),
        linear_kib: usage::linear_memories_kib(runner.envoy.pid()),
        requests: runner.requests,
    };
    runners.iter().map(row).collect()
}

fn module() -> Module {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/serin.wasm");
    let bytes = std::fs::metadata(&path).expect("the module, of `make wasm`").len();
    let gzip = Command::new("gzip").arg("-9c").arg(&path).stderr(Stdio::inherit()).output();
    let gzipped = gzip.expect("gzip").stdout.len() as u64;
    Module { bytes, gzipped }
}

impl Comparison {
    fn added(&self, subject: Subject) -> &Measurements {
        &self
            .rows
            .iter()
            .find(|row| row.subject == subject)
            .expect("the subject was measured")
            .added
    }

    pub(crate) fn table(&self) -> String {
        let empty = self.added(Subject::Empty).median();
        let mut text = format!(
            "{:30} {:>24} {:>22} {:>8} {:>24} {:>22}\n",
            "",
            "CPU of a request, us",
            "added, us",
            "x empty",
            format!("p50 at {}/s, ms", self.rate),
            "p99, ms"
        );
        for row in &self.rows {
            let ratio = row.added.median() / empty;
            writeln!(
                text,
                "{:30} {:>24} {:>22} {:>8.2} {:>24} {:>22}",
                row.subject.name(),
                row.cpu.show(1),
                row.added.show(1),
                ratio,
                row.p50.show(2),
                row.p99.show(2),
            )
            .expect("a string accepts all writes");
        }
        let native = self.rows[0].resident_kib;
        text.push_str(
            "\nMemory after the run (Envoy has two VMs: the worker's and the main thread's)\n",
        );
        for row in &self.rows {
            let (name, resident) = (row.subject.name(), row.resident_kib);
            let more = resident as i64 - native as i64;
            let linear = &row.linear_kib;
            writeln!(
                text,
                "{name:30} resident {resident} KiB ({more:+}), linear memories {linear:?} KiB"
            )
            .expect("a string accepts all writes");
        }
        let Module { bytes, gzipped } = self.module;
        writeln!(text, "\nModule: {bytes} bytes, {gzipped} gzipped")
            .expect("a string accepts all writes");
        text
    }

    pub(crate) fn json(&self) -> Value {
        let empty = self.added(Subject::Empty).median();
        let row = |row: &Row| {
            json!({
                "subject": row.subject.name(),
                "cpuPerRequestUs": row.cpu.json(),
                "addedCpuPerRequestUs": row.added.json(),
                "addedToThatOfTheEmptyFilter": row.added.median() / empty,
                "p50Ms": row.p50.json(),
                "p99Ms": row.p99.json(),
                "residentKib": row.resident_kib,
                "linearMemoriesKib": row.linear_kib,
                "requests": row.requests,
            })
        };
        json!({
            "subjects": self.rows.iter().map(row).collect::<Vec<_>>(),
            "latencyRate": self.rate,
            "module": { "bytes": self.module.bytes, "gzipped": self.module.gzipped },
        })
    }
}
