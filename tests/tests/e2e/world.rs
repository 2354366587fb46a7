//! Two versions, an Envoy in front of them, and load.

use std::time::Duration;

use serin_tests::{Call, Envoy, Load, LoadPlan, Protocol, Report, Setup, Spec, Upstream};

/// Requests per second of a test's load: plenty for a verdict, and little for two shared cores.
pub(crate) const RATE: u32 = 300;

const TOKEN: &str = "a-secret-of-the-tests";

/// Fields of `spec` by which requests can ask for v2.
pub(crate) const PREVIEW: [&str; 2] =
    ["override: { header: x-version }", "trust: { token: a-secret-of-the-tests }"];

pub(crate) struct World {
    pub(crate) v1: Upstream,
    pub(crate) v2: Upstream,
    pub(crate) envoy: Envoy,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|setup| setup).await
    }

    /// A world whose bootstrap is changed.
    pub(crate) async fn with(change: impl FnOnce(Setup) -> Setup) -> Self {
        let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
        let envoy = Envoy::start(&change(Setup::new(v1.address(), v2.address()))).await;
        Self { v1, v2, envoy }
    }

    pub(crate) fn plan(&self) -> LoadPlan {
        LoadPlan::new(self.envoy.listener(), RATE)
    }

    pub(crate) fn load(&self) -> Load {
        Load::start(self.plan())
    }

    /// Asks for v2 by the header and the secret of [`PREVIEW`], this number of times.
    pub(crate) async fn preview(&self, times: u32) {
        for _ in 0..times {
            let call = Call::new(self.envoy.listener(), Protocol::Http1);
            let answer = call.header("x-version", format!("v2:{TOKEN}")).send().await;
            assert_eq!(answer.expect("a response").version.as_deref(), Some("v2"));
        }
    }

    /// 5 %, then 50 % for long enough to detect a fault, then 100 %.
    pub(crate) fn spec(&self) -> Spec {
        let seconds = Duration::from_secs;
        Spec::new(&self.envoy).step("5%", seconds(3), 20).step("50%", seconds(10), 100).step(
            "100%",
            seconds(3),
            100,
        )
    }

    /// Every request to the healthy version succeeded, and only requests that met a fault failed.
    pub(crate) fn assert_only_faults_failed(&self, report: &Report) {
        let v1 = report.tally(Some("v1"));
        assert_eq!(v1.failures, 0, "v1 is healthy");
        assert_eq!(v1.requests as u64, self.v1.stats().requests, "all of v1's responses arrived");
        let faults = self.v2.stats().faults;
        let failures = report.total().failures as u64;
        assert!(failures <= faults, "{failures} requests failed, but only {faults} met a fault");
    }
}
