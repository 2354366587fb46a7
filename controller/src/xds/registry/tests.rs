use std::time::Duration;

use envoy_types::pb::google::protobuf::Any;

use super::*;

fn resource(version: &str) -> Resource {
    Resource { name: "serin".to_owned(), version: version.to_owned(), body: Any::default() }
}

fn running(version: &str) -> AckStates {
    let state = AckState { acknowledged: Some(version.to_owned()), rejected: None };
    [("serin".to_owned(), state)].into()
}

fn acknowledged(proxy: &ProxyStatus) -> Option<&str> {
    proxy.resources.get("serin")?.acknowledged.as_deref()
}

#[test]
fn groups_have_their_own() {
    let mut fleet = ProxyRegistry::default();
    assert!(fleet.publish("edge", resource("1")));
    assert!(!fleet.publish("edge", resource("1")), "the same again");
    assert!(fleet.publish("edge", resource("2")));
    assert!(fleet.publish("inner", resource("1")));
    assert_eq!(fleet.resources("edge")["serin"].resource.version, "2");
    assert_eq!(fleet.resources("inner")["serin"].resource.version, "1");
    assert!(fleet.resources("inner")["serin"].revision > fleet.resources("edge")["serin"].revision);
    assert!(fleet.resources("none").is_empty());
}

#[test]
fn a_disconnected_proxy_keeps_its_state() {
    let (mut fleet, now) = (ProxyRegistry::default(), Instant::now());
    let [later, last] = [10, 20].map(|seconds| now + Duration::from_secs(seconds));
    let key = fleet.join("edge", "edge-1", now);
    fleet.record(&key, running("1"));
    let [proxy] = &fleet.proxies("edge")[..] else { panic!() };
    assert_eq!((proxy.node.as_str(), proxy.connected(), proxy.since), ("edge-1", true, now));
    assert_eq!(acknowledged(proxy), Some("1"));

    fleet.leave(&key, later);
    fleet.leave(&key, last);
    let [proxy] = &fleet.proxies("edge")[..] else { panic!() };
    assert_eq!((proxy.connected(), proxy.since, acknowledged(proxy)), (false, later, Some("1")));

    // The proxy may have restarted: its state is unknown.
    fleet.join("edge", "edge-1", last);
    let [proxy] = &fleet.proxies("edge")[..] else { panic!() };
    assert_eq!((proxy.connected(), proxy.since, acknowledged(proxy)), (true, last, None));
}

#[test]
fn streams_that_disagree_acknowledge_nothing() {
    let (mut fleet, now) = (ProxyRegistry::default(), Instant::now());
    let [old, new] = [(); 2].map(|()| fleet.join("edge", "edge-1", now));
    fleet.record(&old, running("1"));
    fleet.record(&new, running("2"));
    let [proxy] = &fleet.proxies("edge")[..] else { panic!() };
    assert_eq!((proxy.streams, acknowledged(proxy)), (2, None));
    fleet.leave(&old, now);
    let [proxy] = &fleet.proxies("edge")[..] else { panic!() };
    assert_eq!((proxy.streams, acknowledged(proxy)), (1, Some("2")));
}

#[test]
fn a_disconnected_proxy_is_forgotten_in_time() {
    let (mut fleet, now) = (ProxyRegistry::default(), Instant::now());
    let [gone, back] = ["edge-1", "edge-2"].map(|node| {
        let key = fleet.join("edge", node, now);
        fleet.leave(&key, now);
        key
    });
    fleet.join("edge", &back.node, now);
    fleet.forget(now + RETENTION);
    assert_eq!(fleet.proxies("edge").len(), 2);
    fleet.forget(now + RETENTION + Duration::from_nanos(1));
    let names: Vec<_> = fleet.proxies("edge").into_iter().map(|proxy| proxy.node).collect();
    assert_eq!((names, gone.node.as_str()), (vec!["edge-2".to_owned()], "edge-1"));
}

#[test]
fn the_number_of_disconnected_proxies_is_limited() {
    let (mut fleet, now) = (ProxyRegistry::default(), Instant::now());
    for number in 0..=MAX_RETAINED_PROXIES {
        let key = fleet.join(&format!("group-{number}"), "node", now);
        fleet.leave(&key, now);
        fleet.forget(now);
    }
    assert_eq!(fleet.gone.len(), MAX_RETAINED_PROXIES);
    assert_eq!(fleet.groups.len(), MAX_RETAINED_PROXIES);
    assert!(fleet.is_empty("group-0") && !fleet.is_empty("group-1"));
}
