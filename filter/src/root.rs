//! The filter's life in one worker of the proxy: configured, ticking, replaced.
//!
//! The proxy makes a new root for each new configuration, in the same VM. The old one lives on, without new streams, until its last
//! stream has ended; it goes on flushing what those streams count, and reports nothing else.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::time::SystemTime;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{ContextType, LogLevel};

use crate::config::Config;
use crate::host;
use crate::stat::{self, Stat};
use crate::stream::Stream;
use crate::tally::Tally;
use crate::worker::Worker;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|id| Box::new(Root::new(id)));
}}

thread_local! {
    /// The root that was configured last; the others have been replaced. They could be told by `on_done`, but the proxy would
    /// call that for each request too.
    static LATEST: Cell<Option<u32>> = const { Cell::new(None) };
}

struct Root {
    id: u32,
    /// `None` until configured.
    worker: Option<Rc<Worker>>,
    counters: Counters,
}

/// The ids of the counters used so far, by service and version, and within those by the place of the statistic.
#[derive(Default)]
struct Counters(Vec<Vec<Vec<Option<u32>>>>);

impl Counters {
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
        Self { id, worker: None, counters: Counters::default() }
    }

    fn is_replaced(&self) -> bool {
        LATEST.get() != Some(self.id)
    }

    fn flush(&mut self) {
        let Some(worker) = &self.worker else { return };
        for (index, service) in worker.config.services.iter().enumerate() {
            worker.with_meter(index, |meter| {
                for (version, tally) in meter.tallies().iter_mut().enumerate() {
                    self.counters.flush(&worker.config, index, version, tally);
                }
                if let (Some(watch), Some(watched)) = (&service.watch, meter.watched()) {
                    watched.drain(|salt, slice, counts| {
                        let slice = watch.slices.get(slice).copied().unwrap_or_default();
                        for (watched, count) in stat::Watched::ALL.into_iter().zip(counts) {
                            let name = watched.name(&service.name, salt, slice);
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

    /// Reports the generation, and whether this worker is on the newest. Every worker says so at every tick, so that a worker that
    /// lags shows, and one that died or was reloaded needs no bookkeeping.
    fn report_generation(&self) {
        let Some(worker) = &self.worker else { return };
        if host::newest_generation() == Some(worker.config.generation) {
            // First: who sees the generation must not see the tripwires of the one before.
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
    /// A configuration that is refused here is never put in force: the proxy tries it out first and keeps the old one.
    fn on_configure(&mut self, _: usize) -> bool {
        let text = host::configuration().unwrap_or_default();
        match Config::parse(&text) {
            Ok(config) => {
                host::announce(config.generation);
                let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
                host::set_gauge_once(stat::START_TIME, now.as_secs());
                self.counters = Counters::new(&config);
                let seed = RandomState::new().hash_one(config.generation);
                self.worker = Some(Rc::new(Worker::new(config, seed)));
                LATEST.set(Some(self.id));
                host::start_ticking();
                true
            }
            Err(error) => {
                log::error!("serin: configuration refused: {error}");
                host::increment(host::counter(stat::CONFIG_REJECTED), 1);
                false
            }
        }
    }

    fn on_tick(&mut self) {
        if let Some(worker) = &self.worker {
            let now_us = worker.now_us();
            (0..worker.config.services.len())
                .for_each(|index| worker.look_for_overdue(index, now_us));
        }
        self.flush();
        if !self.is_replaced() {
            self.report_generation();
        }
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream::new(self.worker.clone()?)))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl Drop for Root {
    /// The last streams may have ended after the last tick.
    fn drop(&mut self) {
        self.flush();
    }
}
