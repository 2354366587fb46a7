//! Drives the state machine of a rollout: an input is decided, persisted, and only then executed.
//!
//! Pure: the [`Environment`] does the I/O. The engine drives rollouts with sockets and a clock, the
//! simulator and the tests in virtual time.

use std::ops::ControlFlow;
use std::time::Duration;

use serin_filter::names::Generation;

use crate::ports::{Journal, Router};
use crate::rollout::call::HookCall;
use crate::rollout::command::{Command, Rejected};
use crate::rollout::event::{Event, Summary};
use crate::rollout::freeze::FreezeSchedule;
use crate::rollout::machine::{Input, Output, Rollout};

/// The environment of one rollout.
pub trait Environment: Router + Journal {
    /// The time since the rollout started.
    fn now(&self) -> Duration;

    /// The end of the freeze that is in force now, for the user.
    fn freeze_end(&self, freezes: &FreezeSchedule) -> Option<String>;

    /// Calls a hook. The answer returns later as an [`Input::HookAnswered`].
    fn call_hook(&mut self, call: HookCall);

    /// Measures the plan's metrics. They return later as an [`Input::MetricsSampled`].
    fn sample_metrics(&mut self, generation: Generation);
}

/// What the state machine handles next.
#[derive(Debug, Clone)]
pub enum Turn {
    /// An input.
    Input(Input),
    /// A command of a user.
    Command(Command),
}

impl Turn {
    fn handle(&self, rollout: &mut Rollout, now: Duration) -> Result<Vec<Output>, Rejected> {
        match self {
            Self::Input(input) => Ok(rollout.step(now, input.clone())),
            Self::Command(command) => rollout.execute(now, command.clone()),
        }
    }
}

/// Passes a turn to the state machine and persists the outcome. Returns the outputs to execute.
///
/// A rollback is applied before it is persisted, because nothing may delay it. If persistence
/// fails, other outputs are dropped, since a crash would lose them; the samples count all the same.
///
/// # Errors
/// The command is rejected, and nothing changed. An input is never rejected.
pub async fn decide<E: Environment>(
    rollout: &mut Rollout,
    environment: &mut E,
    turn: Turn,
) -> Result<Vec<Output>, Rejected> {
    let now = environment.now();
    let before = rollout.clone();
    let freeze_end = environment.freeze_end(&rollout.plan().freezes);
    let mut outputs = rollout.freeze(now, freeze_end);
    match turn.handle(rollout, now) {
        Ok(more) => outputs.extend(more),
        Err(rejected) => {
            *rollout = before;
            return Err(rejected);
        }
    }
    if rollout.is_rolling_back() && !before.is_rolling_back() {
        let split = rollout.split();
        let applied = environment.apply(split).await.is_ok();
        // A failed write is repeated with the other outputs. The rollback supersedes any earlier
        // split among them.
        outputs.retain(|output| match output {
            Output::Apply(other) => !applied && *other == split,
            _ => true,
        });
    }
    match environment.commit(now, rollout, &outputs).await {
        Ok(()) => rollout.set_store_available(true),
        Err(_) if rollout.is_rolling_back() => rollout.set_store_available(false),
        Err(error) => {
            *rollout = before;
            rollout.set_store_available(false);
            return match turn {
                Turn::Input(input) => Ok(rollout.step(now, input)),
                Turn::Command(_) => Err(Rejected(format!("it can't be stored: {error}"))),
            };
        }
    }
    Ok(outputs)
}

/// Executes outputs, and breaks with the summary when the rollout ends.
pub async fn execute<E: Environment>(
    rollout: &mut Rollout,
    environment: &mut E,
    mut outputs: Vec<Output>,
) -> ControlFlow<Summary> {
    loop {
        let mut failure = None;
        for output in outputs {
            match output {
                Output::Apply(split) => failure = environment.apply(split).await.err(),
                Output::CallHook(call) => environment.call_hook(call),
                Output::SampleMetrics { generation } => environment.sample_metrics(generation),
                Output::RecordRuling(ruling) => environment.ruling(&ruling),
                Output::Emit(event) => {
                    environment.event(environment.now(), &event);
                    if let Event::Ended(summary) = *event {
                        return ControlFlow::Break(summary);
                    }
                }
            }
        }
        let Some(error) = failure else { return ControlFlow::Continue(()) };
        let failed = Turn::Input(Input::ApplyFailed { reason: error.to_string() });
        let Ok(next) = decide(rollout, environment, failed).await else {
            return ControlFlow::Continue(());
        };
        outputs = next;
    }
}

/// Handles an input: decides, persists and executes.
pub async fn handle<E: Environment>(
    rollout: &mut Rollout,
    environment: &mut E,
    input: Input,
) -> ControlFlow<Summary> {
    match decide(rollout, environment, Turn::Input(input)).await {
        Ok(outputs) => execute(rollout, environment, outputs).await,
        Err(_) => ControlFlow::Continue(()),
    }
}
