//! Runs a rollout: polls the proxies at the state machine's intervals, and executes its outputs.

pub mod envoy;

use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use serin_core::observation::Observation;
use serin_core::ports::{Journal, Router, Source};
use serin_core::rollout::call::HookCall;
use serin_core::rollout::command::{Command, Rejected};
use serin_core::rollout::event::{Event, Summary};
use serin_core::rollout::machine::{Input, Output, Rollout};
use serin_core::rollout::plan::Plan;
use serin_filter::names::Generation;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

pub use crate::engine::envoy::{EngineContext, EnvoyEngine, StartError};
pub(crate) use crate::engine::envoy::{reassigned_users, running};
use crate::sources::metrics::MetricSampler;
use crate::webhooks;

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
    /// The state.
    pub rollout: Rollout,
    /// Its outputs.
    pub outputs: Vec<Output>,
    /// Time since the rollout started.
    pub at: Duration,
}

/// The engine of one rollout, with its router and its source of evidence.
#[derive(Debug)]
pub struct Engine<R, S> {
    /// Applies splits.
    pub router: R,
    /// Polls the fleet.
    pub source: S,
}

impl<R: Router, S: Source> Engine<R, S> {
    /// Runs a rollout to its end. The journal already contains the initial state.
    pub async fn run(
        self,
        course: RunState,
        journal: &mut impl Journal,
        control: mpsc::Receiver<ControlMessage>,
    ) -> Summary {
        let Self { router, mut source } = self;
        let RunState { rollout, outputs, at } = course;
        let (results_sender, results) = mpsc::unbounded_channel();
        let calls = JoinSet::new();
        let metric_sampler = MetricSampler::new(rollout.plan()).map(Arc::new);
        let began = Instant::now();
        let mut drive = Driver {
            router,
            journal,
            control,
            results_sender,
            results,
            calls,
            metric_sampler,
            rollout,
            at,
            began,
        };
        match drive.drive(&mut source, outputs).await {
            ControlFlow::Break(summary) => summary,
        }
    }
}

/// A running rollout.
struct Driver<'o, R, O> {
    router: R,
    journal: &'o mut O,
    control: mpsc::Receiver<ControlMessage>,
    /// Receives the results of calls.
    results_sender: mpsc::UnboundedSender<Input>,
    results: mpsc::UnboundedReceiver<Input>,
    /// The calls in flight; they are cancelled when the rollout ends.
    calls: JoinSet<()>,
    metric_sampler: Option<Arc<MetricSampler>>,
    rollout: Rollout,
    /// Time of the rollout when this process started it.
    at: Duration,
    began: Instant,
}

/// The next input.
enum EngineInput {
    Input(Input),
    Command(Command, oneshot::Sender<Result<(), Rejected>>),
}

/// The loop never returns a value.
enum Never {}

impl<R: Router, O: Journal> Driver<'_, R, O> {
    async fn drive(
        &mut self,
        source: &mut impl Source,
        outputs: Vec<Output>,
    ) -> ControlFlow<Summary, Never> {
        let mut looked = Instant::now();
        self.execute(outputs).await?;
        loop {
            // An input may shorten the poll interval.
            while self
                .until_input(pin!(sleep_until(looked + self.rollout.next_poll())))
                .await?
                .is_none()
            {}
            let began = Instant::now();
            let late = began.saturating_duration_since(looked + self.rollout.next_poll());
            let mut observation = pin!(source.observe());
            let observation = loop {
                if let Some(observation) = self.until_input(observation.as_mut()).await? {
                    break observation;
                }
            };
            looked = Instant::now();
            let observation = self.map_generations(observation);
            self.handle(EngineInput::Input(Input::Observation(observation))).await?;
            self.journal.on_poll(late, began.elapsed());
        }
    }

    fn map_generations(&self, mut observation: Observation) -> Observation {
        if let Observation::Delta(seen) = &mut observation {
            seen.map_generations(|running| self.router.generation_at(running));
            seen.rejection_reasons =
                if seen.is_rejected() { self.router.rejection_reason() } else { None };
        }
        observation
    }

    fn now(&self) -> Duration {
        self.at + self.began.elapsed()
    }

    /// Waits for the future, or returns `None` after it handles an earlier input.
    async fn until_input<T>(
        &mut self,
        future: Pin<&mut impl Future<Output = T>>,
    ) -> ControlFlow<Summary, Option<T>> {
        let turn = tokio::select! {
            done = future => return ControlFlow::Continue(Some(done)),
            Some(wish) = self.control.recv() => match wish {
                ControlMessage::Interrupt => EngineInput::Input(Input::Interrupt),
                ControlMessage::Command(order, reply) => EngineInput::Command(order, reply),
            },
            Some(answer) = self.results.recv() => EngineInput::Input(answer),
        };
        self.handle(turn).await?;
        ControlFlow::Continue(None)
    }

    /// Handles an input and executes the outputs.
    async fn handle(&mut self, turn: EngineInput) -> ControlFlow<Summary> {
        let outputs = self.decide(turn).await;
        self.execute(outputs).await
    }

    /// Passes an input to the state machine and persists the outcome. A rollback is applied
    /// before it is persisted, because nothing may delay it. If persistence fails, other outputs
    /// are dropped, since a crash would lose them; the samples count all the same.
    async fn decide(&mut self, turn: EngineInput) -> Vec<Output> {
        // The sender of a command that has gone does not expect it to be carried out any more.
        if matches!(&turn, EngineInput::Command(_, reply) if reply.is_closed()) {
            return Vec::new();
        }
        let now = self.now();
        let rollout = &mut self.rollout;
        let before = rollout.clone();
        let mut outputs = rollout.freeze(now, frozen(rollout.plan()));
        outputs.extend(match &turn {
            EngineInput::Input(input) => rollout.step(now, input.clone()),
            EngineInput::Command(order, _) => match rollout.execute(now, order.clone()) {
                Ok(outputs) => outputs,
                Err(refused) => {
                    turn.answer(Err(refused));
                    *rollout = before;
                    return Vec::new();
                }
            },
        });
        if rollout.is_rolling_back() && !before.is_rolling_back() {
            // A failed write is retried with the other outputs.
            let _ = self.router.apply(rollout.split()).await;
        }
        match self.journal.commit(now, rollout, &outputs).await {
            Ok(()) => rollout.set_store_available(true),
            Err(_) if rollout.is_rolling_back() => rollout.set_store_available(false),
            Err(why) => {
                *rollout = before;
                rollout.set_store_available(false);
                return match turn {
                    EngineInput::Input(input) => rollout.step(now, input),
                    EngineInput::Command(..) => {
                        turn.answer(Err(Rejected(format!("it can't be stored: {why}"))));
                        Vec::new()
                    }
                };
            }
        }
        turn.answer(Ok(()));
        outputs
    }

    /// Executes the outputs, and breaks with the summary when the rollout ends.
    async fn execute(&mut self, mut outputs: Vec<Output>) -> ControlFlow<Summary> {
        loop {
            let mut failed = None;
            for output in outputs {
                match output {
                    Output::Apply(split) => failed = self.router.apply(split).await.err(),
                    Output::CallHook(call) => self.call(call),
                    Output::SampleMetrics { generation } => self.sample_metrics(generation),
                    Output::RecordRuling(ruling) => self.journal.ruling(&ruling),
                    Output::Emit(event) => {
                        self.journal.event(self.now(), &event);
                        if let Event::Ended(summary) = *event {
                            return ControlFlow::Break(summary);
                        }
                    }
                }
            }
            let Some(reason) = failed else { break };
            outputs = self.decide(EngineInput::Input(Input::ApplyFailed { reason })).await;
        }
        self.journal.event(self.now(), &Event::Progress(self.rollout.status()));
        ControlFlow::Continue(())
    }

    fn call(&mut self, call: HookCall) {
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

    /// Runs a query in the background and sends its result to the state machine.
    fn spawn_query(&mut self, question: impl Future<Output = Input> + Send + 'static) {
        let answered = self.results_sender.clone();
        self.calls.spawn(async move {
            // The send fails only after the rollout ended.
            let _ = answered.send(question.await);
        });
        while self.calls.try_join_next().is_some() {}
    }
}

impl EngineInput {
    /// Sends the result of a command.
    fn answer(self, answer: Result<(), Rejected>) {
        if let Self::Command(_, reply) = self {
            // The send fails only if the caller no longer waits.
            let _ = reply.send(answer);
        }
    }
}

/// The end of the present freeze.
pub(crate) fn frozen(plan: &Plan) -> Option<String> {
    plan.freezes.until(jiff::Timestamp::now()).map(|until| until.to_string())
}
