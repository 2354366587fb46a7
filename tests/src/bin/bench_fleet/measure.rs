//! The measurements of one fleet.

use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use serin_tests::figures::Measurements;
use serin_tests::{until, usage};

use crate::fleet::Fleet;
use crate::shape::Shape;

/// The time before the measurement: connections, caches and the allocator settle.
const WARM_UP: Duration = Duration::from_secs(3);

/// The limit from a command to its last acknowledgement.
const PUSHED: Duration = Duration::from_secs(60);

/// The results.
pub(crate) struct Measured {
    pub(crate) shape: Shape,
    /// Bytes of a statistics page.
    pub(crate) page: usize,
    /// CPU use in cores, second by second; `None` if only pushes are measured.
    pub(crate) cpu: Option<Measurements>,
    pub(crate) resident_kib: u64,
    /// Polls: the delay of their start, and their duration.
    pub(crate) lateness: Spans,
    pub(crate) duration: Spans,
    /// Milliseconds from a command to the last acknowledgement.
    pub(crate) pushes: Measurements,
}

/// A histogram of durations by upper bounds in seconds, as in Prometheus.
pub(crate) struct Spans(Vec<(f64, f64)>);

pub(crate) async fn measure(
    shape: Shape,
    statistics: &Value,
    time: Duration,
    pushes: u32,
) -> Measured {
    eprintln!("{} proxies in {} groups", shape.proxies, shape.groups);
    let fleet = Fleet::start(shape, statistics, pushes).await;
    tokio::time::sleep(WARM_UP).await;
    let before = fleet.metrics().await;
    let cpu = cpu(fleet.server.pid(), time).await;
    let after = fleet.metrics().await;
    let spans = |name: &str| Spans::of(&after, name).since(&Spans::of(&before, name));
    let pushes = pushes_of(&fleet, pushes).await;
    let page = serin_tests::http::get(shape.admin(0), "/stats").await.expect("a page");
    Measured {
        shape,
        page: page.body().len(),
        cpu: (!cpu.is_empty()).then(|| Measurements::new(cpu)),
        resident_kib: usage::resident_kib(fleet.server.pid()),
        lateness: spans("serin_poll_lateness_seconds"),
        duration: spans("serin_poll_duration_seconds"),
        pushes,
    }
}

/// Cores in use by the process, second by second.
async fn cpu(pid: u32, time: Duration) -> Vec<f64> {
    let mut cores = Vec::new();
    let end = Instant::now() + time;
    while Instant::now() < end {
        let (at, before) = (Instant::now(), usage::cpu_of_all(pid));
        tokio::time::sleep(Duration::from_secs(1)).await;
        let cpu = usage::cpu_of_all(pid) - before;
        cores.push(cpu.as_secs_f64() / at.elapsed().as_secs_f64());
    }
    cores
}

async fn pushes_of(fleet: &Fleet, pushes: u32) -> Measurements {
    let mut took = Vec::new();
    for push in 0..pushes {
        let group = push % fleet.shape.groups;
        let rollouts = fleet.rollouts().await;
        let service = crate::shape::service_name(group);
        let rollout = rollouts.iter().find(|it| it["service"] == service.as_str());
        let rollout = rollout.expect("a rollout of the group");
        let before = fleet.acknowledged(group).await["generation"].clone();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let ordered = now.expect("a clock after 1970").as_secs_f64();
        fleet.advance(rollout).await;
        let all = fleet.shape.members(group).count();
        let last = until(PUSHED, "every proxy has acknowledged it", async || {
            let newest = fleet.acknowledged(group).await;
            let done = newest["generation"] != before && newest["proxies"] == all;
            if done { Ok(newest["last"].as_f64().expect("a time")) } else { Err(newest) }
        })
        .await;
        took.push((last - ordered) * 1e3);
        // The next command needs a live step.
        until(PUSHED, "the step is live", async || {
            let rollouts = fleet.rollouts().await;
            let live = rollouts.iter().find(|it| it["id"] == rollout["id"]).cloned();
            if live.as_ref().is_some_and(|it| it["status"]["live"] == true) {
                Ok(())
            } else {
                Err(live)
            }
        })
        .await;
    }
    Measurements::new(took)
}

impl Spans {
    fn of(page: &str, name: &str) -> Self {
        let prefix = format!("{name}_bucket{{le=\"");
        let bucket = |line: &str| {
            let (boundary, count) = line.strip_prefix(&prefix)?.split_once("\"} ")?;
            Some((boundary.parse().ok()?, count.parse().ok()?))
        };
        Self(page.lines().filter_map(bucket).collect())
    }

    fn since(&self, before: &Self) -> Self {
        let counts = self.0.iter().zip(&before.0);
        Self(counts.map(|((boundary, now), (_, then))| (*boundary, now - then)).collect())
    }

    /// The quantile of this share in milliseconds, interpolated within its bucket; `None` if
    /// empty.
    pub(crate) fn quantile_ms(&self, share: f64) -> Option<f64> {
        let all = self.0.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
        let rank = all * share;
        let (mut lower, mut below) = (0.0, 0.0);
        for (upper, upto) in &self.0 {
            if *upto >= rank {
                let within = if upto > &below { (rank - below) / (upto - below) } else { 1.0 };
                let upper = if upper.is_finite() { *upper } else { lower };
                return Some((lower + (upper - lower) * within) * 1e3);
            }
            (lower, below) = (*upper, *upto);
        }
        None
    }
}
