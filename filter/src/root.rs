//! The root context: configuration and ticks of the filter in one worker.
//!
//! The proxy creates a root context for each configuration, in the same VM. A replaced root
//! context gets no new streams and exists until its last stream ends. Until then it flushes the
//! counts of its streams and reports no generation.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::time::SystemTime;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{ContextType, LogLevel};

use crate::config::Config;
use crate::host;
use crate::redirect::RedirectedRequests;
use crate::stat::{self, Stat};
use crate::stream::{RedirectedRequest, Stream};
use crate::tally::Tally;
use crate::worker::Worker;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|id| Box::new(Root::new(id)));
}}

thread_local! {
    /// The root context that was configured last. `on_done` would report the replacement too, but
    /// the proxy calls it for every request.
    static ACTIVE_ROOT: Cell<Option<u32>> = const { Cell::new(None) };
}

struct Root {
    id: u32,
    /// `None` until configured.
    worker: Option<Rc<Worker>>,
    redirected: Rc<RedirectedRequests<RedirectedRequest>>,
    counters: CounterIds,
}

/// Ids of the counters in use, by service, version and [`Stat::index`].
#[derive(Default)]
struct CounterIds(Vec<Vec<Vec<Option<u32>>>>);

impl CounterIds {
    fn new(config: &Config) -> Self {
        Self(config.services.iter().map(|s| vec![Vec::new(); s.versions.len()]).collect())
    }

    fn flush(&mut self, config: &Config, service: usize, version: usize, tally: &mut Tally) {
        let Some(ids) = self.0.get_mut(service).and_then(|versions| versions.get_mut(version))
        else {
            return;
        };
        let define = |stat: Stat| {
            let service = config.services.get(service)?;
            host::counter(stat.name(&service.name, &service.versions.get(version)?.name))
        };
        tally.drain(|stat, by| {
            ids.resize(Stat::COUNT, None);
            if let Some(id) = ids.get_mut(stat.index()) {
                *id = id.or_else(|| define(stat));
                host::increment(*id, by);
            }
        });
    }
}

impl Root {
    fn new(id: u32) -> Self {
        Self { id, worker: None, redirected: Rc::default(), counters: CounterIds::default() }
    }

    fn is_replaced(&self) -> bool {
        ACTIVE_ROOT.get() != Some(self.id)
    }

    fn flush(&mut self) {
        let Some(worker) = &self.worker else { return };
        for (index, service) in worker.config.services.iter().enumerate() {
            worker.with_meter(index, |meter| {
                for (version, tally) in meter.tallies().iter_mut().enumerate() {
                    self.counters.flush(&worker.config, index, version, tally);
                }
                if let (Some(test), Some(slices)) = (&service.aa_test, meter.slice_counts()) {
                    slices.drain(|salt, slice, counts| {
                        let slice = test.slices.get(slice).copied().unwrap_or_default();
                        for (stat, count) in stat::SliceStat::ALL.into_iter().zip(counts) {
                            let name = stat.name(&service.name, salt, slice);
                            host::increment(host::counter(name), count.into());
                        }
                    });
                }
                let bypassed = meter.take_bypassed();
                if bypassed > 0 {
                    let name = stat::of_service(&service.name, stat::BYPASSED);
                    host::increment(host::counter(name), bypassed);
                }
            });
        }
    }

    /// Reports the generation, and whether this worker runs the newest. Each worker reports at
    /// each tick, so that a lagging worker is visible and a reloaded one needs no bookkeeping.
    fn report_generation(&self) {
        let Some(worker) = &self.worker else { return };
        if host::newest_generation() == Some(worker.config.generation) {
            // Before the generation: a reader of the new generation must not see older tripwires.
            worker.report_tripwires();
            host::set_gauge(stat::GENERATION, worker.config.generation.0);
            host::increment(host::counter(stat::TICKS), 1);
        } else {
            host::increment(host::counter(stat::TICKS_BEHIND), 1);
        }
    }
}

impl Context for Root {}

impl RootContext for Root {
    /// The proxy keeps the previous configuration if this returns false.
    fn on_configure(&mut self, _: usize) -> bool {
        let text = host::configuration().unwrap_or_default();
        match Config::parse(&text) {
            Ok(config) => {
                host::share_generation(config.generation);
                let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
                host::init_gauge(stat::START_TIME, now.as_secs());
                self.counters = CounterIds::new(&config);
                let seed = RandomState::new().hash_one(config.generation);
                self.worker = Some(Rc::new(Worker::new(config, seed)));
                ACTIVE_ROOT.set(Some(self.id));
                host::start_ticking();
                true
            }
            Err(error) => {
                log::error!("serin: configuration rejected: {error}");
                host::increment(host::counter(stat::CONFIG_REJECTED), 1);
                false
            }
        }
    }

    fn on_tick(&mut self) {
        if let Some(worker) = &self.worker {
            let now_us = worker.now_us();
            worker.tick_us.set(now_us);
            (0..worker.config.services.len())
                .for_each(|index| worker.detect_overdue(index, now_us));
            self.redirected.expire(now_us).iter().for_each(|request| request.complete(worker));
            worker.share_baselines();
        }
        self.flush();
        if !self.is_replaced() {
            self.report_generation();
        }
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream::new(self.worker.clone()?, Rc::clone(&self.redirected))))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl Drop for Root {
    /// Flushes the counts of streams that ended after the last tick.
    fn drop(&mut self) {
        if let Some(worker) = &self.worker {
            self.redirected.expire(u64::MAX).iter().for_each(|request| request.complete(worker));
        }
        self.flush();
    }
}
