//! `serin init filter`: the initial configuration of the filter.

use std::path::PathBuf;

use clap::Args;

use super::super::{CliError, CliResult, ExitStatus};
use super::substitute;

const SAMPLE: &str = include_str!("../../../../envoy/filter.json");

/// The path of the module in the sample.
const MODULE: &str = "/etc/envoy/serin/serin.wasm";

/// Print the initial configuration of the filter
///
/// The file that Envoy watches and serin rewrites (spec.envoy.filterConfig; Envoy needs it at its
/// start), and the template for `serin serve --xds-filter`. The module and its failure policy are
/// yours to change; serin owns the configuration text in it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE, after_long_help = EXAMPLE)]
pub(super) struct InitFilterArgs {
    /// Path of the filter's module, on Envoy's machine
    #[arg(long, value_name = "FILE", default_value = MODULE)]
    module: PathBuf,
}

const EXAMPLE: &str = "\
Example:
  serin init filter > /etc/envoy/serin/filter.json";

impl InitFilterArgs {
    pub(super) fn execute(self) -> CliResult {
        let not_utf8 = || CliError::invalid("--module: not a path in UTF-8");
        print!("{}", filter(self.module.to_str().ok_or_else(not_utf8)?));
        Ok(ExitStatus::Success)
    }
}

fn filter(module: &str) -> String {
    let quoted = |path: &str| serde_json::Value::from(path).to_string();
    substitute(SAMPLE, &[(&quoted(MODULE), quoted(module))])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xds::template::FilterTemplate;

    #[test]
    fn the_printed_filter_is_a_valid_template() {
        let filter = filter("/opt/\"serin\".wasm");
        assert!(!filter.contains(MODULE));
        FilterTemplate::parse(filter.as_bytes()).unwrap();
    }
}
