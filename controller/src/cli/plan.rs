//! `serin plan`: what a rollout will take, before it begins.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serin_core::judge::Arm;
use serin_core::judge::explain::percent;
use serin_core::rollout::forecast;
use serin_core::rollout::forecast::{DetectionForecast, Forecast};
use serin_simulator::traffic::{LatencyModel, Traffic};

use super::number::positive;
use super::text::span;
use super::{ExitStatus, fail};
use crate::cli::spec_file;
use crate::cli::traffic::{DurationArg, ShareArg};

/// Show what a rollout will take
///
/// Shows the steps of ROLLOUT.yaml with their expected duration and exposure at a rate of requests, and about how many requests and how much time
/// it takes in each step to see a candidate that fails so often. Nothing is changed anywhere.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE, after_long_help = EXAMPLE)]
pub(super) struct PlanArgs {
    /// The rollout
    #[arg(value_name = "ROLLOUT.yaml")]
    rollout: PathBuf,

    /// Requests a second
    #[arg(long, default_value_t = Traffic::default().rate, value_parser = positive)]
    rate: f64,

    /// The share of requests that usually fails
    #[arg(long, value_name = "SHARE", default_value = "0.1%")]
    errors: ShareArg,

    /// Half of the requests usually take longer than this
    #[arg(long, value_name = "TIME", default_value = "50ms")]
    median: DurationArg,

    /// One in a hundred usually takes longer than this
    #[arg(long, value_name = "TIME", default_value = "250ms")]
    p99: DurationArg,

    /// What to print
    #[arg(long, value_enum, default_value_t = OutputFormat::Text, env = "SERIN_OUTPUT")]
    output: OutputFormat,
}

const EXAMPLE: &str = "\
Example:
  serin plan rollout.yaml --rate 200 --errors 0.05%";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OutputFormat {
    /// For people
    #[value(alias = "plain")]
    Text,
    /// One JSON object per step
    Json,
}

impl PlanArgs {
    pub(super) fn execute(self) -> ExitStatus {
        let plan = match spec_file::read(&self.rollout) {
            Ok(spec) => spec.plan,
            Err(error) => {
                return fail(
                    ExitStatus::Invalid,
                    format_args!("{}: {error}", self.rollout.display()),
                );
            }
        };
        if self.median.0.is_zero() || self.p99.0 <= self.median.0 {
            return fail(ExitStatus::Invalid, "--p99 has to be above --median, and that above 0");
        }
        let forecasts = plan.forecast(self.rate, &self.usual(&plan.judge.boundaries_ms));
        for (index, forecast) in forecasts.iter().enumerate() {
            match self.output {
                OutputFormat::Text => text(index + 1, forecast),
                OutputFormat::Json => {
                    println!("{}", serde_json::to_string(forecast).unwrap_or_default());
                }
            }
        }
        if self.output == OutputFormat::Text {
            let total = forecast::total(&forecasts).map_or_else(|| "no end".to_owned(), span);
            println!("in all: {total}, if nothing goes wrong");
        }
        ExitStatus::Success
    }

    /// A million requests of a baseline like this.
    fn usual(&self, boundaries_ms: &[f64]) -> Arm {
        const MANY: u64 = 1_000_000;
        let ms = |span: DurationArg| span.0.as_secs_f64() * 1_000.0;
        let latency = LatencyModel { median_ms: ms(self.median), p99_ms: ms(self.p99) };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // shares of a million
        let part = |share: f64| (MANY as f64 * share).round() as u64;
        let slower = boundaries_ms.iter().map(|ms| part(1.0 - latency.at_most(*ms)));
        Arm { requests: MANY, failures: part(self.errors.0), slower: slower.collect() }
    }
}

fn text(number: usize, forecast: &Forecast) {
    let time = |seconds: Option<f64>| {
        let known = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        known.map_or_else(|| "for ever".to_owned(), span)
    };
    let met = forecast.requests.map_or_else(|| "?".to_owned(), |requests| format!("{requests:.0}"));
    if forecast.preview {
        let time = time(forecast.seconds);
        println!("step {number}: a preview, {time}, for requests that ask for the candidate");
        return;
    }
    println!(
        "step {number}: {}, {}, {met} requests meet the candidate",
        forecast.weight,
        time(forecast.seconds)
    );
    if let Some(requests) = forecast.requests_to_safety {
        println!("  the gate needs about {requests} of them as evidence of no harm");
    }
    if forecast.faults.is_empty() {
        println!("  no baseline left to compare with");
    }
    for DetectionForecast { failure_rate, requests, seconds } in &forecast.faults {
        let seen = match requests {
            Some(requests) => format!("seen after about {requests} requests, {}", time(*seconds)),
            None => "within the margin, or hardly beyond: not seen".to_owned(),
        };
        println!("  failing {:<8} {seen}", percent(*failure_rate));
    }
}
