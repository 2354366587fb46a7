//! A rollout on Envoys that follow one file, or one group of an xDS server.

use std::time::Duration;

use serin_core::config::sink::SinkLocation;
use serin_core::config::source::SourceConfig;
use serin_core::rollout::machine::Rollout;
use serin_core::rollout::plan::Plan;
use serin_core::spec::{Proxies, Spec};
use serin_filter::config::wire;
use serin_filter::names::Generation;
use serin_filter::table::Weight;
use tokio::task::JoinSet;

use super::start::{RoutingBackend, StartError, StartOptions, begin, resume};
use super::{Engine, RunState};
use crate::routers::filter::FilterRouter;
use crate::routers::{ConfigSinks, PresentSplit, RouteError};
use crate::sources::AnySource;
use crate::sources::fleet::Scraper;

/// The shared state of all rollouts of a process.
#[derive(Debug, Clone, Default)]
pub struct EngineContext {
    /// The configuration sinks; each is opened once.
    pub sinks: ConfigSinks,
    /// Scrapes proxies; concurrent readers share one scrape of a page.
    pub scraper: Scraper,
}

/// An engine for Envoys that follow one file or group.
pub type EnvoyEngine = Engine<FilterRouter>;

impl EnvoyEngine {
    /// Starts a rollout as [`begin`] does. `run` distinguishes rollouts of the same name.
    ///
    /// # Errors
    /// The file or group can't be opened, or a check failed.
    pub async fn begin(
        context: &EngineContext,
        spec: Spec,
        run: String,
        reset_users: bool,
    ) -> Result<(Self, RunState), StartError> {
        let (backend, plan) = EnvoyBackend::open(context, spec)?;
        let options = StartOptions { run, reset_users, last_generation: Generation(0) };
        begin(backend, plan, options).await
    }

    /// Resumes a rollout as [`resume`] does.
    ///
    /// # Errors
    /// The file or group can't be opened.
    pub async fn resume(
        context: &EngineContext,
        spec: Spec,
        rollout: Rollout,
        at: Duration,
    ) -> Result<(Self, RunState), StartError> {
        let (backend, _) = EnvoyBackend::open(context, spec)?;
        resume(backend, rollout, at).await
    }
}

/// One service in the filter's configuration.
struct EnvoyBackend<'c> {
    scraper: &'c Scraper,
    router: FilterRouter,
    sink: SinkLocation,
    source: SourceConfig,
}

impl<'c> EnvoyBackend<'c> {
    fn open(context: &'c EngineContext, spec: Spec) -> Result<(Self, Plan), StartError> {
        let Spec { plan, service, proxies, .. } = spec;
        let envoy = match proxies {
            Proxies::Envoy(envoy) => envoy,
            Proxies::Istio(_) => return Err(StartError::InCluster { field: "spec.istio" }),
            Proxies::GatewayApi(_) => {
                return Err(StartError::InCluster { field: "spec.gatewayApi" });
            }
        };
        let router = FilterRouter::open(&context.sinks, &envoy.sink, &service)
            .map_err(|cause| rejected(&envoy.sink, cause))?;
        let (sink, source) = (envoy.sink, envoy.source);
        Ok((Self { scraper: &context.scraper, router, sink, source }, plan))
    }
}

fn rejected(sink: &SinkLocation, cause: RouteError) -> StartError {
    StartError::Route { field: sink.field(), cause }
}

impl RoutingBackend for EnvoyBackend<'_> {
    type Router = FilterRouter;

    async fn present(&self) -> Result<PresentSplit, StartError> {
        Ok(self.router.present())
    }

    fn allow_aa_test(&mut self, test: wire::AaTest) -> Result<(), StartError> {
        self.router.allow_aa_test(test).map_err(|cause| rejected(&self.sink, cause))
    }

    fn connect(self, plan: &Plan, _: Generation, _: Weight) -> EnvoyEngine {
        let filter = self.router.filter();
        let source = AnySource::new(self.source, self.scraper, plan.service.clone(), filter);
        Engine { router: self.router, source, watches: JoinSet::new() }
    }
}
