use std::collections::BTreeMap;

use super::*;
use crate::config::Config;
use crate::outcome::Failure;
use crate::stat::Stat;

const SERVED: Ended<'_> = Ended {
    cluster: Some(b"c2"),
    outcome: Outcome::Success,
    status: Some(200),
    first_byte_us: Some(900),
    latency_us: 1_500,
};

const FAILED: Ended<'_> =
    Ended { outcome: Outcome::Failure(Failure::Status), status: Some(500), ..SERVED };

fn service() -> Service {
    let config =
        br#"{"schema": 1, "generation": 1, "services": [{"name": "shop", "authorities": ["*"],
        "versions": [{"name": "v1", "cluster": "c1"}, {"name": "v2", "cluster": "c2"}],
        "buckets": [{"version": "v1", "count": 1000000}],
        "overdueMs": 1000, "tripwire": {"toleratedPpm": 100000}}]}"#;
    Config::parse(config).unwrap().services.remove(0)
}

/// One request that was to go to v2.
fn request(meter: &mut Meter, service: &Service, ended: &Ended<'_>) -> Option<usize> {
    let chosen = meter.choose(1, Reason::Header, 0);
    assert!(chosen.is_some());
    meter.end(service, chosen, ended)
}

/// What was counted, without histograms and choices.
fn counted(meter: &mut Meter) -> BTreeMap<(usize, Stat), u64> {
    let mut counted = BTreeMap::new();
    for (version, tally) in meter.tallies().iter_mut().enumerate() {
        tally.drain(|stat, by| {
            let aside = matches!(
                stat,
                Stat::LatencyBucket(_)
                    | Stat::FirstByteBucket(_)
                    | Stat::Answers(_)
                    | Stat::Chosen(_)
            );
            if !aside {
                counted.insert((version, stat), by);
            }
        });
    }
    counted
}

#[test]
fn what_users_do_is_watched_while_it_is_configured() {
    let mut service = service();
    let salts = ["a", "b"].map(crate::bucket::Bucketing::new).to_vec();
    service.watch = Some(crate::watch::Watch { salts, slices: vec![10_000, 1_000_000] });
    let mut meter = Meter::new(&service);
    let mut places = NOWHERE;
    [places[0], places[1]] = [0, 1];
    let cancelled = Ended { outcome: Outcome::Cancelled, ..SERVED };
    for ended in [SERVED, FAILED, cancelled] {
        let chosen = meter.choose(1, Reason::Header, 0).map(|chosen| chosen.at(places));
        let _ = meter.end(&service, chosen, &ended);
    }
    let _ = request(&mut meter, &service, &SERVED);
    let mut counted = Vec::new();
    meter.watched().unwrap().drain(|salt, slice, counts| counted.push((salt, slice, counts)));
    assert_eq!(counted, [(0, 0, [2, 1]), (0, 1, [2, 1]), (1, 1, [2, 1])]);
}

#[test]
fn what_no_cluster_served_counts_only_if_one_was_wanting() {
    let service = service();
    let mut meter = Meter::new(&service);
    let by_the_proxy = Ended { cluster: None, ..SERVED };
    let unrouted = Ended { outcome: Outcome::Failure(Failure::Unrouted), ..by_the_proxy };
    for ended in [by_the_proxy, unrouted] {
        assert_eq!(request(&mut meter, &service, &ended), None);
    }
    let expected = [((1, Stat::Requests), 1), ((1, Stat::Failures(Failure::Unrouted)), 1)];
    assert_eq!(counted(&mut meter), expected.into());
}

#[test]
fn a_misrouted_request_counts_for_the_version_that_served() {
    let service = service();
    let mut meter = Meter::new(&service);
    let misrouted = Ended { cluster: Some(b"c1"), ..FAILED };
    let elsewhere = Ended { cluster: Some(b"c3"), ..SERVED };
    for ended in [misrouted, elsewhere] {
        assert_eq!(request(&mut meter, &service, &ended), None);
    }
    let expected = [
        ((1, Stat::Misrouted), 1),
        ((1, Stat::Unmatched), 1),
        ((0, Stat::Requests), 1),
        ((0, Stat::Failures(Failure::Status)), 1),
    ];
    assert_eq!(counted(&mut meter), expected.into());
}

#[test]
fn without_a_choice_the_cluster_tells_the_version() {
    let service = service();
    let mut meter = Meter::new(&service);
    assert_eq!(meter.end(&service, None, &SERVED), None);
    let unrouted = Outcome::Failure(Failure::Unrouted);
    let nowhere = Ended { cluster: None, outcome: unrouted, ..SERVED };
    assert_eq!(meter.end(&service, None, &nowhere), None);
    assert_eq!(counted(&mut meter), [((1, Stat::Requests), 1)].into());
}

#[test]
fn a_version_that_fails_is_cut_off() {
    let service = service();
    let mut meter = Meter::new(&service);
    let at = (1..100).find(|_| request(&mut meter, &service, &FAILED) == Some(1));
    assert_eq!(at, Some(12));
}

#[test]
fn what_somebody_picked_cuts_nothing_off() {
    let service = service();
    let mut meter = Meter::new(&service);
    for _ in 0..100 {
        let chosen = meter.choose(1, Reason::Override, 0);
        assert_eq!(meter.look_for_overdue(2_000_000), None);
        assert_eq!(meter.end(&service, chosen, &FAILED), None);
    }
    assert_eq!(
        counted(&mut meter),
        [((1, Stat::Pinned), 100), ((1, Stat::PinnedFailures), 100)].into()
    );
}

#[test]
fn a_version_that_hangs_is_cut_off_before_its_requests_end() {
    let service = service();
    let mut meter = Meter::new(&service);
    let hanging: Vec<_> = (0..20).map(|n| meter.choose(1, Reason::Header, n).unwrap()).collect();
    assert_eq!(meter.look_for_overdue(1_000_000), None);
    assert_eq!(meter.look_for_overdue(1_125_000), Some(1));
    assert_eq!(counted(&mut meter), [((1, Stat::Overdue), 20)].into());
    // They are not held against it once more.
    let mut fresh = Meter::new(&service);
    std::mem::swap(&mut meter.tripwire, &mut fresh.tripwire);
    for chosen in hanging {
        assert_eq!(meter.end(&service, Some(chosen), &FAILED), None);
    }
}

#[test]
fn an_answer_in_time_is_never_overdue_however_long_the_stream() {
    let service = service();
    let mut meter = Meter::new(&service);
    let mut chosen = meter.choose(1, Reason::Header, 0).unwrap();
    meter.answered(&mut chosen);
    assert_eq!(meter.look_for_overdue(u64::MAX), None);
    meter.answered(&mut chosen);
    assert_eq!(meter.end(&service, Some(chosen), &SERVED), None);
    assert_eq!(counted(&mut meter), [((1, Stat::Requests), 1)].into());
}

#[test]
fn what_is_left_alone_is_counted_once() {
    let mut meter = Meter::new(&service());
    meter.bypass();
    meter.bypass();
    assert_eq!((meter.take_bypassed(), meter.take_bypassed()), (2, 0));
}
