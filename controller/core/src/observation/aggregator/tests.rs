use std::collections::BTreeMap;

use proptest::prelude::*;
use serin_filter::outcome::Failure;
use serin_filter::stat::Stat;

use super::*;

const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// A proxy that counts, restarts, and is sometimes unreachable.
#[derive(Debug, Clone)]
struct FakeStats {
    generation: u64,
    started: u64,
    ticks: u64,
    behind: u64,
    rejections: u64,
    requests: u64,
}

impl FakeStats {
    const fn new(generation: u64) -> Self {
        Self { generation, started: 1, ticks: 0, behind: 0, rejections: 0, requests: 0 }
    }

    fn snapshot(&self) -> Snapshot {
        let counts = [
            (Stat::LatencyBucket(serin_filter::histogram::BOUNDARIES), self.requests),
            (Stat::Failures(Failure::Status), self.requests / 2),
        ];
        Snapshot {
            generation: Some(Generation(self.generation)),
            started: self.started,
            ticks: self.ticks,
            ticks_behind: self.behind,
            rejections: self.rejections,
            versions: [("v1".parse().unwrap(), counts.into_iter().collect())].into(),
            ..Snapshot::default()
        }
    }
}

fn name(index: usize) -> ProxyName {
    ProxyName::from(format!("edge-{index}"))
}

/// A poll of these proxies; those that are `None` can't be read.
fn poll(
    aggregator: &mut FleetAggregator,
    second: u32,
    proxies: &[Option<&FakeStats>],
) -> Observation {
    let at = POLL_INTERVAL * second;
    let scrape = |fleet: &FakeStats| Scrape { at, snapshot: fleet.snapshot() };
    let scrapes = proxies.iter().enumerate().map(|(index, fleet)| {
        (name(index), fleet.map(scrape).ok_or_else(|| "connection refused".to_owned()))
    });
    aggregator.aggregate(at, scrapes)
}

fn delta_of(poll: Observation) -> FleetDelta {
    match poll {
        Observation::Delta(delta) => delta,
        Observation::Unreachable { reason } => panic!("{reason}"),
    }
}

fn requests(delta: &FleetDelta) -> u64 {
    delta.versions.values().map(|version| version.requests).sum()
}

#[derive(Debug, Clone)]
enum Fate {
    Counts(u64),
    /// Restarted, with so many requests since.
    Restarts(u64),
    /// Counts so many, but can't be read.
    Lost(u64),
    /// Restarted while unreachable.
    LostRestart(u64),
    /// Not in the list.
    Unlisted(u64),
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => (0u64..100).prop_map(Fate::Counts),
        1 => (0u64..100).prop_map(Fate::Restarts),
        2 => (0u64..100).prop_map(Fate::Lost),
        1 => (0u64..100).prop_map(Fate::LostRestart),
        1 => (0u64..100).prop_map(Fate::Unlisted),
    ]
}

proptest! {
    /// Invariant under lost polls, restarts and changes of the list, in any order: a request
    /// counts once, if its proxy was read at the previous poll and at this one (or restarted
    /// between), and otherwise never.
    #[test]
    fn counts_are_conserved(fates in prop::collection::vec(prop::collection::vec(fate(), 4), 1..40)) {
        let mut fleet = [const { FakeStats::new(1) }; 4];
        let mut aggregator = FleetAggregator::default();
        // For each proxy: the poll that last read it, and the counts since in the same process.
        let mut read: [Option<usize>; 4] = [None; 4];
        let mut since = [0; 4];
        let mut sightings = 0;
        for (second, fates) in fates.iter().enumerate() {
            let mut scrapes = BTreeMap::new();
            for (index, fate) in fates.iter().enumerate() {
                let (Fate::Counts(new) | Fate::Restarts(new) | Fate::Lost(new) | Fate::LostRestart(new) | Fate::Unlisted(new)) = fate;
                let fleet = &mut fleet[index];
                if let Fate::Restarts(_) | Fate::LostRestart(_) = fate {
                    *fleet = FakeStats { started: fleet.started + 1, ..FakeStats::new(1) };
                    since[index] = 0;
                }
                fleet.requests += new;
                fleet.ticks += 1;
                since[index] += new;
                match fate {
                    Fate::Counts(_) | Fate::Restarts(_) => drop(scrapes.insert(index, Some(fleet.clone()))),
                    Fate::Lost(_) | Fate::LostRestart(_) => drop(scrapes.insert(index, None)),
                    Fate::Unlisted(_) => read[index] = None,
                }
            }
            let at = POLL_INTERVAL * u32::try_from(second).unwrap();
            let all = scrapes.iter().map(|(index, fleet)| {
                let scrape = fleet.as_ref().map(|fleet| Scrape { at, snapshot: fleet.snapshot() });
                (name(*index), scrape.ok_or_else(|| "lost".to_owned()))
            });
            let poll = aggregator.aggregate(at, all);
            if scrapes.values().all(Option::is_none) {
                let unknown = matches!(poll, Observation::Unreachable { .. });
                prop_assert!(unknown);
                continue;
            }
            let mut expected = 0;
            for (index, scrape) in &scrapes {
                if scrape.is_some() {
                    expected += if read[*index] == Some(sightings) { since[*index] } else { 0 };
                    (read[*index], since[*index]) = (Some(sightings + 1), 0);
                }
            }
            sightings += 1;
            let delta = delta_of(poll);
            prop_assert_eq!(requests(&delta), expected);
            let failed = scrapes.values().filter(|scrape| scrape.is_none()).count();
            prop_assert_eq!(delta.health.proxies, scrapes.len());
            prop_assert_eq!(delta.health.unreachable.len(), failed);
        }
    }
}

#[test]
fn counts_of_a_single_unreachable_proxy_count_later() {
    let (mut aggregator, mut fleet) = (FleetAggregator::default(), FakeStats::new(1));
    poll(&mut aggregator, 0, &[Some(&fleet)]);
    let failed = poll(&mut aggregator, 1, &[None]);
    assert_eq!(failed, Observation::Unreachable { reason: "connection refused".to_owned() });
    fleet.requests += 10;
    assert_eq!(requests(&delta_of(poll(&mut aggregator, 2, &[Some(&fleet)]))), 10);
}

#[test]
fn counts_of_one_of_several_unreachable_proxies_do_not_count() {
    let (mut aggregator, mut one, mut two) =
        (FleetAggregator::default(), FakeStats::new(1), FakeStats::new(1));
    poll(&mut aggregator, 0, &[Some(&one), Some(&two)]);
    (one.requests, two.requests) = (10, 20);
    let delta = delta_of(poll(&mut aggregator, 1, &[Some(&one), None]));
    assert_eq!(requests(&delta), 10);
    let [failed] = &delta.health.unreachable[..] else { panic!("{:?}", delta.health) };
    assert_eq!(
        (failed.to_string().as_str(), failed.since),
        ("edge-1 (connection refused)", POLL_INTERVAL)
    );
    (one.requests, two.requests) = (11, 22);
    assert_eq!(requests(&delta_of(poll(&mut aggregator, 2, &[Some(&one), Some(&two)]))), 1);
    two.requests += 5;
    assert_eq!(requests(&delta_of(poll(&mut aggregator, 3, &[Some(&one), Some(&two)]))), 5);
}

#[test]
fn a_few_unreachable_proxies_are_named() {
    let reason = |count| match poll(&mut FleetAggregator::default(), 0, &vec![None; count]) {
        Observation::Unreachable { reason } => reason,
        Observation::Delta(delta) => panic!("{delta:?}"),
    };
    assert_eq!(reason(0), "there is no proxy");
    assert_eq!(
        reason(2),
        "none of 2 proxies can be read: edge-0 (connection refused), edge-1 (connection refused)"
    );
    assert!(reason(9).ends_with("edge-4 (connection refused) and 4 more"), "{}", reason(9));
}

#[test]
fn lagging_rejecting_and_silent_proxies_are_named() {
    let mut aggregator = FleetAggregator::default();
    let mut fleet = [FakeStats::new(1), FakeStats::new(1), FakeStats::new(1), FakeStats::new(1)];
    let mut step = |fleet: &mut [FakeStats; 4], second, ticking: &[usize]| {
        for index in ticking {
            fleet[*index].ticks += 5;
        }
        let all = fleet.each_ref().map(Some);
        delta_of(poll(&mut aggregator, second, &all)).health
    };
    step(&mut fleet, 0, &[0, 1, 2, 3]);
    let steady = step(&mut fleet, 1, &[0, 1, 2, 3]);
    assert!(steady.confirms(Generation(1)), "{steady:?}");
    // The first two accept the new generation; a worker of the second lags.
    (fleet[0].generation, fleet[1].generation) = (2, 2);
    fleet[2].rejections += 1;
    step(&mut fleet, 2, &[0, 1, 2]);
    fleet[1].behind += 1;
    let health = step(&mut fleet, 3, &[0, 1, 2]);
    assert_eq!(health.unconfirmed, [name(1)]);
    assert_eq!(health.silent, [name(3)]);
    let behind: Vec<_> =
        health.outdated.iter().map(|behind| (behind.to_string(), behind.rejected)).collect();
    let expected =
        [("edge-2 (generation 1)".to_owned(), true), ("edge-3 (generation 1)".to_owned(), false)];
    assert_eq!(behind, expected);
    assert!(!health.confirms(Generation(2)));
    // All accept the next one.
    for fleet in &mut fleet {
        fleet.generation = 3;
    }
    let first = step(&mut fleet, 4, &[0, 1, 2, 3]);
    assert!(!first.confirms(Generation(3)), "their ticks may be older");
    let health = step(&mut fleet, 5, &[0, 1, 2, 3]);
    assert!(health.confirms(Generation(3)) && health.outdated.is_empty(), "{health:?}");
}

#[test]
fn an_unreachable_proxy_confirms_its_last_known_generation() {
    let (mut aggregator, mut one, mut two) =
        (FleetAggregator::default(), FakeStats::new(1), FakeStats::new(1));
    for second in 0..2 {
        (one.ticks, two.ticks) = (one.ticks + 5, two.ticks + 5);
        poll(&mut aggregator, second, &[Some(&one), Some(&two)]);
    }
    one.ticks += 5;
    let health = delta_of(poll(&mut aggregator, 2, &[Some(&one), None])).health;
    assert!(health.confirms(Generation(1)), "{health:?}");
    for second in 3..5 {
        (one.generation, one.ticks) = (2, one.ticks + 5);
        let health = delta_of(poll(&mut aggregator, second, &[Some(&one), None])).health;
        assert!(!health.confirms(Generation(2)), "{health:?}");
    }
}

#[test]
fn a_trip_under_an_older_generation_does_not_count() {
    let tripped = |generation, version: &str| FleetDelta {
        generation: Some(Generation(generation)),
        newest_generation: Some(Generation(generation)),
        tripped: [version.parse().unwrap()].into(),
        ..FleetDelta::default()
    };
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        let all = [tripped(1, "v1"), tripped(2, "v2"), tripped(2, "v3")];
        let mut sum = all[order[0]].clone();
        sum.add(&all[order[1]]);
        sum.add(&all[order[2]]);
        let tripped: Vec<_> = sum.tripped.iter().map(ToString::to_string).collect();
        assert_eq!(tripped, ["v2", "v3"]);
        assert_eq!(
            (sum.generation, sum.newest_generation),
            (Some(Generation(1)), Some(Generation(2)))
        );
    }
}
