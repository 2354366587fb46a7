//! `serin doctor`: problems of a running setup.

use std::path::PathBuf;

use clap::Args;
use console::style;
use serin_core::config::discovery::host_and_port;
use serin_core::observation::aggregator::join_names;

use super::output::{OutputArgs, OutputFormat, print_json};
use super::{CliResult, ExitStatus};
use crate::cli::spec_file;
use crate::doctor::{Finding, Level, examine};

/// Check a running setup
///
/// Checks the Envoys of ROLLOUT.yaml (reachable, a supported version, the filter with its
/// configuration, a route and healthy endpoints for each version, statistics), the scrapes of
/// Prometheus, commands, webhooks and secrets. Changes nothing and calls no hook.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE, after_long_help = EXAMPLE)]
pub(super) struct DoctorArgs {
    /// The rollout to check for
    #[arg(value_name = "ROLLOUT.yaml", required_unless_present = "admin")]
    rollout: Option<PathBuf>,

    /// Admin interface of an Envoy, instead of those of the rollout; repeatable
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    admin: Vec<String>,

    #[command(flatten)]
    output: OutputArgs,
}

const EXAMPLE: &str = "\
Example:
  serin doctor rollout.yaml
  serin doctor --admin 127.0.0.1:9901 --output json | jq -c 'select(.level == \"fail\")'

Exit codes:
  0 no problem, warnings aside, 1 a problem was found, 2 the rollout is invalid.";

fn address(text: &str) -> Result<String, String> {
    match host_and_port(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err("not a host and a port, such as 127.0.0.1:9901".to_owned()),
    }
}

impl DoctorArgs {
    pub(super) async fn execute(self) -> CliResult {
        let spec = self.rollout.as_deref().map(spec_file::read).transpose()?;
        let findings = examine(spec, self.admin).await;
        match self.output.format {
            OutputFormat::Text => text(&findings).iter().for_each(|line| println!("{line}")),
            OutputFormat::Json => findings.iter().for_each(print_json),
        }
        Ok(match findings.iter().any(|finding| finding.level == Level::Fail) {
            true => ExitStatus::Failed,
            false => ExitStatus::Success,
        })
    }
}

/// The findings as lines. Equal findings of several proxies share a line.
fn text(findings: &[Finding]) -> Vec<String> {
    let mut groups: Vec<(&Finding, Vec<&str>)> = Vec::new();
    for finding in findings {
        let same = |(first, _): &&mut (&Finding, Vec<&str>)| {
            Finding { proxy: first.proxy.clone(), ..finding.clone() } == **first
        };
        let proxy = finding.proxy.as_deref();
        match groups.iter_mut().find(same) {
            Some((_, proxies)) => proxies.extend(proxy),
            None => groups.push((finding, proxy.into_iter().collect())),
        }
    }
    groups.iter().map(|(finding, proxies)| line(finding, proxies)).collect()
}

fn line(finding: &Finding, proxies: &[&str]) -> String {
    let level = match finding.level {
        Level::Ok => style("ok     ").green(),
        Level::Skipped => style("skipped").dim(),
        Level::Warn => style("warn   ").yellow(),
        Level::Fail => style("fail   ").red(),
    };
    let check = serde_json::to_value(finding.check).unwrap_or_default();
    let check = check.as_str().unwrap_or_default();
    let proxies = match proxies {
        [] => String::new(),
        [one] => format!("{one}: "),
        several => format!("{} proxies ({}): ", several.len(), join_names(several)),
    };
    let fix = finding.fix.as_ref().map_or_else(String::new, |fix| format!("; {fix}"));
    format!("{level} {check:<14} {proxies}{}{fix}", finding.message)
}
