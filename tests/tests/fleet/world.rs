//! Two versions, several Envoys in front of them, and load at each.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use serin_tests::{Envoy, Load, LoadPlan, Report, RolloutResult, Setup, Spec, Upstream, until};

/// Requests per second at each Envoy.
const RATE: u32 = 100;

/// From the end of a rollout to the last Envoy's report of it.
const TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) v2: Upstream,
    _v1: Upstream,
    pub(crate) envoys: Vec<Envoy>,
}

impl World {
    /// This number of Envoys, which follow the first one's file.
    pub(crate) async fn new(envoys: usize) -> Self {
        let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
        let setup = Setup::new(v1.address(), v2.address()).workers(1);
        let mut all = vec![Envoy::start(&setup).await];
        while all.len() < envoys {
            let setup = setup.clone().follow(&all[0]);
            all.push(Envoy::start(&setup).await);
        }
        Self { v2, _v1: v1, envoys: all }
    }

    pub(crate) fn load(&self) -> Vec<Load> {
        let plan = |envoy: &Envoy| LoadPlan::new(envoy.listener(), RATE);
        self.envoys.iter().map(|envoy| Load::start(plan(envoy))).collect()
    }

    pub(crate) fn admins(&self) -> Vec<SocketAddr> {
        self.envoys.iter().map(Envoy::admin).collect()
    }

    /// A rollout by the admin interfaces of these Envoys.
    pub(crate) fn spec(&self) -> Spec {
        let quoted: Vec<_> = self.admins().iter().map(|admin| format!("'{admin}'")).collect();
        let addresses = quoted.join(", ");
        Spec::new(&self.envoys[0]).evidence(format!("proxies: {{ addresses: [{addresses}] }}"))
    }

    /// Every Envoy runs the last split of the rollout.
    pub(crate) async fn assert_all_follow(&self, ended: &RolloutResult) {
        let generation = ended.summary()["generation"].as_u64();
        for envoy in &self.envoys {
            until(TIMEOUT, "the last generation", async || {
                let running = envoy.stat("wasmcustom.serin.generation").await;
                if running == generation { Ok(()) } else { Err((running, generation)) }
            })
            .await;
        }
    }
}

pub(crate) async fn stop(loads: Vec<Load>) -> Vec<Report> {
    let mut reports = Vec::new();
    for load in loads {
        reports.push(load.stop().await);
    }
    reports
}

/// A blocker of this kind.
pub(crate) fn kind<'e>(kind: &'e str) -> impl Fn(&Value) -> bool + 'e {
    move |event| event["blocker"]["kind"] == kind
}

pub(crate) fn message(event: &Value) -> &str {
    event["message"].as_str().expect("a message")
}
