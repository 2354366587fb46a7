use std::collections::HashMap;
use std::time::{Duration, Instant};

use serin_tests::{Load, LoadPlan, Report, RolloutProcess, RolloutResult, Spec, http};

use crate::world::World;

const STEPS: [(&str, f64); 5] =
    [("1%", 0.01), ("5%", 0.05), ("25%", 0.25), ("50%", 0.5), ("100%", 1.0)];

/// Requests in flight, and those of a worker that updates a moment later, belong to neither split.
const MARGIN: Duration = Duration::from_millis(250);

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_candidate_is_promoted() {
    let world = World::new().await;
    let users = Load::start(LoadPlan { users: Some(500), rate: 200, ..world.plan() });
    // Without an identity each request is assigned independently, as a binomial interval assumes.
    let strangers = Load::start(LoadPlan { users: None, ..world.plan() });
    let bake = Duration::from_secs(3);
    let spec =
        STEPS.iter().fold(Spec::new(&world.envoy), |spec, (weight, _)| spec.step(weight, bake, 10));
    let ended = RolloutProcess::start(&world.envoy, &spec, &[]).end().await;
    let (users, strangers) = (users.stop().await, strangers.stop().await);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let summary = ended.summary();
    assert_eq!((&summary["verdict"], &summary["confirmed"]), (&"promoted".into(), &true.into()));
    assert_eq!(world.envoy.weight_of_v2(), 1_000_000);
    assert_eq!((users.total().failures, strangers.total().failures), (0, 0));
    assert_eq!(ended.all("gateOpened").count(), STEPS.len());
    assert_split(&ended, &strangers);
    assert_sticky(&ended, &users);
    assert_prometheus(&world).await;

    // A restart at the first step would return all users to v1.
    let again = RolloutProcess::start(&world.envoy, &spec, &[]).end().await;
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.contains("v2 has 100 % of the users of shop already"), "{}", again.stderr);
    assert_eq!(world.envoy.weight_of_v2(), 1_000_000);
}

/// The shipped rules make labels of the names.
async fn assert_prometheus(world: &World) {
    let page = http::get(world.envoy.admin(), "/stats/prometheus").await.expect("the page");
    let page = String::from_utf8(page.into_body().to_vec()).expect("UTF-8");
    for series in [
        "serin_chosen{service=\"shop\",version=\"v1\",reason=\"header\"} ",
        "serin_chosen{service=\"shop\",version=\"v1\",reason=\"request-id\"} ",
        "serin_responses{service=\"shop\",version=\"v2\",class=\"2xx\"} ",
        "serin_tripped{service=\"shop\",version=\"v2\"} 0",
        "serin_requests{service=\"shop\",version=\"v2\"} ",
        "serin_latency_ms_bucket{service=\"shop\",version=\"v2\",le=\"+Inf\"} ",
        "serin_generation{} 5",
    ] {
        assert!(page.lines().any(|line| line.starts_with(series)), "{series}");
    }
}

/// In each step the share of requests that v2 answered is its weight, within the 99.9 % interval.
fn assert_split(ended: &RolloutResult, report: &Report) {
    let starts: Vec<Instant> = ended.all("live").map(|(heard, _)| *heard).collect();
    let ends: Vec<Instant> = ended.all("gateOpened").map(|(heard, _)| *heard).collect();
    for (((weight, share), start), end) in STEPS.iter().zip(starts).zip(ends) {
        let versions: Vec<_> = report
            .records()
            .filter(|record| record.started > start && record.started + MARGIN < end)
            .map(|record| record.version())
            .collect();
        let served = versions.iter().filter(|version| **version == Some("v2")).count();
        let n = versions.len();
        assert!(n > 300, "{weight}: only {n} requests");
        let (below, above) = tails(n, served, *share);
        assert!(below > 0.0005 && above > 0.0005, "{weight}: v2 answered {served} of {n}");
    }
}

/// The probabilities of at most, and of at least, that many of n. Exact by the binomial
/// distribution: at 1 % the normal approximation is bad.
fn tails(n: usize, served: usize, share: f64) -> (f64, f64) {
    if share == 1.0 {
        return if served == n { (1.0, 1.0) } else { (0.0, 1.0) };
    }
    let mut likely = (1.0 - share).powf(n as f64);
    let (mut below, mut above) = (0.0, 0.0);
    for k in 0..=n {
        below += if k <= served { likely } else { 0.0 };
        above += if k >= served { likely } else { 0.0 };
        likely *= (n - k) as f64 / (k + 1) as f64 * share / (1.0 - share);
    }
    (below, above)
}

/// A user of v2 stays with v2.
fn assert_sticky(ended: &RolloutResult, report: &Report) {
    let shifts: Vec<Instant> = ended.all("shifting").map(|(heard, _)| *heard).collect();
    let settled =
        |at: Instant| !shifts.iter().any(|shift| at + MARGIN > *shift && at < *shift + MARGIN);
    let mut met = HashMap::new();
    for record in report.records().filter(|record| settled(record.started)) {
        let user = record.user.expect("every request has a user");
        let version = record.version().expect("every request gets a response").to_owned();
        let before = met.insert(user, version.clone());
        assert!(
            before.as_deref() != Some("v2") || version == "v2",
            "user {user} was reassigned from v2 to {version}"
        );
    }
}
