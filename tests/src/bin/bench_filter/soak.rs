//! Steady load and a new generation every second, for a long time.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use serin_tests::{Envoy, http, until, usage};

use crate::backend::Backend;
use crate::load::{Callers, Clients, Pace, Sample};
use crate::subject::{Subject, configuration};

const GENERATION: Duration = Duration::from_secs(1);

/// Seconds after which every statistic of the load exists.
const SETTLED: u32 = 30;

/// Weights of the candidate in successive generations.
const WEIGHTS_PPM: [u32; 6] = [0, 10_000, 100_000, 500_000, 990_000, 250_000];

/// The resources that must not grow.
struct State {
    resident_kib: u64,
    linear_kib: Vec<u64>,
    statistics: usize,
}

pub(crate) struct Soak {
    time: Duration,
    requests: usize,
    failed: usize,
    generations: u64,
    updates: u64,
    first: State,
    last: State,
    /// By version: the upstream's responses, and the filter's count.
    accounts: Vec<(&'static str, u64, u64)>,
}

pub(crate) async fn run(minutes: u32, rate: u32) -> Soak {
    let time = Duration::from_secs(60) * minutes;
    let versions = [Backend::start("v1").await, Backend::start("v2").await];
    let envoy = Subject::Filter(10).start([&versions[0], &versions[1]], 2).await;
    let mut clients = Clients::connect(envoy.listener()).await;
    until(Duration::from_secs(20), "the filter is loaded", async || {
        let counts = statistics(&envoy).await;
        if counts.get("wasmcustom.serin.generation") == Some(&1) {
            Ok(())
        } else {
            Err(counts.len())
        }
    })
    .await;

    let start = Instant::now();
    let load = clients.send(Pace::Rate(rate), Callers::AllServices, time);
    let rollout = async {
        let mut first = None;
        let mut generation = 1;
        while start.elapsed() + GENERATION < time {
            tokio::time::sleep(GENERATION).await;
            generation += 1;
            let weight = WEIGHTS_PPM[generation as usize % WEIGHTS_PPM.len()];
            envoy.give(&configuration(generation, Some(weight)));
            if generation == u64::from(SETTLED) {
                first = Some(State::of(&envoy).await);
            }
            if generation % 60 == 0 {
                let state = State::of(&envoy).await;
                eprintln!("{:?}: generation {generation}, {}", start.elapsed(), state.show());
            }
        }
        (generation, first.expect("longer than a minute"))
    };
    let (samples, (generations, first)) = tokio::join!(load, rollout);

    let answered = versions.each_ref().map(Backend::answered);
    let counted = until_counted(&envoy, answered).await;
    let updates = statistics(&envoy).await;
    let updates = updates.iter().find(|(name, _)| name.ends_with("serin.update_success"));
    Soak {
        time,
        requests: samples.len(),
        failed: failed(&samples),
        generations,
        updates: updates.map_or(0, |(_, count)| *count),
        first,
        last: State::of(&envoy).await,
        accounts: vec![("v1", answered[0], counted[0]), ("v2", answered[1], counted[1])],
    }
}

fn failed(samples: &[Sample]) -> usize {
    samples.iter().filter(|sample| sample.version.is_none()).count()
}

/// The filter's count for each version, once it equals the responses or the time is over.
async fn until_counted(envoy: &Envoy, answered: [u64; 2]) -> [u64; 2] {
    let give_up = Instant::now() + Duration::from_secs(5);
    until(Duration::from_secs(10), "the filter has counted all responses", async || {
        let counts = statistics(envoy).await;
        let counted = ["v1", "v2"].map(|version| {
            let end = format!("version=.={version};.;requests");
            counts.iter().filter(|(name, _)| name.ends_with(&end)).map(|(_, count)| count).sum()
        });
        if counted == answered || Instant::now() > give_up { Ok(counted) } else { Err(counted) }
    })
    .await
}

/// All counters and gauges of an Envoy.
async fn statistics(envoy: &Envoy) -> BTreeMap<String, u64> {
    let page = http::get(envoy.admin(), "/stats?format=json").await.expect("the admin interface");
    let page: Value = serde_json::from_slice(page.body()).expect("JSON");
    let stats = page["stats"].as_array().expect("statistics");
    let stat = |stat: &Value| Some((stat["name"].as_str()?.to_owned(), stat["value"].as_u64()?));
    stats.iter().filter_map(stat).collect()
}

impl State {
    async fn of(envoy: &Envoy) -> Self {
        Self {
            resident_kib: usage::resident_kib(envoy.pid()),
            linear_kib: usage::linear_memories_kib(envoy.pid()),
            // A latency bucket exists from its first request on: the number of buckets, which is
            // bounded, depends on the traffic.
            statistics: {
                let all = statistics(envoy).await;
                all.keys().filter(|name| !name.ends_with("_ms_bucket")).count()
            },
        }
    }

    fn show(&self) -> String {
        let Self { resident_kib, linear_kib, statistics } = self;
        format!(
            "{resident_kib} KiB resident, linear memories {linear_kib:?} KiB, {statistics} statistics without buckets"
        )
    }

    fn json(&self) -> Value {
        json!({
            "residentKib": self.resident_kib,
            "linearMemoriesKib": self.linear_kib,
            "statistics": self.statistics,
        })
    }
}

impl Soak {
    /// Whether no request failed, no count was lost and no VM's memory grew.
    pub(crate) fn is_clean(&self) -> bool {
        self.failed == 0
            && self.accounts.iter().all(|(_, answered, counted)| answered == counted)
            // A VM with little load reaches the size of the others late.
            && self.last.linear_kib.iter().max() <= self.first.linear_kib.iter().max()
            && self.first.statistics == self.last.statistics
    }

    pub(crate) fn table(&self) -> String {
        let mut text = format!(
            "{} requests in {:?}, {} failed; {} generations given, {} taken\n",
            self.requests, self.time, self.failed, self.generations, self.updates
        );
        for (when, state) in [("first", &self.first), ("last", &self.last)] {
            writeln!(text, "{when:5}: {}", state.show()).expect("a string accepts all writes");
        }
        for (version, answered, counted) in &self.accounts {
            writeln!(text, "{version}: answered {answered}, the filter counted {counted}")
                .expect("a string accepts all writes");
        }
        text
    }

    pub(crate) fn json(&self) -> Value {
        let account = |(version, answered, counted): &(&str, u64, u64)| json!({ "version": version, "answered": answered, "counted": counted });
        json!({
            "seconds": self.time.as_secs(),
            "requests": self.requests,
            "failed": self.failed,
            "generationsGiven": self.generations,
            "generationsTaken": self.updates,
            "first": self.first.json(),
            "last": self.last.json(),
            "accounts": self.accounts.iter().map(account).collect::<Vec<_>>(),
        })
    }
}
