use std::collections::BTreeMap;

use super::*;
use crate::config::Config;
use crate::outcome::Failure;
use crate::stat::Stat;

const SUCCEEDED: CompletedRequest<'_> = CompletedRequest {
    cluster: Some(b"c2"),
    outcome: Outcome::Success,
    unreadable: false,
    status: Some(200),
    first_byte_us: Some(900),
    latency_us: 1_500,
};

const FAILED: CompletedRequest<'_> =
    CompletedRequest { outcome: Outcome::Failure(Failure::Status), status: Some(500), ..SUCCEEDED };

fn service() -> Service {
    let config =
        br#"{"schema": 1, "generation": 1, "services": [{"name": "shop", "authorities": ["*"],
        "versions": [{"name": "v1", "cluster": "c1"}, {"name": "v2", "cluster": "c2"}],
        "buckets": [{"version": "v1", "count": 1000000}],
        "overdueMs": 1000, "tripwire": {"toleratedPpm": 100000}}]}"#;
    Config::parse(config).unwrap().services.remove(0)
}

/// One completed request with v2 chosen.
fn request(
    meter: &mut Meter,
    service: &Service,
    completed: &CompletedRequest<'_>,
) -> Option<usize> {
    let assigned = meter.start(1, Reason::Header, 0);
    assert!(assigned.is_some());
    meter.complete(service, assigned, None, completed)
}

/// Drains the counts, without histograms, responses and choices.
fn drain(meter: &mut Meter) -> BTreeMap<(usize, Stat), u64> {
    let mut counts = BTreeMap::new();
    for (version, tally) in meter.tallies().iter_mut().enumerate() {
        tally.drain(|stat, by| {
            let ignored = matches!(
                stat,
                Stat::LatencyBucket(_)
                    | Stat::FirstByteBucket(_)
                    | Stat::Responses(_)
                    | Stat::Chosen(_)
            );
            if !ignored {
                counts.insert((version, stat), by);
            }
        });
    }
    counts
}

#[test]
fn the_a_a_test_counts_requests_by_slice() {
    let mut service = service();
    let salts = ["a", "b"].map(crate::bucket::Bucketing::new).to_vec();
    service.aa_test = Some(crate::aa_test::AaTest { salts, slices: vec![10_000, 1_000_000] });
    let mut meter = Meter::new(&service, &Rc::default());
    let mut slices = NO_SLICES;
    [slices[0], slices[1]] = [0, 1];
    let cancelled = CompletedRequest { outcome: Outcome::Cancelled, ..SUCCEEDED };
    for completed in [SUCCEEDED, FAILED, cancelled] {
        let assigned = meter.start(1, Reason::Header, 0).map(|request| request.in_slices(slices));
        let _ = meter.complete(&service, assigned, None, &completed);
    }
    let _ = request(&mut meter, &service, &SUCCEEDED);
    let mut drained = Vec::new();
    meter.slice_counts().unwrap().drain(|salt, slice, counts| drained.push((salt, slice, counts)));
    assert_eq!(drained, [(0, 0, [2, 1]), (0, 1, [2, 1]), (1, 1, [2, 1])]);
}

#[test]
fn a_response_without_a_cluster_counts_only_if_routing_failed() {
    let service = service();
    let mut meter = Meter::new(&service, &Rc::default());
    let local_reply = CompletedRequest { cluster: None, ..SUCCEEDED };
    let unrouted = CompletedRequest { outcome: Outcome::Failure(Failure::Unrouted), ..local_reply };
    for completed in [local_reply, unrouted] {
        assert_eq!(request(&mut meter, &service, &completed), None);
    }
    let expected = [((1, Stat::Requests), 1), ((1, Stat::Failures(Failure::Unrouted)), 1)];
    assert_eq!(drain(&mut meter), expected.into());
}

#[test]
fn a_misrouted_request_counts_for_the_version_that_served() {
    let service = service();
    let mut meter = Meter::new(&service, &Rc::default());
    let misrouted = CompletedRequest { cluster: Some(b"c1"), ..FAILED };
    let unmatched = CompletedRequest { cluster: Some(b"c3"), ..SUCCEEDED };
    for completed in [misrouted, unmatched] {
        assert_eq!(request(&mut meter, &service, &completed), None);
    }
    let expected = [
        ((1, Stat::Misrouted), 1),
        ((1, Stat::Unmatched), 1),
        ((0, Stat::Requests), 1),
        ((0, Stat::Failures(Failure::Status)), 1),
    ];
    assert_eq!(drain(&mut meter), expected.into());
}

#[test]
fn an_unreadable_status_counts_without_a_failure() {
    let service = service();
    let mut meter = Meter::new(&service, &Rc::default());
    for completed in [SUCCEEDED, FAILED] {
        let unreadable = CompletedRequest { unreadable: true, ..completed };
        assert_eq!(request(&mut meter, &service, &unreadable), None);
    }
    let assigned = meter.start(1, Reason::Override, 0);
    let pinned = CompletedRequest { unreadable: true, ..SUCCEEDED };
    assert_eq!(meter.complete(&service, assigned, None, &pinned), None);
    let expected = [
        ((1, Stat::Requests), 2),
        ((1, Stat::Failures(Failure::Status)), 1),
        ((1, Stat::Unreadable), 1),
        ((1, Stat::Pinned), 1),
    ];
    assert_eq!(drain(&mut meter), expected.into());
}

#[test]
fn without_a_chosen_version_the_cluster_identifies_it() {
    let service = service();
    let mut meter = Meter::new(&service, &Rc::default());
    assert_eq!(meter.complete(&service, None, None, &SUCCEEDED), None);
    let unrouted = Outcome::Failure(Failure::Unrouted);
    let no_route = CompletedRequest { cluster: None, outcome: unrouted, ..SUCCEEDED };
    assert_eq!(meter.complete(&service, None, None, &no_route), None);
    assert_eq!(drain(&mut meter), [((1, Stat::Requests), 1)].into());
}

#[test]
fn a_failing_version_trips() {
    let service = service();
    let mut meter = Meter::new(&service, &Rc::default());
    let requests = (1..100).find(|_| request(&mut meter, &service, &FAILED) == Some(1));
    assert_eq!(requests, Some(12));
}

#[test]
fn pinned_requests_do_not_trip() {
    let service = service();
    let mut meter = Meter::new(&service, &Rc::default());
    for _ in 0..100 {
        let assigned = meter.start(1, Reason::Override, 0);
        assert_eq!(meter.detect_overdue(2_000_000), None);
        assert_eq!(meter.complete(&service, assigned, None, &FAILED), None);
    }
    assert_eq!(
        drain(&mut meter),
        [((1, Stat::Pinned), 100), ((1, Stat::PinnedFailures), 100)].into()
    );
}

#[test]
fn overdue_requests_trip_before_they_end() {
    let service = service();
    let mut meter = Meter::new(&service, &Rc::default());
    serve_by_baseline(&mut meter, &service, 20);
    let hanging: Vec<_> = (0..20).map(|n| meter.start(1, Reason::Header, n).unwrap()).collect();
    assert_eq!(meter.detect_overdue(1_000_000), None);
    assert_eq!(meter.detect_overdue(1_125_000), Some(1));
    assert_eq!(drain(&mut meter), [((1, Stat::Overdue), 20)].into());
    // The tripwire does not observe them again.
    let mut fresh = Meter::new(&service, &Rc::default());
    std::mem::swap(&mut meter.tripwire, &mut fresh.tripwire);
    for assigned in hanging {
        assert_eq!(meter.complete(&service, Some(assigned), None, &FAILED), None);
    }
}

/// Requests that the baseline serves, which are not in later counts.
fn serve_by_baseline(meter: &mut Meter, service: &Service, requests: usize) {
    let served = CompletedRequest { cluster: Some(b"c1"), ..SUCCEEDED };
    for _ in 0..requests {
        let assigned = meter.start(0, Reason::Header, 0);
        assert_eq!(meter.complete(service, assigned, None, &served), None);
    }
    drain(meter);
}

#[test]
fn overdue_requests_do_not_trip_before_the_baseline_has_served_twenty() {
    let service = service();
    let mut meter = Meter::new(&service, &Rc::default());
    serve_by_baseline(&mut meter, &service, 19);
    let hanging: Vec<_> = (0..20).map(|n| meter.start(1, Reason::Header, n).unwrap()).collect();
    assert_eq!(meter.detect_overdue(1_125_000), None);
    assert_eq!(drain(&mut meter), [((1, Stat::Overdue), 20)].into());
    // A timeout of such a request is a failure.
    let trips = |assigned| meter.complete(&service, Some(assigned), None, &FAILED) == Some(1);
    assert_eq!(hanging.into_iter().position(trips), Some(11));
}

#[test]
fn a_request_is_not_overdue_after_its_response_starts() {
    let service = service();
    let mut meter = Meter::new(&service, &Rc::default());
    let mut assigned = meter.start(1, Reason::Header, 0).unwrap();
    meter.responded(&mut assigned);
    assert_eq!(meter.detect_overdue(u64::MAX), None);
    meter.responded(&mut assigned);
    assert_eq!(meter.complete(&service, Some(assigned), None, &SUCCEEDED), None);
    assert_eq!(drain(&mut meter), [((1, Stat::Requests), 1)].into());
}

#[test]
fn bypassed_requests_are_counted_once() {
    let mut meter = Meter::new(&service(), &Rc::default());
    meter.count_bypassed();
    meter.count_bypassed();
    assert_eq!((meter.take_bypassed(), meter.take_bypassed()), (2, 0));
}

/// A stream to v2, begun at this time.
fn begin(meter: &mut Meter, service: &Service, now_us: u64) -> (AssignedRequest, BegunStream) {
    assert_eq!(meter.detect_overdue(now_us), None);
    let mut assigned = meter.start(1, Reason::Header, now_us).unwrap();
    meter.responded(&mut assigned);
    let begun = meter.begin(service, Some(&assigned), b"c2", [900, 900, now_us]).unwrap();
    (assigned, begun)
}

#[test]
fn a_stream_is_counted_when_it_begins() {
    let service = service();
    let mut meter = Meter::new(&service, &Rc::default());
    let (assigned, begun) = begin(&mut meter, &service, 0);
    assert_eq!(drain(&mut meter), [((1, Stat::Requests), 1)].into());
    assert_eq!(meter.complete(&service, Some(assigned), Some(begun), &SUCCEEDED), None);
    assert_eq!(drain(&mut meter), [].into());
    let (assigned, begun) = begin(&mut meter, &service, 0);
    assert_eq!(meter.complete(&service, Some(assigned), Some(begun), &FAILED), None);
    let expected = [((1, Stat::Requests), 1), ((1, Stat::Failures(Failure::Status)), 1)];
    assert_eq!(drain(&mut meter), expected.into());
    assert!(meter.begin(&service, None, b"c3", [900, 900, 0]).is_none());
    assert!(meter.begin(&service, None, b"c2", [900, 900, 0]).is_some(), "the mesh splits");
    assert!(meter.begin(&service, Some(&assigned), b"c1", [900, 900, 0]).is_some());
    let expected = [((1, Stat::Requests), 1), ((0, Stat::Requests), 1), ((1, Stat::Misrouted), 1)];
    assert_eq!(drain(&mut meter), expected.into());
}

#[test]
fn streams_that_fail_soon_trip_like_requests() {
    let service = service();
    let mut meter = Meter::new(&service, &Rc::default());
    let streams = (1..100).find(|n| {
        let (assigned, begun) = begin(&mut meter, &service, n * 10);
        meter.complete(&service, Some(assigned), Some(begun), &FAILED) == Some(1)
    });
    assert_eq!(streams, Some(12));
}

/// All streams fail after they are established. At this tolerance a success of each would outweigh
/// its failure.
#[test]
fn streams_that_fail_late_trip_like_requests() {
    let mut service = service();
    service.tripwire = Some(500_000);
    let mut meter = Meter::new(&service, &Rc::default());
    let mut live = std::collections::VecDeque::new();
    let mut failed = 0;
    let tripped = (0..200).any(|n| {
        live.push_back(begin(&mut meter, &service, n * 1_000_000));
        if live.len() <= 3 {
            return false;
        }
        let (assigned, begun) = live.pop_front().unwrap();
        failed += 1;
        meter.complete(&service, Some(assigned), Some(begun), &FAILED) == Some(1)
    });
    assert!(tripped && (50..=54).contains(&failed), "{failed}");
}

/// Streams that live are successes: one in twenty fails later.
#[test]
fn failures_among_many_live_streams_do_not_trip() {
    let service = service();
    let mut meter = Meter::new(&service, &Rc::default());
    let mut failing = std::collections::VecDeque::new();
    for n in 0..2_000 {
        let stream = begin(&mut meter, &service, n * 100_000);
        if n % 20 == 0 {
            failing.push_back(stream);
        }
        if failing.len() > 20 {
            let (assigned, begun) = failing.pop_front().unwrap();
            assert_eq!(meter.complete(&service, Some(assigned), Some(begun), &FAILED), None);
        }
    }
}

#[test]
fn a_request_slower_than_every_boundary_counts_before_its_end() {
    let service = service();
    let mut meter = Meter::new(&service, &Rc::default());
    let begun = meter.begin(&service, None, b"c2", [900, 100_000_001, 100_000_001]);
    let mut counts = BTreeMap::new();
    meter.tallies()[1].drain(|stat, by| assert!(counts.insert(stat, by).is_none()));
    assert_eq!((counts[&Stat::Requests], counts[&Stat::FirstByteBucket(60)]), (1, 1));
    assert!(!counts.contains_key(&Stat::LatencyBucket(60)));
    assert_eq!(counts[&Stat::LatencyBucket(61)], 1);
    assert_eq!(meter.complete(&service, None, begun, &SUCCEEDED), None);
    assert_eq!(drain(&mut meter), [].into());
}
