//! State of one worker under one configuration, shared by its streams.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use crate::config::{Config, Service, limit};
use crate::meter::Meter;
use crate::names::{ServiceName, VersionName};
use crate::tripwire::BaselineRate;
use crate::{host, stat};

type SharedRate = Rc<Cell<BaselineRate>>;

thread_local! {
    /// Failure rates of the baselines in this VM, over all generations.
    static BASELINES: RefCell<Vec<(ServiceName, VersionName, SharedRate)>> =
        const { RefCell::new(Vec::new()) };
}

/// The failure rate of the service's baseline, from this worker or another.
fn baseline(service: &Service) -> SharedRate {
    let Some(version) = service.versions.first() else { return SharedRate::default() };
    BASELINES.with_borrow_mut(|known| {
        let same = |(name, baseline, _): &(ServiceName, VersionName, SharedRate)| {
            *name == service.name && *baseline == version.name
        };
        let rate = match known.iter().position(same) {
            Some(index) => known.remove(index).2,
            None => SharedRate::default(),
        };
        // Forget the baseline that was configured the longest time ago.
        if known.len() == limit::TOTAL_VERSIONS {
            known.remove(0);
        }
        known.push((service.name.clone(), version.name.clone(), Rc::clone(&rate)));
        let shared = host::shared_baseline(&service.name, &version.name);
        rate.set(rate.get().or_shared(shared));
        rate
    })
}

/// Interval between reads of the trips of other workers. A read per request would cost more than
/// selection.
const TRIP_READ_INTERVAL_US: u64 = 10_000;

pub(crate) struct Worker {
    pub(crate) config: Config,
    meters: Vec<RefCell<Meter>>,
    /// By service, with the number of requests when last shared.
    baselines: Vec<(SharedRate, Cell<u32>)>,
    /// Trip states by service and version.
    trips: Vec<Vec<TripState>>,
    /// Time of the last tick.
    pub(crate) tick_us: Cell<u64>,
    /// Seeded per worker.
    random: RefCell<fastrand::Rng>,
    start: Instant,
}

#[derive(Default)]
struct TripState {
    /// As known to this worker.
    tripped: Cell<bool>,
    /// Time of the last read of the other workers' trips.
    read_us: Cell<Option<u64>>,
    /// Last value of the gauge.
    reported: Cell<Option<bool>>,
}

impl Worker {
    pub(crate) fn new(config: Config, seed: u64) -> Self {
        let trips =
            |service: &Service| service.versions.iter().map(|_| TripState::default()).collect();
        let baselines: Vec<_> = config.services.iter().map(baseline).collect();
        let meters = config.services.iter().zip(&baselines);
        let with_requests = |rate: SharedRate| {
            let requests = rate.get().requests();
            (rate, Cell::new(requests))
        };
        Self {
            meters: meters.map(|(s, baseline)| RefCell::new(Meter::new(s, baseline))).collect(),
            baselines: baselines.into_iter().map(with_requests).collect(),
            trips: config.services.iter().map(trips).collect(),
            config,
            tick_us: Cell::default(),
            random: RefCell::new(fastrand::Rng::with_seed(seed)),
            start: Instant::now(),
        }
    }

    /// Microseconds since the start of this configuration.
    pub(crate) fn now_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    pub(crate) fn random(&self) -> u64 {
        self.random.try_borrow_mut().map_or(0, |mut random| random.u64(..))
    }

    /// Calls `measure` with the meter of the service with this index.
    pub(crate) fn with_meter<T>(
        &self,
        service: usize,
        measure: impl FnOnce(&mut Meter) -> T,
    ) -> Option<T> {
        Some(measure(&mut *self.meters.get(service)?.try_borrow_mut().ok()?))
    }

    /// Whether this worker or another tripped a version.
    pub(crate) fn is_tripped(&self, index: usize, version: usize, now_us: u64) -> bool {
        let Some(service) = self.config.services.get(index) else { return false };
        // The baseline never trips: it receives the requests of tripped versions.
        if service.tripwire.is_none() || version == 0 {
            return false;
        }
        let Some(state) = self.trip_state(index, version) else { return false };
        let read = state.read_us.get();
        if !state.tripped.get()
            && read.is_none_or(|read| now_us.saturating_sub(read) >= TRIP_READ_INTERVAL_US)
            && let Some(version) = service.versions.get(version)
        {
            state.read_us.set(Some(now_us));
            let generation = self.config.generation;
            state.tripped.set(host::is_tripped(&service.name, &version.name, generation));
        }
        state.tripped.get()
    }

    /// Trips a version in all workers, until the next generation.
    pub(crate) fn trip(&self, index: usize, version: usize) {
        let (Some(service), Some(state)) =
            (self.config.services.get(index), self.trip_state(index, version))
        else {
            return;
        };
        if let Some(version) = service.versions.get(version)
            && !state.tripped.replace(true)
        {
            let generation = self.config.generation;
            log::error!(
                "serin: tripwire: {} of {} tripped, its requests go to the baseline (generation {generation})",
                version.name,
                service.name
            );
            host::share_trip(&service.name, &version.name, generation);
        }
    }

    fn trip_state(&self, service: usize, version: usize) -> Option<&TripState> {
        self.trips.get(service)?.get(version)
    }

    /// Counts overdue requests of a service, and trips its version if the tripwire does.
    pub(crate) fn detect_overdue(&self, service: usize, now_us: u64) {
        let tripped = self.with_meter(service, |meter| meter.detect_overdue(now_us));
        if let Some(version) = tripped.flatten() {
            self.trip(service, version);
        }
    }

    /// Shares the failure rates of the baselines that have new requests in this worker.
    pub(crate) fn share_baselines(&self) {
        for (service, (rate, last)) in self.config.services.iter().zip(&self.baselines) {
            let rate = rate.get();
            if last.replace(rate.requests()) != rate.requests()
                && let Some(version) = service.versions.first()
                && rate.replaces(host::shared_baseline(&service.name, &version.name))
            {
                host::share_baseline(&service.name, &version.name, rate);
            }
        }
    }

    /// Sets the gauges of the tripwires.
    pub(crate) fn report_tripwires(&self) {
        for (index, service) in self.config.services.iter().enumerate() {
            for (version, named) in service.versions.iter().enumerate().skip(1) {
                if service.tripwire.is_none() {
                    continue;
                }
                let tripped = self.is_tripped(index, version, self.now_us());
                let Some(state) = self.trip_state(index, version) else { continue };
                if state.reported.replace(Some(tripped)) != Some(tripped) {
                    let name = stat::of_version(&service.name, &named.name, stat::TRIPPED);
                    host::set_gauge(name, u64::from(tripped));
                }
            }
        }
    }
}
