//! Carries a rollout out: looks at the proxies when the state machine wants to, and does what it asks.

pub mod envoy;

use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use serin_core::observation::Look;
use serin_core::ports::{Observer, Router, Source};
use serin_core::rollout::call::Call;
use serin_core::rollout::command::{Order, Refused};
use serin_core::rollout::event::{Event, Summary};
use serin_core::rollout::machine::{Input, Output, Rollout};
use serin_core::rollout::plan::Plan;
use serin_filter::names::Generation;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

pub use crate::engine::envoy::{Shared, Standalone, StartError};
pub(crate) use crate::engine::envoy::{running, stepping_back};
use crate::sources::prometheus::Surveyor;
use crate::webhooks;

/// What people want of a rollout under way.
#[derive(Debug)]
pub enum Wish {
    /// An [`Input::Interrupt`].
    Interrupt,
    /// An order, and where to say what became of it.
    Order(Order, oneshot::Sender<Result<(), Refused>>),
}

/// A rollout as it is when it begins, or goes on after a restart.
#[derive(Debug)]
pub struct Course {
    /// The state.
    pub rollout: Rollout,
    /// What came of it.
    pub outputs: Vec<Output>,
    /// Time since the rollout began.
    pub at: Duration,
}

/// What carries a rollout out, and where the evidence comes from.
#[derive(Debug)]
pub struct Engine<R, S> {
    /// Puts splits in force.
    pub router: R,
    /// Tells what the versions do.
    pub source: S,
}

impl<R: Router, S: Source> Engine<R, S> {
    /// Carries a rollout out to its end. What the course begins with has been kept.
    pub async fn run(
        self,
        course: Course,
        observer: &mut impl Observer,
        wishes: mpsc::Receiver<Wish>,
    ) -> Summary {
        let Self { router, mut source } = self;
        let Course { rollout, outputs, at } = course;
        let (answered, answers) = mpsc::unbounded_channel();
        let calls = JoinSet::new();
        let surveyor = Surveyor::new(rollout.plan()).map(Arc::new);
        let began = Instant::now();
        let mut drive = Drive {
            router,
            observer,
            wishes,
            answered,
            answers,
            calls,
            surveyor,
            rollout,
            at,
            began,
        };
        match drive.drive(&mut source, outputs).await {
            ControlFlow::Break(summary) => summary,
        }
    }
}

/// A rollout under way.
struct Drive<'o, R, O> {
    router: R,
    observer: &'o mut O,
    wishes: mpsc::Receiver<Wish>,
    /// Where calls that have ended say how.
    answered: mpsc::UnboundedSender<Input>,
    answers: mpsc::UnboundedReceiver<Input>,
    /// Ended with the rollout.
    calls: JoinSet<()>,
    surveyor: Option<Arc<Surveyor>>,
    rollout: Rollout,
    /// Time of the rollout when it was begun here.
    at: Duration,
    began: Instant,
}

/// What comes next.
enum Turn {
    Input(Input),
    Order(Order, oneshot::Sender<Result<(), Refused>>),
}

/// No rollout goes on for ever.
enum Never {}

impl<R: Router, O: Observer> Drive<'_, R, O> {
    async fn drive(
        &mut self,
        source: &mut impl Source,
        outputs: Vec<Output>,
    ) -> ControlFlow<Summary, Never> {
        let mut looked = Instant::now();
        self.carry_out(outputs).await?;
        loop {
            // What was taken meanwhile may want to look sooner.
            while self
                .meanwhile(pin!(sleep_until(looked + self.rollout.next_look())))
                .await?
                .is_none()
            {}
            let began = Instant::now();
            let late = began.saturating_duration_since(looked + self.rollout.next_look());
            let mut look = pin!(source.look());
            let look = loop {
                if let Some(look) = self.meanwhile(look.as_mut()).await? {
                    break look;
                }
            };
            looked = Instant::now();
            let look = self.of_this_rollout(look);
            self.take(Turn::Input(Input::Look(look))).await?;
            self.observer.looked(late, began.elapsed());
        }
    }

    fn of_this_rollout(&self, mut look: Look) -> Look {
        if let Look::Seen(seen) = &mut look {
            seen.renumber(|running| self.router.generation_at(running));
            seen.refusals = if seen.is_refused() { self.router.refusals() } else { None };
        }
        look
    }

    fn now(&self) -> Duration {
        self.at + self.began.elapsed()
    }

    /// Waits for the future, or takes what comes first: then `None`.
    async fn meanwhile<T>(
        &mut self,
        future: Pin<&mut impl Future<Output = T>>,
    ) -> ControlFlow<Summary, Option<T>> {
        let turn = tokio::select! {
            done = future => return ControlFlow::Continue(Some(done)),
            Some(wish) = self.wishes.recv() => match wish {
                Wish::Interrupt => Turn::Input(Input::Interrupt),
                Wish::Order(order, reply) => Turn::Order(order, reply),
            },
            Some(answer) = self.answers.recv() => Turn::Input(answer),
        };
        self.take(turn).await?;
        ControlFlow::Continue(None)
    }

    /// Takes a turn and does what comes of it.
    async fn take(&mut self, turn: Turn) -> ControlFlow<Summary> {
        let outputs = self.decide(turn).await;
        self.carry_out(outputs).await
    }

    /// Hands a turn to the state machine and has the outcome kept. A rollback is put in force before that: nothing may keep it
    /// waiting. Whatever else can't be kept is not done, as after a crash nobody would know of it; what was seen counts all the same.
    async fn decide(&mut self, turn: Turn) -> Vec<Output> {
        let now = self.now();
        let rollout = &mut self.rollout;
        let before = rollout.clone();
        let mut outputs = rollout.freeze(now, frozen(rollout.plan()));
        outputs.extend(match &turn {
            Turn::Input(input) => rollout.step(now, input.clone()),
            // Whoever has gone does not expect it to be done any more.
            Turn::Order(_, reply) if reply.is_closed() => return Vec::new(),
            Turn::Order(order, _) => match rollout.order(now, order.clone()) {
                Ok(outputs) => outputs,
                Err(refused) => {
                    turn.answer(Err(refused));
                    *rollout = before;
                    return Vec::new();
                }
            },
        });
        if rollout.goes_back() && !before.goes_back() {
            // If that fails it is tried again with all the rest.
            let _ = self.router.apply(rollout.split()).await;
        }
        match self.observer.keep(now, rollout, &outputs).await {
            Ok(()) => rollout.hold(false),
            Err(_) if rollout.goes_back() => rollout.hold(true),
            Err(why) => {
                *rollout = before;
                rollout.hold(true);
                return match turn {
                    Turn::Input(input) => rollout.step(now, input),
                    Turn::Order(..) => {
                        turn.answer(Err(Refused(format!("it can't be stored: {why}"))));
                        Vec::new()
                    }
                };
            }
        }
        turn.answer(Ok(()));
        outputs
    }

    /// Does what the state machine wants, and breaks with the summary when the rollout is over.
    async fn carry_out(&mut self, mut outputs: Vec<Output>) -> ControlFlow<Summary> {
        loop {
            let mut failed = None;
            for output in outputs {
                match output {
                    Output::Apply(split) => failed = self.router.apply(split).await.err(),
                    Output::Call(call) => self.call(call),
                    Output::Measure { generation } => self.measure(generation),
                    Output::Record(ruling) => self.observer.ruling(&ruling),
                    Output::Tell(event) => {
                        self.observer.event(self.now(), &event);
                        if let Event::Ended(summary) = *event {
                            return ControlFlow::Break(summary);
                        }
                    }
                }
            }
            let Some(why) = failed else { break };
            outputs = self.decide(Turn::Input(Input::NotApplied { why })).await;
        }
        self.observer.event(self.now(), &Event::Progress(self.rollout.status()));
        ControlFlow::Continue(())
    }

    fn call(&mut self, call: Call) {
        self.meanwhile_ask(async move {
            let answer = webhooks::call(&call).await;
            Input::Called { id: call.message.id, answer }
        });
    }

    fn measure(&mut self, generation: Generation) {
        let Some(surveyor) = self.surveyor.clone() else { return };
        self.meanwhile_ask(async move {
            Input::Measured { generation, values: surveyor.measure().await }
        });
    }

    /// Has the state machine told what the future gives, while all else goes on.
    fn meanwhile_ask(&mut self, question: impl Future<Output = Input> + Send + 'static) {
        let answered = self.answered.clone();
        self.calls.spawn(async move {
            // Nobody waits for the answer once the rollout is over.
            let _ = answered.send(question.await);
        });
        while self.calls.try_join_next().is_some() {}
    }
}

impl Turn {
    /// Says what became of an order.
    fn answer(self, answer: Result<(), Refused>) {
        if let Self::Order(_, reply) = self {
            // Whoever does not wait for the answer does not need it.
            let _ = reply.send(answer);
        }
    }
}

/// The end of the freeze that the plan is in.
pub(crate) fn frozen(plan: &Plan) -> Option<String> {
    plan.freezes.until(jiff::Timestamp::now()).map(|until| until.to_string())
}
