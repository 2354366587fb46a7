//! A simulated proxy: its configuration and its counters.

use std::fmt::Write;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use serin_filter::config::Config;

/// The flush interval of a real filter.
const TICK: Duration = Duration::from_millis(200);

/// Number of threads of a proxy: its workers and its main thread.
const THREADS: u64 = 3;

/// Requests per second at each proxy.
const RATE: f64 = 20.0;

/// The statistics page as a template of its variable numbers.
#[derive(Debug)]
pub(crate) struct Template {
    /// Each number with the text before it.
    parts: Vec<(String, Number)>,
}

#[derive(Clone, Copy, Debug)]
enum Number {
    Generation,
    Started,
    Ticks,
    /// A counter that rises by `each` with each request of a version.
    Counter {
        version: usize,
        each: f64,
    },
    Fixed(u64),
}

impl Template {
    /// The captured page, for a service of this name.
    pub(crate) fn new(captured: &Value, service: &str) -> Self {
        let stats = captured.as_array().expect("a list");
        let value = |name: &str| {
            let found = stats.iter().find(|stat| stat["name"] == name);
            found.and_then(|stat| stat["value"].as_u64()).expect("a captured statistic")
        };
        let version = |name: &str| {
            ["v1", "v2"].iter().position(|it| name.contains(&format!("version=.={it};")))
        };
        let requests = ["v1", "v2"].map(|it| {
            value(&format!("wasmcustom.serin.service=.=shop;.;version=.={it};.;requests")) as f64
        });
        let mut before = "{\"stats\":[".to_owned();
        let mut parts = Vec::new();
        for stat in stats {
            let (Some(name), Some(value)) = (stat["name"].as_str(), stat["value"].as_u64()) else {
                continue;
            };
            let number = match (name.strip_prefix("wasmcustom.serin."), version(name)) {
                (Some("generation"), _) => Number::Generation,
                (Some("start_time_seconds"), _) => Number::Started,
                (Some("ticks"), _) => Number::Ticks,
                (Some("ticks_behind"), _) => Number::Fixed(0),
                (Some(name), Some(version)) if !name.ends_with("tripped") => {
                    Number::Counter { version, each: value as f64 / requests[version] }
                }
                _ => Number::Fixed(value),
            };
            let name = name.replace("service=.=shop;", &format!("service=.={service};"));
            write!(before, "{{\"name\":\"{name}\",\"value\":")
                .expect("a string accepts all writes");
            parts.push((std::mem::replace(&mut before, "},".to_owned()), number));
        }
        Self { parts }
    }
}

/// The variable state of a proxy.
#[derive(Debug)]
pub(crate) struct State {
    generation: u64,
    /// The candidate's share, 0 to 1.
    share: f64,
    began: Instant,
    /// Seconds since 1970.
    started: u64,
    /// Requests of each version at the last change of the share, and the time of that change.
    then: ([f64; 2], Instant),
}

impl State {
    pub(crate) fn new() -> Self {
        let (now, started) = (Instant::now(), SystemTime::UNIX_EPOCH.elapsed());
        let started = started.expect("a clock after 1970").as_secs();
        Self { generation: 0, share: 0.0, began: now, started, then: ([0.0; 2], now) }
    }

    /// Applies a configuration. Returns `false` if it is not new: a reconnecting proxy receives it
    /// again.
    pub(crate) fn configure(&mut self, config: &Config) -> bool {
        if self.generation == config.generation.0 {
            return false;
        }
        let now = Instant::now();
        self.then = (self.requests(now), now);
        self.generation = config.generation.0;
        let table = config.services.first().and_then(|service| service.table());
        self.share = table.map_or(0.0, |table| f64::from(table.weight(1).ppm()) / 1e6);
        true
    }

    fn requests(&self, now: Instant) -> [f64; 2] {
        let (then, at) = self.then;
        let more = RATE * now.duration_since(at).as_secs_f64();
        [then[0] + more * (1.0 - self.share), then[1] + more * self.share]
    }

    /// The page at the last tick.
    pub(crate) fn render(&self, template: &Template, page: &mut String) {
        let ticks = self.began.elapsed().as_millis() / TICK.as_millis();
        let ticks = u64::try_from(ticks).expect("a shorter run");
        let at = self.began + TICK * u32::try_from(ticks).expect("a shorter run");
        let requests = self.requests(at.max(self.then.1)).map(f64::floor);
        for (before, number) in &template.parts {
            page.push_str(before);
            let number = match *number {
                Number::Generation => self.generation,
                Number::Started => self.started,
                Number::Ticks => ticks * THREADS,
                Number::Counter { version, each } => (requests[version] * each).floor() as u64,
                Number::Fixed(value) => value,
            };
            write!(page, "{number}").expect("a string accepts all writes");
        }
        page.push_str("}]}");
    }
}
