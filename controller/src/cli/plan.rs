//! `serin plan`: duration and exposure of a rollout, before it starts.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serin_core::judge::Arm;
use serin_core::judge::explain::percent;
use serin_core::rollout::forecast;
use serin_core::rollout::forecast::{DetectionForecast, Forecast};
use serin_simulator::traffic::{LatencyModel, Traffic};

use super::output::{OutputArgs, OutputFormat};
use super::text::span;
use super::value_parsers::{duration, positive, share};
use super::{CliError, CliResult, ExitStatus};
use crate::cli::spec_file;
use crate::cli::traffic::latency;

/// Forecast a rollout
///
/// Shows the steps of ROLLOUT.yaml with their expected duration and exposure at a rate of
/// requests, and the requests and time that each step needs to detect a candidate of a given
/// failure rate. Changes nothing.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE, after_long_help = EXAMPLE)]
pub(super) struct PlanArgs {
    /// The rollout
    #[arg(value_name = "ROLLOUT.yaml")]
    rollout: PathBuf,

    /// Requests a second
    #[arg(long, default_value_t = Traffic::default().rate, value_parser = positive)]
    rate: f64,

    /// Share of requests that fail at the baseline
    #[arg(long, value_name = "SHARE", default_value = "0.1%", value_parser = share)]
    errors: f64,

    /// Median latency of the baseline
    #[arg(long, value_name = "TIME", default_value = "50ms", value_parser = duration)]
    median: Duration,

    /// 99th percentile of the latency of the baseline
    #[arg(long, value_name = "TIME", default_value = "250ms", value_parser = duration)]
    p99: Duration,

    #[command(flatten)]
    output: OutputArgs,
}

const EXAMPLE: &str = "\
Example:
  serin plan rollout.yaml --rate 200 --errors 0.05%";

impl PlanArgs {
    pub(super) fn execute(self) -> CliResult {
        let plan = spec_file::read(&self.rollout)?.plan;
        let latency = latency(self.median, self.p99).map_err(CliError::invalid)?;
        let baseline = self.baseline(latency, &plan.judge.boundaries_ms);
        let forecasts = plan.forecast(self.rate, &baseline);
        for (index, forecast) in forecasts.iter().enumerate() {
            self.output.print(forecast, |forecast| text(index + 1, forecast));
        }
        if self.output.format == OutputFormat::Text {
            let total = forecast::total(&forecasts).map_or_else(|| "unlimited".to_owned(), span);
            println!("total: {total}, without a pause or a rollback");
        }
        Ok(ExitStatus::Success)
    }

    /// A million requests of the baseline.
    fn baseline(&self, latency: LatencyModel, boundaries_ms: &[f64]) -> Arm {
        const MANY: u64 = 1_000_000;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // shares of a million
        let part = |share: f64| (MANY as f64 * share).round() as u64;
        let slower = boundaries_ms.iter().map(|ms| part(1.0 - latency.at_most(*ms)));
        Arm { requests: MANY, failures: part(self.errors), slower: slower.collect() }
    }
}

fn text(number: usize, forecast: &Forecast) -> String {
    let time = |seconds: Option<f64>| {
        let known = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        known.map_or_else(|| "unlimited".to_owned(), span)
    };
    if forecast.preview {
        let time = time(forecast.seconds);
        return format!(
            "step {number}: a preview, {time}, for requests that ask for the candidate"
        );
    }
    let met = forecast.requests.map_or_else(|| "?".to_owned(), |requests| format!("{requests:.0}"));
    let duration = time(forecast.seconds);
    let weight = forecast.weight;
    let mut lines =
        vec![format!("step {number}: {weight}, {duration}, {met} requests reach the candidate")];
    if let Some(requests) = forecast.requests_to_safety {
        lines.push(format!("  the gate needs about {requests} of them as evidence of no harm"));
    }
    if forecast.faults.is_empty() {
        lines.push("  no baseline left to compare with".to_owned());
    }
    for DetectionForecast { failure_rate, requests, seconds } in &forecast.faults {
        let detected = match requests {
            Some(requests) => {
                format!("detected after about {requests} requests, {}", time(*seconds))
            }
            None => "not detected: within the margin, or barely beyond it".to_owned(),
        };
        lines.push(format!("  failing {:<8} {detected}", percent(*failure_rate)));
    }
    lines.join("\n")
}
