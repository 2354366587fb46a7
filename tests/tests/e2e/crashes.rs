//! `serin serve` killed repeatedly, at any time: no step is lost, skipped or repeated.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use serin_tests::{Fault, Load, LoadPlan, Server, Spec, http, serin, text, until};
use tokio::time::sleep;

use crate::world::World;

/// Kills before a rollout may end undisturbed.
const KILLS: u32 = 15;

/// A rollout of short steps with a server that is killed repeatedly; returns its events.
async fn with_repeated_kills(world: &World) -> (Option<i32>, Vec<Value>) {
    let step = Duration::from_millis(1_500);
    let spec = Spec::new(&world.envoy).interval(Duration::from_millis(200)).without_tripwire();
    let spec = spec.step("20%", step, 20).step("50%", step, 20).step("100%", step, 20);
    let mut server = Server::start(world.envoy.dir()).await;
    server.apply(&spec).await;
    for _ in 0..KILLS {
        sleep(Duration::from_millis(fastrand::u64(20..700))).await;
        let phase = server.status("shop").await["phase"].take();
        server.kill().await;
        server = Server::start(world.envoy.dir()).await;
        if phase == "ended" {
            break;
        }
    }
    server.watch("shop").await
}

fn numbers(events: &[Value], kind: &str, field: &str) -> Vec<u64> {
    let of_kind = events.iter().filter(|event| event["event"] == kind);
    of_kind.map(|event| event[field].as_u64().unwrap_or(0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_candidate_is_promoted() {
    let world = World::new().await;
    let load = world.load();
    let (code, events) = with_repeated_kills(&world).await;
    assert_eq!(code, Some(0), "{:?}", events.last());
    load.stop().await.assert_none_failed();
    // Each step once, and each with the next generation.
    assert_eq!(numbers(&events, "shifting", "step"), [1, 2, 3]);
    assert_eq!(numbers(&events, "gateOpened", "step"), [1, 2, 3]);
    assert_eq!(numbers(&events, "shifting", "generation"), [1, 2, 3]);
    assert_eq!(world.envoy.weight_of_v2(), 1_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_candidate_is_rolled_back() {
    let world = World::new().await;
    let load = world.load();
    world.v2.set_faults([Fault::errors(0.5)]);
    let (code, events) = with_repeated_kills(&world).await;
    world.assert_only_faults_failed(&load.stop().await);
    assert_eq!(code, Some(3), "{:?}", events.last());
    assert_eq!(numbers(&events, "rollingBack", "none").len(), 1);
    assert!(numbers(&events, "gateOpened", "step").is_empty());
    assert_eq!(world.envoy.weight_of_v2(), 0);
}

/// Kills per `make test`; `make bench-crash` has more.
const CRASHES: u32 = 30;

/// Operations of a server that must not be lost or repeated: parts of a transaction of the store,
/// its end, and the rename of the split.
const CALLS: [&str; 3] = ["pwrite64", "fdatasync", "rename"];

/// The moment of a run's kill.
#[derive(Debug)]
enum Kill {
    /// At the n-th call of this name in a thread.
    At(&'static str, u32),
    After(Duration),
}

impl Kill {
    /// The kill of the run with this number. All runs together cover each of the first calls of a
    /// rollout.
    fn of(run: u32) -> Self {
        match run % 4 {
            kind if kind > 0 && Server::has_tracer() => {
                Self::At(CALLS[kind as usize - 1], 1 + run / 4)
            }
            _ => Self::After(Duration::from_millis(fastrand::u64(0..4_000))),
        }
    }

    /// Runs a server until it is killed, or the rollout ends.
    async fn strike(&self, directory: &Path) {
        let server = match self {
            Self::At(call, n) => Server::killed_at(directory, call, *n).await,
            Self::After(_) => Some(Server::start(directory).await),
        };
        let Some(mut server) = server else { return };
        // The kill may come before the answer.
        let path = directory.join("serin.yaml");
        server.serin(&["apply", &path.display().to_string()]).await;
        let end = Instant::now() + if let Self::After(time) = self { *time } else { TIMEOUT };
        while !server.is_over() && Instant::now() < end {
            let view = server.serin(&["status", "shop", "--output", "json"]).await;
            if text(&view.stdout).contains("\"phase\":\"ended\"") {
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
        server.kill().await;
    }
}

/// The longest time of a rollout in this test.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Consecutive rollouts, each of which survives a kill of the server; every fourth has a fault and
/// is rolled back.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_killed_at_any_write_ends_as_without_the_kill() {
    let crashes = std::env::var("SERIN_CRASHES").map_or(CRASHES, |n| n.parse().expect("a number"));
    let world = World::new().await;
    let load = Load::start(LoadPlan { max_duration: TIMEOUT * crashes, ..world.plan() });
    let directory = world.envoy.dir();
    let mut v2_serves = false;
    for run in 0..crashes {
        let kill = Kill::of(run);
        let bad = run % 5 == 4;
        let step = Duration::from_millis(700);
        let spec = Spec::new(&world.envoy).interval(Duration::from_millis(200)).without_tripwire();
        let spec = spec.step("50%", step, 20).step("100%", step, 20);
        let spec = if v2_serves { spec.next_release() } else { spec };
        let candidate = if v2_serves { &world.v1 } else { &world.v2 };
        candidate.set_faults(bad.then(|| Fault::errors(0.6)));
        let before = world.envoy.generation();
        std::fs::write(directory.join("serin.yaml"), spec.yaml()).expect("a specification");
        kill.strike(directory).await;
        let server = Server::start(directory).await;
        let number = (run + 1).to_string();
        // The kill may have come before the server accepted the rollout.
        if !server.serin(&["status", &number]).await.status.success() {
            server.ok(&["apply", &directory.join("serin.yaml").display().to_string()]).await;
        }
        let (code, events) = server.watch(&number).await;
        server.kill().await;
        candidate.set_faults([]);
        let context = format!("run {run}, {kill:?}: {events:?}");
        assert_eq!(code, Some(if bad { 3 } else { 0 }), "{context}");
        let gates = numbers(&events, "gateOpened", "step");
        let shifts = numbers(&events, "shifting", "generation");
        let expected: Vec<u64> = (before + 1..).take(shifts.len()).collect();
        assert_eq!(shifts, expected, "each split once, each a generation: {context}");
        assert_eq!(
            numbers(&events, "ended", "generation"),
            shifts[shifts.len() - 1..],
            "{context}"
        );
        if bad {
            assert!(gates.is_empty() && shifts.len() == 2, "{context}");
        } else {
            assert_eq!((gates, shifts.len()), (vec![1, 2], 2), "{context}");
            v2_serves = !v2_serves;
        }
        let expected = if v2_serves { 1_000_000 } else { 0 };
        assert_eq!(world.envoy.weight_of_v2(), expected, "{context}");
        assert_eq!(world.envoy.generation(), shifts[shifts.len() - 1], "{context}");
        println!("run {run}: {kill:?}, {}", if bad { "rolled back" } else { "promoted" });
    }
    let report = load.stop().await;
    let faults = world.v1.stats().faults + world.v2.stats().faults;
    assert!(report.total().failures as u64 <= faults, "only faults failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_leaves_weights_and_store_to_its_successor() {
    let world = World::new().await;
    let load = world.load();
    let hour = Duration::from_secs(3_600);
    let server = Server::start(world.envoy.dir()).await;
    server.apply(&Spec::new(&world.envoy).step("50%", hour, 10).step("100%", hour, 10)).await;
    let second = server.second().await;
    assert_eq!(second.status.code(), Some(1));
    let error = text(&second.stderr);
    assert!(error.ends_with("serin.db: another serin has this store\n"), "{error}");
    sleep(Duration::from_secs(2)).await;
    assert_eq!(server.stop().await, Some(0));
    assert_eq!(world.envoy.weight_of_v2(), 500_000);
    let server = Server::start(world.envoy.dir()).await;
    server.ok(&["abort", "shop"]).await;
    assert_eq!(server.watch("shop").await.0, Some(4));
    load.stop().await.assert_none_failed();
}

/// Ample for a store, but less than a long rollout needs.
const LITTLE_KIB: u32 = 600;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_store_stops_progress_but_no_rollback() {
    let world = World::new().await;
    let load = world.load();
    let server = Server::limited(world.envoy.dir(), LITTLE_KIB).await;
    let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3_600));
    let spec = Spec::new(&world.envoy).interval(Duration::from_millis(100)).without_tripwire();
    server
        .apply(&spec.step("20%", hour, 20).step("50%", second, 20).step("100%", second, 20))
        .await;
    until(Duration::from_secs(60), "the store to be full", async || {
        let log = server.log();
        if log.contains("store write failed") { Ok(()) } else { Err(log) }
    })
    .await;
    let ready = http::get(server.address(), "/readyz").await.expect("a response");
    let said = text(ready.body());
    assert!(ready.status() == 503 && said.starts_with("{\"error\":\"the store: "), "{said}");
    server.serin(&["advance", "shop"]).await;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(world.envoy.weight_of_v2(), 200_000, "no step without a store");

    world.v2.set_faults([Fault::errors(0.5)]);
    until(Duration::from_secs(30), "the rollback", async || {
        let weight = world.envoy.weight_of_v2();
        if weight == 0 { Ok(()) } else { Err(weight) }
    })
    .await;
    // The store does not have the end; the proxy's generation shows it.
    server.kill().await;
    let server = Server::start(world.envoy.dir()).await;
    let (code, events) = server.watch("shop").await;
    assert_eq!((code, world.envoy.weight_of_v2()), (Some(3), 0), "{:?}", events.last());
    assert_eq!(events.last().map(|end| &end["reason"]["kind"]), Some(&"reasonNotPersisted".into()));
    world.assert_only_faults_failed(&load.stop().await);
}

/// The server rejects a store that it can't write at the start: it could persist no transition.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_store_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    assert_eq!(Server::start(path).await.stop().await, Some(0));
    let own = path.join("serin");
    std::fs::copy(serin().as_std().get_program(), &own).expect("an executable copy");
    let rights = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("rights");
    };
    rights(&path.join("serin.db"), 0o444);
    rights(path, 0o555);
    let mut command = tokio::process::Command::new(own);
    if rustix::process::geteuid().is_root() {
        // Permissions do not restrict root.
        command.uid(65_534);
    }
    command.arg("serve").arg("--store").arg(path.join("serin.db"));
    let output = command.args(["--listen", "127.0.0.1:0"]).output().await.expect("serin runs");
    rights(path, 0o755);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("serin.db: can't be written ("), "{error}");
}

/// The weights in the file return to the baseline, and the rollout ends without a confirmation.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_without_its_proxy_can_be_abandoned() {
    let mut world = World::new().await;
    let hour = Duration::from_secs(3_600);
    let server = Server::start(world.envoy.dir()).await;
    server.apply(&Spec::new(&world.envoy).step("50%", hour, 10).step("100%", hour, 10)).await;
    world.envoy.kill().await;
    server.kill().await;
    let server = Server::start(world.envoy.dir()).await;
    server.ok(&["abort", "shop"]).await;
    assert_eq!(world.envoy.weight_of_v2(), 0);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(server.status("shop").await["phase"], "running");
    server.ok(&["abort", "shop", "--force", "--reason", "the proxy is gone"]).await;
    let (code, events) = server.watch("shop").await;
    assert_eq!(code, Some(5));
    let end = events.last().expect("an end");
    assert_eq!((&end["confirmed"], &end["reason"]["kind"]), (&false.into(), &"command".into()));
}
