//! `serin init filter`: the filter's configuration, to begin with.

use std::path::PathBuf;

use clap::Args;

use super::super::{ExitStatus, fail};
use super::substitute;

const SAMPLE: &str = include_str!("../../../../envoy/filter.json");

/// Where the sample has its module.
const MODULE: &str = "/etc/envoy/serin/serin.wasm";

/// Print the filter's configuration, to begin with
///
/// It is the file that an Envoy follows and serin rewrites (spec.envoy.filterConfig; it has to be there before Envoy starts), and the one that
/// `serin serve --xds-filter` takes. Which module and how it fails are yours to change; the configuration text in it is serin's.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE, after_long_help = EXAMPLE)]
pub(super) struct InitFilterArgs {
    /// The filter's module, as Envoy finds it
    #[arg(long, value_name = "FILE", default_value = MODULE)]
    module: PathBuf,
}

const EXAMPLE: &str = "\
Example:
  serin init filter > /etc/envoy/serin/filter.json";

impl InitFilterArgs {
    pub(super) fn execute(self) -> ExitStatus {
        let Some(module) = self.module.to_str() else {
            return fail(ExitStatus::Invalid, "--module: not a path in UTF-8");
        };
        print!("{}", filter(module));
        ExitStatus::Success
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
    fn it_is_a_filter_that_can_be_served() {
        let filter = filter("/opt/\"serin\".wasm");
        assert!(!filter.contains(MODULE));
        FilterTemplate::parse(filter.as_bytes()).unwrap();
    }
}
