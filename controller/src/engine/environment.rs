//! The environment of a rollout in real time: sockets, a clock and background tasks.

use std::sync::Arc;
use std::time::Duration;

use serin_core::driver::Environment;
use serin_core::judge::Ruling;
use serin_core::observation::Observation;
use serin_core::ports::{Journal, Router};
use serin_core::rollout::call::HookCall;
use serin_core::rollout::event::Event;
use serin_core::rollout::freeze::FreezeSchedule;
use serin_core::rollout::machine::{Input, Output, Rollout};
use serin_core::split::Split;
use serin_filter::names::Generation;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::freeze_end;
use crate::sources::metrics::MetricSampler;
use crate::webhooks;

/// The environment of a rollout in real time.
pub(super) struct LiveEnvironment<'j, R, J> {
    pub(super) router: R,
    pub(super) journal: &'j mut J,
    /// Sends the results of queries.
    pub(super) results_sender: mpsc::UnboundedSender<Input>,
    /// The calls and queries in flight; they are cancelled when the rollout ends.
    pub(super) queries: JoinSet<()>,
    pub(super) metric_sampler: Option<Arc<MetricSampler>>,
    /// Time of the rollout when this process started it.
    pub(super) at: Duration,
    pub(super) began: Instant,
}

impl<R: Router, J> LiveEnvironment<'_, R, J> {
    /// Maps the generations that proxies report to the rollout's own.
    pub(super) fn map_generations(&self, mut observation: Observation) -> Observation {
        if let Observation::Delta(delta) = &mut observation {
            delta.map_generations(|running| self.router.generation_at(running));
            delta.rejection_reasons =
                if delta.is_rejected() { self.router.rejection_reason() } else { None };
        }
        observation
    }

    /// Runs a query in the background and sends its result to the state machine.
    fn spawn_query(&mut self, query: impl Future<Output = Input> + Send + 'static) {
        let results = self.results_sender.clone();
        self.queries.spawn(async move {
            // The send fails only after the rollout ended.
            let _ = results.send(query.await);
        });
        while self.queries.try_join_next().is_some() {}
    }
}

impl<R: Router, J: Journal> Router for LiveEnvironment<'_, R, J> {
    type Error = R::Error;

    async fn apply(&mut self, split: Split) -> Result<(), R::Error> {
        self.router.apply(split).await
    }

    fn generation_at(&self, running: Generation) -> Generation {
        self.router.generation_at(running)
    }
}

impl<R: Router, J: Journal> Journal for LiveEnvironment<'_, R, J> {
    type Error = J::Error;

    async fn commit(
        &mut self,
        at: Duration,
        rollout: &Rollout,
        outputs: &[Output],
    ) -> Result<(), J::Error> {
        self.journal.commit(at, rollout, outputs).await
    }

    fn event(&mut self, at: Duration, event: &Event) {
        self.journal.event(at, event);
    }

    fn ruling(&mut self, ruling: &Ruling) {
        self.journal.ruling(ruling);
    }
}

impl<R: Router, J: Journal> Environment for LiveEnvironment<'_, R, J> {
    fn now(&self) -> Duration {
        self.at + self.began.elapsed()
    }

    fn freeze_end(&self, freezes: &FreezeSchedule) -> Option<String> {
        freeze_end(freezes)
    }

    fn call_hook(&mut self, call: HookCall) {
        self.spawn_query(async move {
            let answer = webhooks::call(&call).await;
            Input::HookAnswered { id: call.message.id, answer }
        });
    }

    fn sample_metrics(&mut self, generation: Generation) {
        let Some(metric_sampler) = self.metric_sampler.clone() else { return };
        self.spawn_query(async move {
            Input::MetricsSampled { generation, values: metric_sampler.sample().await }
        });
    }
}
