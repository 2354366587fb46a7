//! Carries a rollout out: looks at the proxy when the state machine wants to, and does what it asks.

use std::ops::ControlFlow;
use std::time::Duration;

use serin_filter::names::Generation;
use serin_filter::stat::FLUSH_INTERVAL;
use thiserror::Error;
use tokio::time::{Instant, sleep, sleep_until};

use crate::judge::Ruling;
use crate::rollout::event::{Event, Summary};
use crate::rollout::machine::{Input, Output, Rollout};
use crate::rollout::plan::Plan;
use crate::route::envoy_file::{EnvoyFile, FileError};
use crate::sli::admin::{Admin, AdminError};
use crate::sli::{Differ, Look};

/// How long a filter may take to report for the first time: its proxy may just have been started.
const FIRST_REPORT: Duration = Duration::from_secs(3);

/// Why a rollout could not begin. Nothing was changed.
#[derive(Debug, Error)]
#[allow(missing_docs)] // the messages say it
pub enum StartError {
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error(
        "Envoy runs no serin filter: is it in the listener's http_filters, and did its module load? (no statistic {})",
        serin_filter::stat::GENERATION
    )]
    NoFilter,
}

/// Who wants to know what happens.
pub trait Observer {
    /// Something happened, `at` this time since the rollout began.
    fn event(&mut self, at: Duration, event: &Event);
    /// The judge has ruled on a block.
    fn ruling(&mut self, ruling: &Ruling);
}

/// The proxy, and where a rollout stands with it.
pub struct Engine {
    admin: Admin,
    file: EnvoyFile,
    differ: Differ,
    generation: Generation,
}

impl Engine {
    /// Makes sure that a rollout can begin: the proxy answers and runs the filter.
    ///
    /// # Errors
    /// It does not.
    pub async fn connect(admin: Admin, file: EnvoyFile) -> Result<Self, StartError> {
        let deadline = Instant::now() + FIRST_REPORT;
        loop {
            let mut differ = Differ::default();
            let first = differ.difference(admin.snapshot().await?);
            if let Some(running) = first.generation {
                let generation = running.max(file.generation());
                return Ok(Self { admin, file, differ, generation });
            }
            if Instant::now() >= deadline {
                return Err(StartError::NoFilter);
            }
            sleep(FLUSH_INTERVAL).await;
        }
    }

    /// Carries `plan` out to its end. Each message on `interrupts` is an [`Input::Interrupt`].
    pub async fn run(
        mut self,
        plan: Plan,
        observer: &mut impl Observer,
        mut interrupts: tokio::sync::mpsc::Receiver<()>,
    ) -> Summary {
        let began = Instant::now();
        let (mut rollout, mut outputs) = Rollout::start(plan, self.generation);
        let mut looked = began;
        loop {
            outputs = match self.carry_out(began.elapsed(), outputs, observer) {
                ControlFlow::Break(summary) => return summary,
                ControlFlow::Continue(Err(error)) => {
                    rollout.step(began.elapsed(), Input::NotApplied { why: error.to_string() })
                }
                ControlFlow::Continue(Ok(())) => {
                    observer.event(began.elapsed(), &Event::Progress(rollout.status()));
                    tokio::select! {
                        look = self.look_at(looked + rollout.next_look()) => {
                            looked = Instant::now();
                            rollout.step(looked - began, Input::Look(look))
                        }
                        Some(()) = interrupts.recv() => {
                            rollout.step(began.elapsed(), Input::Interrupt)
                        }
                    }
                }
            };
        }
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
