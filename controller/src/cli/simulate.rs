//! `serin simulate`: many runs of a rollout in virtual time.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use clap::Args;
use console::Term;
use serde::Serialize;
use serin_core::rollout::event::RolloutVerdict;
use serin_simulator::peers::DecisionRule;
use serin_simulator::trial::{Outcome, Trial};

use super::output::OutputArgs;
use super::text::span;
use super::value_parsers::duration;
use super::{CliError, CliResult, ExitStatus};
use crate::cli::spec_file;
use crate::cli::traffic::TrafficArgs;

/// Simulate a rollout
///
/// Runs ROLLOUT.yaml many times in virtual time against synthetic traffic, with the state machine
/// and the judge of `serin run`: how often the candidate is promoted and rolled back, how long
/// that takes, and how many requests and users reach it. Changes nothing.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE, after_long_help = EXAMPLE)]
pub(super) struct SimulateArgs {
    /// The rollout
    #[arg(value_name = "ROLLOUT.yaml")]
    rollout: PathBuf,

    /// Number of runs
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    runs: u32,

    /// Seed of the random numbers: the same seed gives the same runs
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Decision rule: serin, flagger:<interval>:<threshold>, argo:<interval>:<limit> or z:<level>
    #[arg(long, default_value = "serin")]
    rule: DecisionRule,

    /// Virtual time after which a run is stopped
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = duration)]
    horizon: Duration,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    traffic: TrafficArgs,
}

const EXAMPLE: &str = "\
Example:
  serin simulate rollout.yaml --rate 200
  serin simulate rollout.yaml --rate 200 --fault errors:5% --fault-at 3m
  serin simulate rollout.yaml --rate 200 --fault errors:5% --rule flagger:60s:5";

/// The outcomes of all runs.
#[derive(Debug, Serialize)]
struct SimulationReport {
    runs: u32,
    seed: u64,
    /// Share of the runs.
    promoted: f64,
    rolled_back: f64,
    undecided: f64,
    /// Time to the verdict.
    seconds: Quantiles,
    /// Time from the fault, or from the first user, to the rollback, where there was one.
    seconds_to_rollback: Option<Quantiles>,
    candidate_requests: Quantiles,
    candidate_failures: Quantiles,
    /// Requests that reached the candidate during the fault.
    requests_met_bad: Quantiles,
    /// Users of the candidate.
    users: Option<Quantiles>,
}

/// Quantiles of a quantity.
#[derive(Debug, Clone, Copy, Serialize)]
struct Quantiles {
    p5: f64,
    p50: f64,
    p95: f64,
}

impl Quantiles {
    /// `None` without values.
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // an index
        let at = |q: f64| values.get((q * (values.len() as f64 - 1.0)).round() as usize).copied();
        Some(Self { p5: at(0.05)?, p50: at(0.5)?, p95: at(0.95)? })
    }
}

impl SimulateArgs {
    pub(super) fn execute(self) -> CliResult {
        let mut plan = spec_file::read(&self.rollout)?.plan;
        // Synthetic traffic has no requests for a preview.
        plan.drop_preview();
        let traffic = self.traffic.traffic().map_err(CliError::invalid)?;
        let trial = Trial { plan, traffic, rule: self.rule, horizon: self.horizon };
        let progress = ProgressBar::new(self.runs);
        let outcomes = trial.run(self.runs, self.seed, || progress.increment());
        progress.finish();
        let report = self.report(&outcomes).ok_or_else(|| CliError::failed("no runs"))?;
        self.output.print(&report, |report| text(report, &trial));
        Ok(ExitStatus::Success)
    }

    fn report(&self, outcomes: &[Outcome]) -> Option<SimulationReport> {
        let ended =
            |verdict: Option<RolloutVerdict>| outcomes.iter().filter(move |o| o.verdict == verdict);
        let share = |verdict| ended(verdict).count() as f64 / outcomes.len() as f64;
        let all = |of: fn(&Outcome) -> f64| Quantiles::of(outcomes.iter().map(of));
        let back = Some(RolloutVerdict::RolledBack);
        let faulty = outcomes.iter().any(|outcome| outcome.bad_seconds > 0.0);
        let to_rollback = Quantiles::of(ended(back).map(|outcome| outcome.bad_seconds));
        Some(SimulationReport {
            runs: self.runs,
            seed: self.seed,
            promoted: share(Some(RolloutVerdict::Promoted)),
            rolled_back: share(back),
            undecided: share(None),
            seconds: all(|outcome| outcome.seconds)?,
            seconds_to_rollback: to_rollback.filter(|_| faulty),
            candidate_requests: all(|outcome| outcome.requests as f64)?,
            candidate_failures: all(|outcome| outcome.failures as f64)?,
            requests_met_bad: all(|outcome| outcome.met_bad as f64)?,
            users: Quantiles::of(outcomes.iter().filter_map(|outcome| outcome.users)),
        })
    }
}

fn text(report: &SimulationReport, trial: &Trial) -> String {
    let percent = |share: f64| format!("{:.2} %", share * 100.0);
    let times = |Quantiles { p5, p50, p95 }: Quantiles| {
        let [p5, p50, p95] = [p5, p50, p95].map(|s| span(Duration::from_secs_f64(s)));
        format!("{p50} (5 % below {p5}, 5 % above {p95})")
    };
    let counts = |Quantiles { p5, p50, p95 }: Quantiles| {
        format!("{p50:.0} (5 % below {p5:.0}, 5 % above {p95:.0})")
    };
    let mut lines = vec![
        format!("{} runs by {}", report.runs, trial.rule),
        format!("  promoted             {}", percent(report.promoted)),
        format!("  rolled back          {}", percent(report.rolled_back)),
    ];
    if report.undecided > 0.0 {
        lines.push(format!("  undecided            {}", percent(report.undecided)));
    }
    lines.push(format!("  time to the end      {}", times(report.seconds)));
    if let Some(to_rollback) = report.seconds_to_rollback {
        lines.push(format!("  fault to rollback    {}", times(to_rollback)));
    }
    lines.push(format!("  candidate requests   {}", counts(report.candidate_requests)));
    lines.push(format!("    failed             {}", counts(report.candidate_failures)));
    if trial.traffic.fault.is_some() {
        lines.push(format!("    during the fault   {}", counts(report.requests_met_bad)));
    }
    if let Some(users) = report.users {
        lines.push(format!("  candidate users      {}", counts(users)));
    }
    lines.join("\n")
}

/// A bar on standard error, if that is a terminal.
struct ProgressBar {
    term: Term,
    runs: u32,
    done: AtomicU32,
}

impl ProgressBar {
    /// Cells of the bar.
    const CELLS: usize = 40;

    fn new(runs: u32) -> Self {
        Self { term: Term::stderr(), runs, done: AtomicU32::new(0) }
    }

    fn increment(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        let every = self.runs.div_ceil(200);
        if self.term.is_term() && (done.is_multiple_of(every) || done == self.runs) {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to CELLS
            let full = (f64::from(done) / f64::from(self.runs) * Self::CELLS as f64) as usize;
            let rest = Self::CELLS.saturating_sub(full);
            let bar = format!("{}{}", "█".repeat(full), "░".repeat(rest));
            // A progress bar that can't be painted is no failure.
            let _ = self.term.write_str(&format!("\r  {bar} {done} of {} runs", self.runs));
        }
    }

    fn finish(&self) {
        if self.term.is_term() {
            let _ = self.term.clear_line();
        }
    }
}
