//! `serin run`: one rollout, from its first step to its end.

use std::convert::Infallible;
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use serin_core::judge::Ruling;
use serin_core::ports::Journal;
use serin_core::rollout::event::{Event, RolloutVerdict, Summary};
use serin_core::rollout::machine::{Output, Rollout};
use tokio::sync::mpsc;
use tracing::Instrument;

use super::output::OutputArgs;
use super::signals::StopSignals;
use super::{CliError, CliResult, ExitStatus};
use crate::cli::reporter::BackgroundReporter;
use crate::cli::spec_file;
use crate::engine::start::StartError;
use crate::engine::{ControlMessage, EngineContext, EnvoyEngine};
use crate::record::Writer;
use crate::telemetry;

/// Run a rollout
///
/// Moves the service of ROLLOUT.yaml to its candidate by its strategy, at the Envoys of
/// spec.envoy, which run the serin filter. The gate of a step opens after its bake (time and
/// requests) without harm. Harm returns all traffic to the baseline, within the rollback window
/// too. So does Ctrl-C; a second Ctrl-C does not wait for Envoy to confirm.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE, after_long_help = EXAMPLE)]
pub(super) struct RunArgs {
    /// The rollout
    #[arg(value_name = "ROLLOUT.yaml")]
    rollout: PathBuf,

    #[command(flatten)]
    output: OutputArgs,

    /// Start at the first step even if that reassigns users of the candidate to the baseline
    #[arg(long)]
    reset_users: bool,

    /// Record the counts that the judge reads, for `serin judge`
    #[arg(long, value_name = "COUNTS.csv")]
    record: Option<PathBuf>,
}

const EXAMPLE: &str = "\
Example:
  serin run rollout.yaml
  serin run rollout.yaml --output json --record counts.csv | jq -c 'select(.event == \"gateOpened\")'

Exit codes:
  0 promoted, 3 rolled back (harm, or a limit of the rollout), 4 interrupted, 5 rolled back but not confirmed by Envoy,
  1 failed to start, 2 the rollout is invalid. With 1 and 2 nothing was changed.";

impl RunArgs {
    pub(super) async fn execute(self) -> CliResult {
        let spec = spec_file::read(&self.rollout)?;
        if spec.plan.steps.iter().any(|step| step.approval) {
            let rollout = self.rollout.display();
            return Err(CliError::invalid(format!(
                "{rollout}: `serin run` accepts no approvals; use `serin serve`"
            )));
        }
        let boundaries_ms = spec.plan.judge.boundaries_ms.clone();
        let run = Timestamp::now().as_millisecond().to_string();
        let begun =
            EnvoyEngine::begin(&EngineContext::default(), spec, run, self.reset_users).await;
        let (engine, run_state) = begun.map_err(|error| not_started(&error))?;
        let record = self.open_record(&boundaries_ms).map_err(CliError::failed)?;
        let interrupts = interrupts()?;
        let mut session =
            CliJournal { reporter: BackgroundReporter::new(self.output.format), record };
        let plan = run_state.rollout.plan();
        let span = telemetry::rollout_span(&plan.name, &plan.service, None);
        let summary = engine.run(run_state, &mut session, interrupts).instrument(span).await;
        session.reporter.finish();
        Ok(exit(&summary))
    }

    fn open_record(&self, boundaries_ms: &[f64]) -> Result<Option<Writer<File>>, String> {
        let Some(path) = &self.record else { return Ok(None) };
        let file = File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let writer = Writer::new(file, boundaries_ms);
        writer.map(Some).map_err(|error| format!("{}: {error}", path.display()))
    }
}

/// The error of a rollout that did not start, with the option that lets it start.
fn not_started(error: &StartError) -> CliError {
    let hint = match error {
        StartError::WouldReassignUsers { .. } => ", or use --reset-users",
        _ => "",
    };
    CliError::failed(format!("{error}{hint}; nothing was changed"))
}

/// The exit code of a rollout.
pub(super) fn exit(summary: &Summary) -> ExitStatus {
    match summary.verdict {
        _ if !summary.confirmed => ExitStatus::Unconfirmed,
        RolloutVerdict::Promoted => ExitStatus::Success,
        RolloutVerdict::RolledBack => ExitStatus::Harm,
        RolloutVerdict::Interrupted => ExitStatus::Interrupted,
    }
}

/// One message for each SIGINT or SIGTERM.
fn interrupts() -> Result<mpsc::Receiver<ControlMessage>, CliError> {
    let mut signals = StopSignals::new()?;
    let (send, receive) = mpsc::channel(2);
    tokio::spawn(async move {
        loop {
            signals.recv().await;
            if send.send(ControlMessage::Interrupt).await.is_err() {
                return;
            }
        }
    });
    Ok(receive)
}

/// Prints events, and records counts with --record.
struct CliJournal {
    reporter: BackgroundReporter,
    record: Option<Writer<File>>,
}

impl Journal for CliJournal {
    type Error = Infallible;

    /// Nothing is persisted: a killed run starts again.
    async fn commit(&mut self, _: Duration, _: &Rollout, _: &[Output]) -> Result<(), Infallible> {
        Ok(())
    }

    fn event(&mut self, at: Duration, event: &Event) {
        self.reporter.report(at, event);
    }

    /// The rollout continues without a record that can't be written.
    fn ruling(&mut self, ruling: &Ruling) {
        if let Some(record) = &mut self.record
            && let Err(error) = record.add(ruling)
        {
            tracing::warn!(%error, "record ended");
            self.record = None;
        }
    }
}
