//! The effect of each fault on callers, without Envoy, and exact counts.

use std::time::Duration;

use super::*;
use crate::{Fault, TcpRelay, Upstream, until};

/// A second's worth of load on an upstream with these faults.
async fn load(upstream: &Upstream, protocol: Protocol, faults: &[Fault]) -> Report {
    upstream.set_faults(faults.iter().copied());
    let plan = LoadPlan { protocol, max_duration: Duration::from_secs(1), ..plan(upstream) };
    finish(Load::start(plan)).await
}

fn plan(upstream: &Upstream) -> LoadPlan {
    LoadPlan { timeout: Duration::from_millis(1_500), ..LoadPlan::new(upstream.address(), 1_000) }
}

/// Waits for the end of a load.
async fn finish(load: Load) -> Report {
    until(Duration::from_secs(10), "the load ends at its maximum", async || {
        load.driver.is_finished().then_some(()).ok_or(load.so_far().total())
    })
    .await;
    load.stop().await
}

fn assert_share(count: usize, of: usize, share: f64) {
    let (expected, tolerance) =
        (share * of as f64, 5.0 * (share * (1.0 - share) * of as f64).sqrt());
    assert!(
        (count as f64 - expected).abs() <= tolerance,
        "{count} of {of} is not a share of {share}"
    );
}

fn failed_with(report: &Report, text: &str) -> usize {
    let failed = |record: &&Record| match &record.outcome {
        Outcome::Failed { reason } => {
            assert!(reason.contains(text), "{reason}");
            true
        }
        Outcome::Answered { .. } => false,
    };
    report.records().filter(failed).count()
}

#[tokio::test]
async fn a_healthy_version_answers_every_request() {
    for protocol in [Protocol::Http1, Protocol::Grpc] {
        let upstream = Upstream::start("v1").await;
        let report = load(&upstream, protocol, &[]).await;
        assert_eq!(report.total(), Tally { requests: 1_000, failures: 0 }, "{protocol:?}");
        assert_eq!(report.tally(Some("v1")), report.total());
        let account = upstream.stats();
        assert_eq!((account.requests, account.faults, account.in_flight), (1_000, 0, 0));
        assert_eq!(account.first_fault, None);
        let last_start = report.records().next_back().expect("a record").started;
        assert!(account.last_request.expect("a request") >= last_start);
        let grpc = (protocol == Protocol::Grpc).then_some(0);
        assert!(report.records().all(|record| matches!(
            record.outcome,
            Outcome::Answered { status: 200, grpc_status, .. } if grpc_status == grpc
        )));
    }
}

#[tokio::test]
async fn errors() {
    let upstream = Upstream::start("v2").await;
    let report = load(&upstream, Protocol::Http1, &[Fault::errors(0.2)]).await;
    let tally = report.tally(Some("v2"));
    assert_eq!(tally.requests, 1_000);
    assert_share(tally.failures, 1_000, 0.2);
    let account = upstream.stats();
    assert_eq!(account.faults, tally.failures as u64);
    let first = report.records().find(|record| record.is_failure()).expect("a failure");
    let lag = account.first_fault.expect("a fault").duration_since(first.started);
    assert!(lag < Duration::from_millis(100), "{lag:?}");
}

#[tokio::test]
async fn grpc_errors() {
    let upstream = Upstream::start("v2").await;
    let report = load(&upstream, Protocol::Grpc, &[Fault::grpc_errors(0.3, 14)]).await;
    let tally = report.tally(Some("v2"));
    assert_eq!(tally.requests, 1_000);
    assert_share(tally.failures, 1_000, 0.3);
    assert!(report.records().filter(|record| record.is_failure()).all(|record| {
        matches!(record.outcome, Outcome::Answered { status: 200, grpc_status: Some(14), .. })
    }));
}

#[tokio::test]
async fn delays_with_a_tail() {
    let upstream = Upstream::start("v2").await;
    let millis = Duration::from_millis;
    let faults = [Fault::delay(1.0, millis(150)), Fault::delay(0.1, millis(600))];
    let report = load(&upstream, Protocol::Http1, &faults).await;
    assert_eq!(report.total(), Tally { requests: 1_000, failures: 0 });
    assert!(report.records().all(|record| record.latency >= millis(150)));
    let tail = report.records().filter(|record| record.latency >= millis(750)).count();
    assert_share(tail, 1_000, 0.1);
}

#[tokio::test]
async fn resets_hit_exactly_their_requests() {
    let upstream = Upstream::start("v2").await;
    let report = load(&upstream, Protocol::Http1, &[Fault::resets(0.25)]).await;
    let resets = failed_with(&report, "reset");
    assert_share(resets, 1_000, 0.25);
    assert_eq!(report.total(), Tally { requests: 1_000, failures: resets });
    assert_eq!(report.tally(None), Tally { requests: resets, failures: resets });
    let account = upstream.stats();
    assert_eq!((account.requests, account.faults), (1_000, resets as u64));
}

#[tokio::test]
async fn resets_over_http2() {
    let upstream = Upstream::start("v2").await;
    let report = load(&upstream, Protocol::Grpc, &[Fault::resets(0.05)]).await;
    let failed = failed_with(&report, "") as u64;
    let account = upstream.stats();
    // A reset ends the other requests on its connection, too.
    assert!(account.faults > 0 && failed >= account.faults, "{failed} failed, {account:?}");
    assert_eq!(report.total().requests, 1_000);
}

#[tokio::test]
async fn hangs_are_abandoned_on_both_sides() {
    for protocol in [Protocol::Http1, Protocol::Grpc] {
        let upstream = Upstream::start("v2").await;
        let report = load(&upstream, protocol, &[Fault::hangs(0.05)]).await;
        let hung = failed_with(&report, "no answer within 1.5s");
        assert_share(hung, 1_000, 0.05);
        assert_eq!(upstream.stats().requests, 1_000);
        assert_eq!(upstream.stats().faults, hung as u64);
        until(Duration::from_secs(5), "the upstream forgets the hung requests", async || {
            match upstream.stats().in_flight {
                0 => Ok(()),
                some => Err(some),
            }
        })
        .await;
    }
}

#[tokio::test]
async fn faults_come_and_go_while_it_runs() {
    let upstream = Upstream::start("v2").await;
    let running = Load::start(plan(&upstream));
    let failures = async || running.so_far().total().failures;
    until(Duration::from_secs(5), "healthy traffic", async || {
        let total = running.so_far().total();
        if total.requests > 50 && total.failures == 0 { Ok(()) } else { Err(total) }
    })
    .await;
    upstream.set_faults([Fault::errors(1.0)]);
    until(Duration::from_secs(5), "failures", async || {
        let failures = failures().await;
        if failures > 50 { Ok(()) } else { Err(failures) }
    })
    .await;
    upstream.set_faults([]);
    let faults = upstream.stats().faults;
    let healed = upstream.stats().requests;
    until(Duration::from_secs(5), "healthy traffic again", async || {
        let account = upstream.stats();
        if account.requests > healed + 50 { Ok(()) } else { Err(account) }
    })
    .await;
    let report = running.stop().await;
    assert_eq!(report.total().failures as u64, faults);
    assert_eq!(report.total().requests as u64, upstream.stats().requests);
}

#[tokio::test]
async fn a_version_that_dies_fails_requests_and_one_that_returns_answers_them() {
    let upstream = Upstream::start("v1").await;
    let address = upstream.address();
    let running = Load::start(plan(&upstream));
    let seen = async |what: &str, condition: fn(&Record) -> bool| {
        until(Duration::from_secs(5), what, async || {
            running.so_far().records().next_back().cloned().filter(condition).ok_or(())
        })
        .await
    };
    seen("a response", |record| record.version() == Some("v1")).await;
    upstream.stop().await;
    let failed = seen("a failure", |record| record.is_failure()).await;
    assert_eq!(failed.version(), None);
    let _next = Upstream::start_on(address.port(), "v2").await;
    seen("an answer of the next", |record| record.version() == Some("v2")).await;
    running.stop().await;
}

/// The highest rate of a suite, in a dev build: on schedule, and without failures of the generator
/// itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sustains_two_thousand_a_second() {
    let upstream = Upstream::start("v1").await;
    let plan = LoadPlan { rate: 2_000, max_duration: Duration::from_secs(3), ..plan(&upstream) };
    let report = finish(Load::start(plan)).await;
    assert_eq!(report.total(), Tally { requests: 6_000, failures: 0 });
    let mut starts = report.records().map(|record| record.started);
    let (first, last) = (starts.next().expect("a start"), starts.next_back().expect("a start"));
    let took = last.duration_since(first);
    assert!(took < Duration::from_millis(3_300), "{took:?}");
}

#[tokio::test]
async fn users_are_named_within_bounds_or_not_at_all() {
    let upstream = Upstream::start("v1").await;
    let short = LoadPlan { max_duration: Duration::from_millis(300), ..plan(&upstream) };
    let report = finish(Load::start(LoadPlan { users: Some(3), ..short.clone() })).await;
    for user in 0..3 {
        let share = report.records().filter(|record| record.user == Some(user)).count();
        assert_share(share, report.total().requests, 1.0 / 3.0);
    }
    let report = finish(Load::start(LoadPlan { users: None, ..short })).await;
    assert!(report.records().all(|record| record.user.is_none()));
}

#[tokio::test]
async fn stopping_waits_no_longer_than_the_patience() {
    let upstream = Upstream::start("v1").await;
    upstream.set_faults([Fault::hangs(1.0)]);
    let running = Load::start(LoadPlan { timeout: Duration::from_millis(300), ..plan(&upstream) });
    until(Duration::from_secs(5), "requests hang", async || {
        if upstream.stats().in_flight > 10 { Ok(()) } else { Err(()) }
    })
    .await;
    let stopped = Instant::now();
    let report = running.stop().await;
    assert!(stopped.elapsed() < Duration::from_secs(1));
    assert_eq!(report.total().failures as u64, upstream.stats().requests);
}

#[tokio::test]
async fn a_dropped_load_sends_no_more() {
    let upstream = Upstream::start("v1").await;
    let running = Load::start(plan(&upstream));
    let received = async || {
        let before = upstream.stats().requests;
        tokio::time::sleep(Duration::from_millis(200)).await;
        upstream.stats().requests - before
    };
    until(Duration::from_secs(5), "load", async || match received().await {
        0 => Err(()),
        _ => Ok(()),
    })
    .await;
    drop(running);
    until(Duration::from_secs(5), "no more requests arrive", async || match received().await {
        0 => Ok(()),
        some => Err(some),
    })
    .await;
}

#[tokio::test]
async fn a_shut_gate_shows_as_refused() {
    let upstream = Upstream::start("v1").await;
    let mut gate = TcpRelay::start(upstream.address()).await;
    gate.shut().await;
    let plan = LoadPlan {
        target: gate.address(),
        max_duration: Duration::from_millis(100),
        ..plan(&upstream)
    };
    let report = finish(Load::start(plan)).await;
    assert_eq!(failed_with(&report, "refused"), report.total().requests);
}

#[tokio::test]
#[should_panic(expected = "a rate is 1 to 20000, not 20001")]
async fn a_rate_has_bounds() {
    Load::start(LoadPlan::new(([127, 0, 0, 1], 1).into(), 20_001));
}

#[tokio::test]
#[should_panic(expected = "this machine only, not 192.0.2.1:80")]
async fn load_stays_on_this_machine() {
    Load::start(LoadPlan::new(([192, 0, 2, 1], 80).into(), 1));
}
