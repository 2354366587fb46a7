//! The fixture: two versions of a service, an Envoy with the filter, and its statistics.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use serin_filter::bucket::Bucketing;
use serin_filter::stat::{self, Stat};
use serin_tests::{Answer, Call, Envoy, Load, LoadPlan, Protocol, Report, Setup, Upstream, until};

/// Deadline of a condition that is expected at once.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) v1: Upstream,
    pub(crate) v2: Upstream,
    pub(crate) envoy: Envoy,
}

impl World {
    /// The shipped bootstrap and these services, as generation 1.
    pub(crate) async fn new(services: Value) -> Self {
        Self::with(services, |setup| setup).await
    }

    /// The same with a changed bootstrap.
    pub(crate) async fn with(services: Value, change: impl FnOnce(Setup) -> Setup) -> Self {
        let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
        let setup = Setup::new(v1.address(), v2.address());
        let setup = change(setup.configuration(generation(1, &services)));
        Self { envoy: Envoy::start(&setup).await, v1, v2 }
    }

    pub(crate) fn call(&self, protocol: Protocol) -> Call {
        Call::new(self.envoy.listener(), protocol)
    }

    /// The response to an HTTP/1 call.
    pub(crate) async fn get(&self, change: impl FnOnce(Call) -> Call) -> Answer {
        change(self.call(Protocol::Http1)).send().await.expect("a response")
    }

    /// The upstream of this response.
    pub(crate) fn upstream_of(&self, answer: &Answer) -> &Upstream {
        match answer.version.as_deref() {
            Some("v1") => &self.v1,
            Some("v2") => &self.v2,
            other => panic!("no upstream is {other:?}"),
        }
    }

    /// This version serves the call over every protocol.
    pub(crate) async fn assert_version(&self, expected: &str, change: impl Fn(Call) -> Call) {
        for protocol in Protocol::ALL {
            let answer = change(self.call(protocol)).send().await.expect("a response");
            assert_eq!(answer.version.as_deref(), Some(expected), "{protocol:?}: {answer:?}");
        }
    }

    /// Replaces the configuration and waits for all workers.
    pub(crate) async fn configure(&self, number: u64, services: Value) {
        self.envoy.give(&generation(number, &services));
        self.envoy.until_live(number).await;
    }

    /// Sends this number of requests and waits for their outcomes.
    pub(crate) async fn load(
        &self,
        requests: u32,
        plan: impl FnOnce(LoadPlan) -> LoadPlan,
    ) -> Report {
        let plan = plan(LoadPlan::new(self.envoy.listener(), 200));
        let duration = Duration::from_secs(1) * requests / plan.rate;
        let load = Load::start(LoadPlan { max_duration: duration, ..plan });
        until(DEADLINE, "the load is over", async || match load.so_far().records().len() {
            ended if ended == requests as usize => Ok(()),
            ended => Err(ended),
        })
        .await;
        load.stop().await
    }

    /// The filter's counts for "shop", without histograms, are exactly these.
    pub(crate) async fn assert_counts(&self, expected: &[(&str, u64)]) {
        let expected = expected.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        until(DEADLINE, "the counts", async || {
            let counts = counts(&self.envoy.until_flushed().await, "shop");
            if counts == expected { Ok(()) } else { Err((counts, &expected)) }
        })
        .await;
    }

    /// One count for "shop", after a flush.
    pub(crate) async fn count(&self, name: &str) -> u64 {
        let counts = counts(&self.envoy.until_flushed().await, "shop");
        counts.get(name).copied().unwrap_or(0)
    }

    /// The sum of Envoy's statistics with this prefix.
    pub(crate) async fn sum(&self, prefix: &str) -> u64 {
        let stats = self.envoy.stats().await;
        stats.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, value)| value).sum()
    }

    /// The filter has never trapped.
    pub(crate) async fn assert_no_trap(&self) {
        assert_eq!(self.sum("wasm.serin.vm_reload").await, 0, "{}", self.envoy.log());
    }
}

/// The filter's counts for a service, by names such as "v2 chosen header". Zero counts are absent.
pub(crate) fn counts(stats: &BTreeMap<String, u64>, service: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for (name, count) in stats {
        let Some(name) = name.strip_prefix("wasmcustom.") else { continue };
        if let Some((_, version, stat)) = Stat::parse(name).filter(|parsed| parsed.0 == service) {
            let name = match stat {
                Stat::LatencyBucket(_) | Stat::FirstByteBucket(_) => continue,
                Stat::Chosen(reason) => format!("chosen {}", reason.label()),
                Stat::Failures(failure) => format!("failures {}", failure.label()),
                Stat::Responses(class) => format!("responses {class}xx"),
                Stat::Misrouted => "misrouted".to_owned(),
                Stat::Unmatched => "unmatched".to_owned(),
                Stat::Requests => "requests".to_owned(),
                Stat::Cancelled => "cancelled".to_owned(),
                Stat::Overdue => "overdue".to_owned(),
                Stat::Unreadable => "unreadable".to_owned(),
                Stat::LocalReplies => "local_replies".to_owned(),
                Stat::Pinned => "pinned".to_owned(),
                Stat::PinnedFailures => "pinned_failures".to_owned(),
            };
            counts.insert(format!("{version} {name}"), *count);
        } else if name == stat::of_service(&service.parse().expect("a name"), stat::BYPASSED) {
            counts.insert("bypassed".to_owned(), *count);
        }
    }
    counts
}

/// A configuration of this generation.
pub(crate) fn generation(number: u64, services: &Value) -> String {
    json!({"schema": 1, "generation": number, "services": services}).to_string()
}

/// The service "shop" for all authorities, with half of the buckets on v2 and `x-user-id` as the
/// sticky key. `fields` replace the defaults.
pub(crate) fn shop(fields: Value) -> Value {
    let mut service = json!({
        "name": "shop", "authorities": ["*"], "salt": SALT, "sticky": [{"header": "x-user-id"}],
        "versions": [{"name": "v1", "cluster": "shop-v1"}, {"name": "v2", "cluster": "shop-v2"}],
        "buckets": [{"version": "v2", "count": 500_000}, {"version": "v1", "count": 500_000}],
    });
    let fields = fields.as_object().expect("fields").clone();
    service.as_object_mut().expect("an object").extend(fields);
    service
}

/// The service "shop" only.
pub(crate) fn only_shop(fields: Value) -> Value {
    json!([shop(fields)])
}

/// All buckets on this version.
pub(crate) fn all(version: &str) -> Value {
    json!([{"version": version, "count": 1_000_000}])
}

const SALT: &str = "filter";

/// The expected version of an identity at an even split.
pub(crate) fn version_of(identity: &[u8]) -> &'static str {
    if Bucketing::new(SALT).bucket(identity) < 500_000 { "v2" } else { "v1" }
}

/// This number of identities of v1, then as many of v2.
pub(crate) fn identities(users: usize) -> impl Iterator<Item = (String, &'static str)> {
    ["v1", "v2"].into_iter().flat_map(move |version| {
        let all = (0..).map(|n| format!("identity-{n}"));
        all.filter(move |user| version_of(user.as_bytes()) == version)
            .take(users)
            .map(move |user| (user, version))
    })
}
