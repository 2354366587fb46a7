//! Runs a rollout: polls the proxies at the state machine's intervals, and executes its outputs.

mod environment;
pub mod envoy;
pub mod start;

use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use serin_core::driver::{self, Environment, Turn};
use serin_core::ports::{Journal, Router, Source};
use serin_core::rollout::command::{Command, Rejected};
use serin_core::rollout::event::{Event, Summary};
use serin_core::rollout::freeze::FreezeSchedule;
use serin_core::rollout::machine::{Input, Output, Rollout};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use self::environment::LiveEnvironment;
pub use self::envoy::{EngineContext, EnvoyEngine};
use crate::sources::AnySource;
use crate::sources::metrics::MetricSampler;

/// A control message to a running rollout.
#[derive(Debug)]
pub enum ControlMessage {
    /// An [`Input::Interrupt`].
    Interrupt,
    /// A command, and the channel for its result.
    Command(Command, oneshot::Sender<Result<(), Rejected>>),
}

/// The state of a rollout at its start, or after a restart.
#[derive(Debug)]
pub struct RunState {
    /// The state machine.
    pub rollout: Rollout,
    /// Its outputs, not executed yet.
    pub outputs: Vec<Output>,
    /// Time since the rollout started.
    pub at: Duration,
}

/// The engine of one rollout, with its router and its source of evidence.
#[derive(Debug)]
pub struct Engine<R> {
    /// Applies splits.
    pub router: R,
    /// Polls the fleet.
    pub source: AnySource,
    /// Background tasks that feed the source. They end with the engine.
    pub watches: JoinSet<()>,
}

impl<R: Router> Engine<R> {
    /// Runs a rollout to its end. The journal already contains the initial state.
    pub async fn run(
        self,
        state: RunState,
        journal: &mut impl Journal,
        control: mpsc::Receiver<ControlMessage>,
    ) -> Summary {
        let Self { router, mut source, watches: _watches } = self;
        let RunState { rollout, outputs, at } = state;
        let (results_sender, results) = mpsc::unbounded_channel();
        let environment = LiveEnvironment {
            router,
            journal,
            results_sender,
            queries: JoinSet::new(),
            metric_sampler: MetricSampler::new(rollout.plan()).map(Arc::new),
            at,
            began: Instant::now(),
        };
        let mut running = RunningRollout { rollout, environment, control, results };
        match running.run(&mut source, outputs).await {
            ControlFlow::Break(summary) => summary,
        }
    }
}

/// A running rollout.
struct RunningRollout<'j, R, J> {
    rollout: Rollout,
    environment: LiveEnvironment<'j, R, J>,
    control: mpsc::Receiver<ControlMessage>,
    results: mpsc::UnboundedReceiver<Input>,
}

/// The loop never returns a value.
enum Never {}

impl<R: Router, J: Journal> RunningRollout<'_, R, J> {
    async fn run(
        &mut self,
        source: &mut impl Source,
        outputs: Vec<Output>,
    ) -> ControlFlow<Summary, Never> {
        let mut polled = Instant::now();
        self.execute(outputs).await?;
        loop {
            // An input may shorten the poll interval.
            while self
                .until_input(pin!(sleep_until(polled + self.rollout.next_poll())))
                .await?
                .is_none()
            {}
            let began = Instant::now();
            let late = began.saturating_duration_since(polled + self.rollout.next_poll());
            let mut observation = pin!(source.observe());
            let observation = loop {
                if let Some(observation) = self.until_input(observation.as_mut()).await? {
                    break observation;
                }
            };
            polled = Instant::now();
            let observation = self.environment.map_generations(observation);
            self.handle(Input::Observation(observation)).await?;
            self.environment.journal.on_poll(late, began.elapsed());
        }
    }

    /// Waits for the future, or returns `None` after it handles an earlier input.
    async fn until_input<T>(
        &mut self,
        future: Pin<&mut impl Future<Output = T>>,
    ) -> ControlFlow<Summary, Option<T>> {
        tokio::select! {
            done = future => return ControlFlow::Continue(Some(done)),
            Some(message) = self.control.recv() => match message {
                ControlMessage::Interrupt => self.handle(Input::Interrupt).await?,
                ControlMessage::Command(command, reply) => self.command(command, reply).await?,
            },
            Some(result) = self.results.recv() => self.handle(result).await?,
        }
        ControlFlow::Continue(None)
    }

    async fn handle(&mut self, input: Input) -> ControlFlow<Summary> {
        driver::handle(&mut self.rollout, &mut self.environment, input).await?;
        self.report_progress()
    }

    async fn command(
        &mut self,
        command: Command,
        reply: oneshot::Sender<Result<(), Rejected>>,
    ) -> ControlFlow<Summary> {
        if reply.is_closed() {
            // The sender is gone and does not expect the command to be executed.
            return ControlFlow::Continue(());
        }
        let turn = Turn::Command(command);
        let decided = driver::decide(&mut self.rollout, &mut self.environment, turn).await;
        let (result, outputs) = match decided {
            Ok(outputs) => (Ok(()), outputs),
            Err(rejected) => (Err(rejected), Vec::new()),
        };
        // The send fails only if the sender no longer waits.
        let _ = reply.send(result);
        self.execute(outputs).await
    }

    async fn execute(&mut self, outputs: Vec<Output>) -> ControlFlow<Summary> {
        driver::execute(&mut self.rollout, &mut self.environment, outputs).await?;
        self.report_progress()
    }

    fn report_progress(&mut self) -> ControlFlow<Summary> {
        let progress = Event::Progress(self.rollout.status());
        self.environment.event(self.environment.now(), &progress);
        ControlFlow::Continue(())
    }
}

/// The end of the present freeze.
fn freeze_end(freezes: &FreezeSchedule) -> Option<String> {
    freezes.until(jiff::Timestamp::now()).map(|until| until.to_string())
}
