//! Carries a rollout out: looks at the proxy when the state machine wants to, and does what it asks.

use std::ops::ControlFlow;
use std::time::Duration;

use serin_filter::names::Generation;
use serin_filter::stat::FLUSH_INTERVAL;
use serin_filter::table::Weight;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

use crate::judge::Ruling;
use crate::rollout::event::{Event, Summary};
use crate::rollout::machine::{Input, Output, Rollout};
use crate::rollout::order::{Order, Refused};
use crate::rollout::plan::Plan;
use crate::rollout::spec::Spec;
use crate::route::envoy_file::{EnvoyFile, FileError};
use crate::sli::admin::{Admin, AdminError};
use crate::sli::{Differ, Look};

/// How long a filter may take to report for the first time: its proxy may just have been started.
const FIRST_REPORT: Duration = Duration::from_secs(3);

/// Why a rollout could not begin. Nothing was changed.
#[derive(Debug, Error)]
#[allow(missing_docs)] // the messages say it
pub enum StartError {
    #[error("spec.envoy.filterConfig: {0}; nothing was changed")]
    File(#[from] FileError),
    #[error("spec.freeze: nothing begins before {until}; nothing was changed")]
    Frozen { until: String },
    #[error("{found}; --anew takes them to {baseline} and begins at {first}; nothing was changed")]
    StepBack { found: String, baseline: String, first: Weight },
    #[error("{0}; nothing was changed")]
    Admin(#[from] AdminError),
    #[error(
        "Envoy runs no serin filter: is it in the listener's http_filters, and did its module load? (no statistic {}); nothing was changed",
        serin_filter::stat::GENERATION
    )]
    NoFilter,
}

/// Who wants to know what happens, and keeps it.
pub trait Observer {
    /// Keeps the state and what came of it, before it is acted on.
    ///
    /// # Errors
    /// It can't be kept. Then nothing is done, unless traffic goes back.
    fn keep(&mut self, at: Duration, rollout: &Rollout, outputs: &[Output]) -> Result<(), String>;
    /// Something happened, `at` this time since the rollout began.
    fn event(&mut self, at: Duration, event: &Event);
    /// The judge has ruled on a block.
    fn ruling(&mut self, ruling: &Ruling);
}

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
    rollout: Rollout,
    outputs: Vec<Output>,
    at: Duration,
}

impl Course {
    /// The state at its begin, and what came of it.
    #[must_use]
    pub fn begin(&self) -> (&Rollout, &[Output]) {
        (&self.rollout, &self.outputs)
    }
}

/// The proxy, and where a rollout stands with it.
#[derive(Debug)]
pub struct Engine {
    admin: Admin,
    file: EnvoyFile,
    differ: Differ,
}

impl Engine {
    /// Makes sure that a rollout can begin, and that nobody is taken from a version that they have met, unless `anew` allows that.
    ///
    /// # Errors
    /// It can't.
    pub async fn begin(spec: Spec, anew: bool) -> Result<(Self, Course), StartError> {
        let Spec { mut plan, service, envoy } = spec;
        if let Some(until) = frozen(&plan) {
            return Err(StartError::Frozen { until });
        }
        let mut file = EnvoyFile::open(&envoy.filter_config, &service)?;
        if file.candidate() > Weight::ZERO {
            // They stay with it: to choose another salt now would take them away.
            plan.forgo_watch();
        }
        plan.watched().map_or(Ok(()), |watch| file.allow(watch))?;
        if !anew && let Some(found) = stepping_back(&plan, &file) {
            let first = plan.steps.first().map_or(Weight::ZERO, |step| step.weight);
            return Err(StartError::StepBack { found, baseline: plan.baseline.to_string(), first });
        }
        let admin = Admin::new(&envoy.admin, plan.service.clone(), file.filter().to_owned())?;
        let (engine, generation) = Self::connect(admin, file).await?;
        let (rollout, outputs) = Rollout::start(plan, generation);
        Ok((engine, Course { rollout, outputs, at: Duration::ZERO }))
    }

    /// Goes on with a rollout where it was `at` this time since it began: its split is asked for again, under the same generation.
    /// If the file is one generation ahead and has no users at the candidate, that was a rollback, which is done before it is stored, and is
    /// done again.
    ///
    /// # Errors
    /// The file can't be opened. Whether the proxy is there does not matter yet.
    pub fn resume(
        spec: Spec,
        mut rollout: Rollout,
        at: Duration,
    ) -> Result<(Self, Course), StartError> {
        let Spec { plan, service, envoy } = spec;
        let mut file = EnvoyFile::open(&envoy.filter_config, &service)?;
        rollout.plan().watched().map_or(Ok(()), |watch| file.allow(watch))?;
        let admin = Admin::new(&envoy.admin, plan.service, file.filter().to_owned())?;
        let generation = rollout.split().generation;
        let rolled_back =
            file.generation() == generation.next() && file.candidate() == Weight::ZERO;
        rollout.wake(at, if rolled_back { file.generation() } else { generation });
        let outputs = match rolled_back {
            true => rollout.roll_back_again(at),
            false => vec![Output::Apply(rollout.split())],
        };
        Ok((Self { admin, file, differ: Differ::default() }, Course { rollout, outputs, at }))
    }

    /// The proxy answers and runs the filter.
    async fn connect(admin: Admin, file: EnvoyFile) -> Result<(Self, Generation), StartError> {
        let deadline = Instant::now() + FIRST_REPORT;
        loop {
            let mut differ = Differ::default();
            let first = differ.difference(admin.snapshot().await?);
            if let Some(running) = first.generation {
                let generation = running.max(file.generation());
                return Ok((Self { admin, file, differ }, generation));
            }
            if Instant::now() >= deadline {
                return Err(StartError::NoFilter);
            }
            sleep(FLUSH_INTERVAL).await;
        }
    }

    /// Carries a rollout out to its end. What the course begins with has been kept.
    pub async fn run(
        mut self,
        course: Course,
        observer: &mut impl Observer,
        mut wishes: mpsc::Receiver<Wish>,
    ) -> Summary {
        let Course { mut rollout, mut outputs, at } = course;
        let (began, mut looked) = (Instant::now(), Instant::now());
        loop {
            let turn = match self.carry_out(at + began.elapsed(), outputs, observer) {
                ControlFlow::Break(summary) => return summary,
                ControlFlow::Continue(Err(error)) => {
                    Turn::Input(Input::NotApplied { why: error.to_string() })
                }
                ControlFlow::Continue(Ok(())) => {
                    observer.event(at + began.elapsed(), &Event::Progress(rollout.status()));
                    tokio::select! {
                        look = self.look_at(looked + rollout.next_look()) => {
                            looked = Instant::now();
                            Turn::Input(Input::Look(look))
                        }
                        Some(wish) = wishes.recv() => match wish {
                            Wish::Interrupt => Turn::Input(Input::Interrupt),
                            Wish::Order(order, reply) => Turn::Order(order, reply),
                        }
                    }
                }
            };
            outputs = self.take(at + began.elapsed(), turn, &mut rollout, observer);
        }
    }

    /// Hands a turn to the state machine and has the outcome kept. A rollback is written to the proxy before that: nothing may keep it
    /// waiting. Whatever else can't be kept is not done, as after a crash nobody would know of it; what was seen counts all the same.
    fn take(
        &mut self,
        now: Duration,
        turn: Turn,
        rollout: &mut Rollout,
        observer: &mut impl Observer,
    ) -> Vec<Output> {
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
            let _ = self.file.apply(rollout.split());
        }
        match observer.keep(now, rollout, &outputs) {
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
    fn carry_out(
        &mut self,
        now: Duration,
        outputs: Vec<Output>,
        observer: &mut impl Observer,
    ) -> ControlFlow<Summary, Result<(), FileError>> {
        let mut applied = Ok(());
        for output in outputs {
            match output {
                Output::Apply(split) => applied = self.file.apply(split),
                Output::Record(ruling) => observer.ruling(&ruling),
                Output::Tell(event) => {
                    observer.event(now, &event);
                    if let Event::Ended(summary) = *event {
                        return ControlFlow::Break(summary);
                    }
                }
            }
        }
        ControlFlow::Continue(applied)
    }

    /// Waits until `due`, then looks. To drop the future before it ends loses nothing.
    async fn look_at(&mut self, due: Instant) -> Look {
        sleep_until(due).await;
        match self.admin.snapshot().await {
            Ok(snapshot) => Look::Seen(self.differ.difference(snapshot)),
            Err(error) => Look::Unreachable { why: error.to_string() },
        }
    }
}

/// The end of the freeze that the plan is in.
fn frozen(plan: &Plan) -> Option<String> {
    plan.freezes.until(jiff::Timestamp::now()).map(|until| until.to_string())
}

/// What comes next.
enum Turn {
    Input(Input),
    Order(Order, oneshot::Sender<Result<(), Refused>>),
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

/// What speaks against beginning at the first step: users who would be taken from a version that they have met.
fn stepping_back(plan: &Plan, file: &EnvoyFile) -> Option<String> {
    let first = plan.steps.first().map_or(Weight::ZERO, |step| step.weight);
    let Plan { service, baseline, candidate, .. } = plan;
    match (file.candidate(), file.others()) {
        (weight, _) if weight > first => {
            Some(format!("{candidate} has {weight} of the users of {service} already"))
        }
        (_, others) if others > Weight::ZERO => Some(format!(
            "a version of {service} that is neither {baseline} nor {candidate} has {others} of the users"
        )),
        _ => None,
    }
}
