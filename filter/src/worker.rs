//! What all streams of one worker share under one configuration: the configuration, the measurements, and which versions are cut off.

use std::cell::{Cell, RefCell};
use std::time::Instant;

use crate::config::{Config, Service};
use crate::meter::Meter;
use crate::{host, stat};

/// How long a worker may go on sending requests to a version that another one has cut off. To ask for each would cost more than to choose.
const ASK_EVERY_US: u64 = 10_000;

pub(crate) struct Worker {
    pub(crate) config: Config,
    meters: Vec<RefCell<Meter>>,
    /// Versions that the tripwire has cut off, by service and version.
    cut_off: Vec<Vec<Tripped>>,
    /// For requests without an identity. Seeded differently in each worker.
    random: RefCell<fastrand::Rng>,
    start: Instant,
}

#[derive(Default)]
struct Tripped {
    /// Known to this worker.
    is: Cell<bool>,
    /// When this worker last asked whether another has cut the version off.
    asked_us: Cell<Option<u64>>,
    /// What the gauge was last set to.
    reported: Cell<Option<bool>>,
}

impl Worker {
    pub(crate) fn new(config: Config, seed: u64) -> Self {
        let tripped =
            |service: &Service| service.versions.iter().map(|_| Tripped::default()).collect();
        Self {
            meters: config.services.iter().map(|s| RefCell::new(Meter::new(s))).collect(),
            cut_off: config.services.iter().map(tripped).collect(),
            config,
            random: RefCell::new(fastrand::Rng::with_seed(seed)),
            start: Instant::now(),
        }
    }

    /// Microseconds since this configuration came into force.
    pub(crate) fn now_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    pub(crate) fn random(&self) -> u64 {
        self.random.try_borrow_mut().map_or(0, |mut random| random.u64(..))
    }

    /// What is measured of the service with this index.
    pub(crate) fn with_meter<T>(
        &self,
        service: usize,
        measure: impl FnOnce(&mut Meter) -> T,
    ) -> Option<T> {
        Some(measure(&mut *self.meters.get(service)?.try_borrow_mut().ok()?))
    }

    /// Whether a version gets no requests any more, because this worker or another has cut it off.
    pub(crate) fn is_cut_off(&self, index: usize, version: usize, now_us: u64) -> bool {
        let Some(service) = self.config.services.get(index) else { return false };
        // The baseline is the last resort.
        if service.tripwire.is_none() || version == 0 {
            return false;
        }
        let Some(tripped) = self.tripped(index, version) else { return false };
        let asked = tripped.asked_us.get();
        if !tripped.is.get()
            && asked.is_none_or(|asked| now_us.saturating_sub(asked) >= ASK_EVERY_US)
            && let Some(version) = service.versions.get(version)
        {
            tripped.asked_us.set(Some(now_us));
            let generation = self.config.generation;
            tripped.is.set(host::is_cut_off(&service.name, &version.name, generation));
        }
        tripped.is.get()
    }

    /// Cuts a version off, in all workers, until the next generation.
    pub(crate) fn cut_off(&self, index: usize, version: usize) {
        let (Some(service), Some(tripped)) =
            (self.config.services.get(index), self.tripped(index, version))
        else {
            return;
        };
        if let Some(version) = service.versions.get(version)
            && !tripped.is.replace(true)
        {
            let generation = self.config.generation;
            log::error!(
                "serin: tripwire: {} of {} fails, all its requests go to the baseline (generation {generation})",
                version.name,
                service.name
            );
            host::cut_off(&service.name, &version.name, generation);
        }
    }

    fn tripped(&self, service: usize, version: usize) -> Option<&Tripped> {
        self.cut_off.get(service)?.get(version)
    }

    /// Counts requests of this service that have waited for too long by now.
    pub(crate) fn look_for_overdue(&self, service: usize, now_us: u64) {
        let hangs = self.with_meter(service, |meter| meter.look_for_overdue(now_us));
        if let Some(version) = hangs.flatten() {
            self.cut_off(service, version);
        }
    }

    /// Sets the gauges of the versions that a tripwire watches.
    pub(crate) fn report_tripwires(&self) {
        for (index, service) in self.config.services.iter().enumerate() {
            for (version, named) in service.versions.iter().enumerate().skip(1) {
                if service.tripwire.is_none() {
                    continue;
                }
                let is = self.is_cut_off(index, version, self.now_us());
                let Some(tripped) = self.tripped(index, version) else { continue };
                if tripped.reported.replace(Some(is)) != Some(is) {
                    let name = stat::of_version(&service.name, &named.name, stat::TRIPPED);
                    host::set_gauge(name, u64::from(is));
                }
            }
        }
    }
}
