use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use serin_tests::{RolloutProcess, Spec, http};

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn new_weights_under_load_fail_no_request() {
    let world = World::new().await;
    let load = world.load();
    // Twenty weights, each as soon as the previous one is live.
    let spec = (1..=20).fold(Spec::new(&world.envoy), |spec, step| {
        spec.step(&format!("{}%", step * 5), Duration::ZERO, 1)
    });
    let ended = RolloutProcess::start(&world.envoy, &spec, &[]).end().await;
    let report = load.stop().await;
    assert_eq!(ended.code, Some(0), "{:?}", ended.events.last());
    assert_eq!(ended.all("live").count(), 20);
    report.assert_none_failed();
    assert!(report.tally(Some("v2")).requests > 100);
    let rejected = "extension_config_discovery.http_filter.serin.update_rejected";
    assert_eq!(world.envoy.stat(rejected).await, Some(0));
}

/// Envoy 1.33 stopped refreshing routes for modules of a newer ABI: this test guards against it.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_requested_by_a_client_is_overwritten() {
    let world = World::new().await;
    assert_eq!(answers_of_v2(&world).await, 0, "before any rollout");
    let load = world.load();
    let rollout = RolloutProcess::start(&world.envoy, &world.spec(), &[]);
    rollout.until_live(1).await;
    // At 5 % there are 2.5 of 50 users on v2; 12 and more come once in 100,000.
    assert!(answers_of_v2(&world).await < 12, "at 5 %");
    rollout.interrupt();
    rollout.end().await;
    load.stop().await;
}

/// How many of 50 users that request v2 get it. Upstreams receive their own version in the header,
/// or none.
async fn answers_of_v2(world: &World) -> usize {
    let mut v2 = 0;
    for user in 0..50 {
        let request = Request::get(format!("http://{}/", world.envoy.listener()))
            .header("x-serin-version", "v2")
            .header("x-user-id", format!("asker-{user}"))
            .body(Full::<Bytes>::default())
            .expect("a request");
        let answer = http::send(request).await.expect("a response");
        let header =
            |name: &str| answer.headers().get(name).map(|v| v.to_str().expect("text").to_owned());
        let version = header("x-upstream-version");
        let version_header = header("x-echo-serin-version");
        assert!(
            version_header.is_none() || version_header == version,
            "{version_header:?} is not {version:?}"
        );
        v2 += usize::from(version.as_deref() == Some("v2"));
    }
    v2
}
