//! `serin judge`: judges recorded counts.

use std::fmt::Display;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serin_core::judge;
use serin_core::judge::coin_flip::Margin;
use serin_core::judge::explain::VersionLabels;
use serin_core::judge::{Block, Ruling, Settings, SplitContext, Verdict};

use super::output::{OutputArgs, OutputFormat};
use super::value_parsers::{at_least_zero, number, positive};
use super::{CliError, CliResult, ExitStatus};
use crate::cli::spec_file;
use crate::record::{Counts, Recorded};

/// Judge recorded counts
///
/// Reads the counts of `serin run --record`, one block a line, and prints the evidence against the
/// candidate after each block. The columns are seconds, baseline_requests, baseline_errors,
/// candidate_requests, candidate_errors, and optionally pairs of baseline_gt_<ms> and
/// candidate_gt_<ms>, requests that took longer, and errors_bias, the measured difference between
/// the users of both versions. A line without requests of the candidate trains the estimate of the
/// baseline. Ends at the first block that shows harm.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE, after_long_help = EXAMPLE)]
pub(super) struct JudgeArgs {
    /// The counts
    #[arg(value_name = "COUNTS.csv")]
    counts: PathBuf,

    /// Judge by this rollout, as `serin run` does; the options below are for counts without a
    /// rollout
    #[arg(long, value_name = "ROLLOUT.yaml", conflicts_with_all = ["alpha", "relative", "absolute", "slots", "slot_seconds", "no_cap", "block_min", "warmup", "confidence"])]
    rollout: Option<PathBuf>,

    /// Accepted probability of a false rollback, over the whole rollout
    #[arg(long, default_value_t = Settings::default().alpha, value_parser = alpha)]
    alpha: f64,

    /// Factor by which the candidate may fail more often than the baseline
    #[arg(long, value_name = "R", default_value_t = Settings::default().errors.relative, value_parser = relative)]
    relative: f64,

    /// Share of requests, from 0 to 1, that the candidate may fail on top of that
    #[arg(long, value_name = "D", default_value_t = Settings::default().errors.absolute, value_parser = share)]
    absolute: f64,

    /// Planned length of the rollout, in slots
    #[arg(long, default_value_t = Settings::default().slots, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    slots: u32,

    /// Length of a slot in seconds
    #[arg(long, default_value_t = Settings::default().slot_seconds, value_parser = positive)]
    slot_seconds: f64,

    /// Allow a single block to decide
    #[arg(long)]
    no_cap: bool,

    /// Merge lines until both versions have this many requests
    #[arg(long, value_name = "REQUESTS", default_value_t = Settings::default().block_min)]
    block_min: u64,

    /// Seconds at the start that are not judged: fast failures arrive before slow successes
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0, value_parser = at_least_zero)]
    warmup: f64,

    /// Confidence for the verdict that the candidate is no worse than its margins, from 0 to 1
    #[arg(long, default_value_t = 0.95, value_parser = confidence)]
    confidence: f64,

    #[command(flatten)]
    output: OutputArgs,
}

const EXAMPLE: &str = "\
Example:
  serin run rollout.yaml --record counts.csv
  serin judge counts.csv --rollout rollout.yaml
  serin judge counts.csv --absolute 0.005

Exit codes:
  0 no harm shown, 3 the candidate is worse, 2 the counts are invalid.";

fn alpha(text: &str) -> Result<f64, String> {
    number(text, |alpha| alpha > 0.0 && alpha <= 0.5, "a number above 0 and at most 0.5")
}

fn relative(text: &str) -> Result<f64, String> {
    number(text, |r| (1.0..=100.0).contains(&r), "a number from 1 to 100")
}

fn share(text: &str) -> Result<f64, String> {
    number(text, |share| (0.0..=1.0).contains(&share), "a number from 0 to 1")
}

fn confidence(text: &str) -> Result<f64, String> {
    number(text, |confidence| confidence > 0.0 && confidence < 1.0, "a number above 0 and below 1")
}

/// A ruling in JSON.
#[derive(Serialize)]
struct RulingLine<'r> {
    block: u64,
    seconds: f64,
    baseline_requests: u64,
    baseline_errors: u64,
    candidate_requests: u64,
    candidate_errors: u64,
    ln_e: f64,
    ln_e_latency: Option<f64>,
    ln_e_combined: f64,
    ln_e_safe: Option<f64>,
    /// The candidate's failure rate less the baseline's: 95 % interval, valid at all times
    /// together.
    difference: [f64; 2],
    verdict: &'r str,
    sentence: String,
}

impl JudgeArgs {
    pub(super) fn execute(self) -> CliResult {
        let invalid =
            |error: &dyn Display| CliError::invalid(format!("{}: {error}", self.counts.display()));
        let file = File::open(&self.counts).map_err(|error| invalid(&error))?;
        let counts = Counts::read(file).map_err(|error| invalid(&error))?;
        if counts.blocks.is_empty() {
            return Err(invalid(&"no line of counts after the header"));
        }
        let settings = self.settings(&counts.boundaries_ms)?;
        Ok(self.judge(&counts, settings, &mut std::io::stdout().lock()))
    }

    fn settings(&self, boundaries_ms: &[f64]) -> Result<Settings, CliError> {
        let boundaries_ms = boundaries_ms.to_vec();
        if let Some(path) = &self.rollout {
            let spec = spec_file::read(path)?;
            let confidence = spec.plan.judge.confidence.or(Some(self.confidence));
            return Ok(Settings { boundaries_ms, confidence, ..spec.plan.judge });
        }
        Ok(Settings {
            alpha: self.alpha,
            errors: Margin { relative: self.relative, absolute: self.absolute },
            boundaries_ms,
            slots: self.slots,
            slot_seconds: self.slot_seconds,
            cap: !self.no_cap,
            block_min: self.block_min,
            confidence: Some(self.confidence),
            ..Settings::default()
        })
    }

    fn judge(&self, counts: &Counts, settings: Settings, out: &mut impl Write) -> ExitStatus {
        let mut judge = judge::Judge::new(settings);
        let mut total = Block::default();
        self.header(out);
        let mut verdict = Verdict::Undecided;
        for recorded in counts.blocks.iter().filter(|recorded| recorded.seconds > self.warmup) {
            let Recorded { seconds, block, errors_bias } = recorded;
            total.add(block);
            if block.baseline.requests == 0 && !judge.settings().objectives.is_empty() {
                judge.split_changes(SplitContext { single_arm: true, ..SplitContext::default() });
            }
            let Some(ruling) = judge.replay(*seconds, block, *errors_bias) else { continue };
            verdict = ruling.verdict;
            let sentence = verdict.explain(judge.settings(), NAMES, &total);
            let written = match self.output.format {
                OutputFormat::Json => json(&ruling, &judge, sentence, out),
                OutputFormat::Text => line(&ruling, out),
            };
            // A closed pipe does not change the verdict.
            let _ = written;
            if let Verdict::Harm(_) = verdict {
                break;
            }
        }
        if self.output.format == OutputFormat::Text {
            let _ = conclude(verdict, &judge, &total, out);
        }
        if let Verdict::Harm(_) = verdict { ExitStatus::Harm } else { ExitStatus::Success }
    }

    fn header(&self, out: &mut impl Write) {
        if self.output.format == OutputFormat::Text {
            let _ = writeln!(
                out,
                "{:>6} {:>10} {:>18} {:>18} {:>10} {:>10} {:>10} {:>10}",
                "block", "seconds", "baseline", "candidate", "errors", "latency", "ln E", "safe"
            );
        }
    }
}

const NAMES: VersionLabels<'static> =
    VersionLabels { baseline: "the baseline", candidate: "the candidate" };

fn json(
    ruling: &Ruling,
    judge: &judge::Judge,
    sentence: String,
    out: &mut impl Write,
) -> std::io::Result<()> {
    let Block { baseline, candidate } = &ruling.block;
    let difference = judge.difference();
    let line = RulingLine {
        block: ruling.number,
        seconds: ruling.seconds,
        baseline_requests: baseline.requests,
        baseline_errors: baseline.failures,
        candidate_requests: candidate.requests,
        candidate_errors: candidate.failures,
        ln_e: ruling.ln_e_errors,
        ln_e_latency: ruling.ln_e_latency,
        ln_e_combined: ruling.ln_e,
        ln_e_safe: ruling.ln_e_safe,
        difference: [difference.low, difference.high],
        verdict: match ruling.verdict {
            Verdict::Undecided => "undecided",
            Verdict::Safe => "safe",
            Verdict::Unhealthy(_) => "unhealthy",
            Verdict::Harm(_) => "harm",
        },
        sentence,
    };
    serde_json::to_writer(&mut *out, &line)?;
    writeln!(out)
}

fn line(ruling: &Ruling, out: &mut impl Write) -> std::io::Result<()> {
    let Block { baseline, candidate } = &ruling.block;
    let optional = |ln_e: Option<f64>| ln_e.map_or_else(|| "-".to_owned(), |e| format!("{e:.3}"));
    writeln!(
        out,
        "{:>6} {:>10.1} {:>18} {:>18} {:>10.3} {:>10} {:>10.3} {:>10}",
        ruling.number,
        ruling.seconds,
        format!("{} of {}", baseline.failures, baseline.requests),
        format!("{} of {}", candidate.failures, candidate.requests),
        ruling.ln_e_errors,
        optional(ruling.ln_e_latency),
        ruling.ln_e,
        optional(ruling.ln_e_safe)
    )
}

/// The verdict as a sentence, with the evidence and the interval.
fn conclude(
    verdict: Verdict,
    judge: &judge::Judge,
    total: &Block,
    out: &mut impl Write,
) -> std::io::Result<()> {
    let settings = judge.settings();
    let name = if let Verdict::Harm(_) = verdict { "harm: " } else { "" };
    let (evidence, limit) = (judge.ln_e().exp(), 1.0 / settings.alpha);
    writeln!(
        out,
        "{name}{} (evidence {evidence:.1}, limit {limit:.0})",
        verdict.explain(settings, NAMES, total)
    )?;
    let difference = judge.difference();
    writeln!(
        out,
        "failure rate {:+.3} to {:+.3} percentage points against the baseline (95 %, valid at all times together)",
        difference.low * 100.0,
        difference.high * 100.0
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        judge: JudgeArgs,
    }

    const WORKED: &str =
        "seconds,baseline_requests,baseline_errors,candidate_requests,candidate_errors
10,950,1,50,0
20,940,0,60,2
70,955,2,45,1
80,0,0,3,1
90,950,0,50,4
";

    fn judged(arguments: &str) -> (ExitStatus, String) {
        let arguments = ["judge", "counts.csv"].into_iter().chain(arguments.split_whitespace());
        let Command { judge } = Command::try_parse_from(arguments).unwrap();
        let counts = Counts::read(WORKED.as_bytes()).unwrap();
        let mut out = Vec::new();
        let exit = judge.judge(&counts, judge.settings(&[]).unwrap(), &mut out);
        (exit, String::from_utf8(out).unwrap())
    }

    #[test]
    fn judge_prints_the_worked_example() {
        let (exit, out) = judged(
            "--relative 1.2 --absolute 0.001 --slots 30 --no-cap --warmup 0 --block-min 0 --output json",
        );
        assert_eq!(exit, ExitStatus::Harm);
        let lines: Vec<serde_json::Value> =
            out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let expected =
            [-0.272444026101, 1.430205908665, 1.943863757074, 1.943863757074, 9.637331232538];
        assert_eq!(lines.len(), expected.len());
        for (line, expected) in lines.iter().zip(expected) {
            let ln_e = line["ln_e"].as_f64().unwrap();
            assert!((ln_e - expected).abs() < 1e-9, "{ln_e} is not {expected}");
        }
        assert_eq!(lines[4]["verdict"], "harm");
        assert!(lines[4]["sentence"].as_str().unwrap().contains("8 of 208"));
    }

    #[test]
    fn options_change_the_verdict() {
        let plain = "--no-cap --block-min 0";
        assert_eq!(judged(&format!("{plain} --warmup 80")).0, ExitStatus::Harm);
        assert_eq!(
            judged(&format!("{plain} --warmup 90")).0,
            ExitStatus::Success,
            "nothing is left"
        );
        assert_eq!(judged(&format!("{plain} --absolute 0.2")).0, ExitStatus::Success);
        assert_eq!(
            judged("--block-min 0").0,
            ExitStatus::Success,
            "by the cap no block decides alone"
        );
        assert_eq!(judged(&format!("{plain} --alpha 0.00001")).0, ExitStatus::Success);
    }

    #[test]
    fn options_out_of_range_are_rejected() {
        for bad in [
            "--alpha 0",
            "--relative 0.5",
            "--absolute 2",
            "--slots 0",
            "--warmup -1",
            "--confidence 1",
        ] {
            let arguments = ["judge", "counts.csv"].into_iter().chain(bad.split_whitespace());
            assert!(Command::try_parse_from(arguments).is_err(), "{bad}");
        }
    }
}
