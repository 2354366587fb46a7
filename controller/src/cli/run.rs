//! `serin run`: one rollout, from its first step to its end.

use std::fs::File;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serin_core::judge::Ruling;
use serin_core::ports::Journal;
use serin_core::rollout::event::{Event, RolloutVerdict, Summary};
use serin_core::rollout::machine::{Output, Rollout};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing::Instrument;

use super::report::Format;
use super::{ExitStatus, fail};
use crate::cli::reporter::BackgroundReporter;
use crate::cli::spec_file;
use crate::engine::{ControlMessage, EngineContext, EnvoyEngine};
use crate::record::Writer;
use crate::telemetry;

/// Carry out a rollout
///
/// Takes the service of ROLLOUT.yaml to its candidate by its strategy, at the Envoys of spec.envoy, which run the serin filter. Each step's gate opens
/// when its bake (time and requests) has passed with no harm shown; as soon as harm is shown, all traffic goes back to the
/// baseline, within the rollback window too. Ctrl-C gives all traffic back to the baseline too; a second one does not wait for Envoy to confirm it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE, after_long_help = EXAMPLE)]
pub(super) struct RunArgs {
    /// The rollout
    #[arg(value_name = "ROLLOUT.yaml")]
    rollout: PathBuf,

    /// What to print: a live view, one line per event, or one JSON object per event
    #[arg(long, value_enum, default_value_t = OutputFormat::Auto, env = "SERIN_OUTPUT")]
    output: OutputFormat,

    /// Begin at the first step even if that takes users away from a version that they have met
    #[arg(long)]
    reset_users: bool,

    /// Record what the judge sees, for `serin judge`
    #[arg(long, value_name = "COUNTS.csv")]
    record: Option<PathBuf>,
}

const EXAMPLE: &str = "\
Example:
  serin run rollout.yaml
  serin run rollout.yaml --output json --record counts.csv | jq -c 'select(.event == \"gateOpened\")'

Exit codes:
  0 promoted, 3 rolled back (harm, or a limit of the rollout), 4 interrupted, 5 rolled back but not confirmed by Envoy,
  1 could not begin, 2 the rollout is not valid. With 1 and 2 nothing was changed.";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OutputFormat {
    /// `live` on a terminal, `plain` elsewhere
    Auto,
    /// A view that is repainted
    Live,
    /// One line per event
    Plain,
    /// One JSON object per event
    Json,
}

impl OutputFormat {
    fn resolve(self) -> Format {
        match self {
            Self::Auto if std::io::stdout().is_terminal() => Format::Live,
            Self::Live => Format::Live,
            Self::Auto | Self::Plain => Format::Plain,
            Self::Json => Format::Json,
        }
    }
}

impl RunArgs {
    pub(super) async fn execute(self) -> ExitStatus {
        let rollout = self.rollout.display();
        let spec = match spec_file::read(&self.rollout) {
            Ok(spec) => spec,
            Err(error) => return fail(ExitStatus::Invalid, format_args!("{rollout}: {error}")),
        };
        if spec.plan.steps.iter().any(|step| step.approval) {
            return fail(
                ExitStatus::Invalid,
                format_args!(
                    "{rollout}: nobody can approve of a step in `serin run`; `serin serve` takes orders"
                ),
            );
        }
        let boundaries_ms = spec.plan.judge.boundaries_ms.clone();
        let run = Timestamp::now().as_millisecond().to_string();
        let begun =
            EnvoyEngine::begin(&EngineContext::default(), spec, run, self.reset_users).await;
        let (engine, course) = match begun {
            Ok(begun) => begun,
            Err(error) => return fail(ExitStatus::Failed, error),
        };
        let record = match self.open_record(&boundaries_ms) {
            Ok(record) => record,
            Err(message) => return fail(ExitStatus::Failed, message),
        };
        let interrupts = match interrupts() {
            Ok(interrupts) => interrupts,
            Err(error) => {
                return fail(ExitStatus::Failed, format_args!("no signal handler: {error}"));
            }
        };
        let mut session =
            CliJournal { reporter: BackgroundReporter::new(self.output.resolve()), record };
        let plan = course.rollout.plan();
        let span = telemetry::rollout_span(&plan.name, &plan.service, None);
        let summary = engine.run(course, &mut session, interrupts).instrument(span).await;
        session.reporter.finish();
        exit(&summary)
    }

    fn open_record(&self, boundaries_ms: &[f64]) -> Result<Option<Writer<File>>, String> {
        let Some(path) = &self.record else { return Ok(None) };
        let file = File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let writer = Writer::new(file, boundaries_ms);
        writer.map(Some).map_err(|error| format!("{}: {error}", path.display()))
    }
}

/// How a command ends that has seen a rollout end.
pub(super) fn exit(summary: &Summary) -> ExitStatus {
    match summary.verdict {
        _ if !summary.confirmed => ExitStatus::Unconfirmed,
        RolloutVerdict::Promoted => ExitStatus::Success,
        RolloutVerdict::RolledBack => ExitStatus::Harm,
        RolloutVerdict::Interrupted => ExitStatus::Interrupted,
    }
}

/// One message for each SIGINT or SIGTERM.
fn interrupts() -> std::io::Result<mpsc::Receiver<ControlMessage>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (send, receive) = mpsc::channel(2);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if send.send(ControlMessage::Interrupt).await.is_err() {
                return;
            }
        }
    });
    Ok(receive)
}

/// Reports, and records if asked to.
struct CliJournal {
    reporter: BackgroundReporter,
    record: Option<Writer<File>>,
}

impl Journal for CliJournal {
    /// One shot: whoever kills it begins again.
    async fn commit(&mut self, _: Duration, _: &Rollout, _: &[Output]) -> Result<(), String> {
        Ok(())
    }

    fn event(&mut self, at: Duration, event: &Event) {
        self.reporter.report(at, event);
    }

    /// A record that can't be written is given up; the rollout goes on.
    fn ruling(&mut self, ruling: &Ruling) {
        if let Some(record) = &mut self.record
            && let Err(error) = record.add(ruling)
        {
            tracing::warn!(%error, "record ends here");
            self.record = None;
        }
    }
}
