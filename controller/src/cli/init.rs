//! `serin init`: sample configuration for a proxy or a mesh.

mod envoy;
mod filter;
mod istio;

use std::net::Ipv4Addr;

use clap::{Args, Subcommand};

use super::CliResult;

/// Print sample configuration for a proxy
///
/// The tested samples, with comments, or with the names and addresses of a rollout in them. Writes
/// and changes nothing: review the output before you apply it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct InitArgs {
    #[command(subcommand)]
    target: InitTarget,
}

const EXAMPLE: &str = "\
Example:
  serin init envoy > bootstrap.yaml
  serin init filter > filter.json";

#[derive(Debug, Subcommand)]
enum InitTarget {
    Envoy(envoy::InitEnvoyArgs),
    Filter(filter::InitFilterArgs),
    Istio(istio::InitIstioArgs),
}

impl InitArgs {
    pub(super) fn execute(self) -> CliResult {
        match self.target {
            InitTarget::Envoy(envoy) => envoy.execute(),
            InitTarget::Filter(filter) => filter.execute(),
            InitTarget::Istio(istio) => istio.execute(),
        }
    }
}

/// Replaces every `from` by its `to` in one pass: replacements are not replaced again. Of several
/// matches at one place the longest wins.
fn substitute(text: &str, pairs: &[(&str, String)]) -> String {
    let mut done = String::with_capacity(text.len());
    let mut rest = text;
    let next = |rest: &str| {
        let found = pairs.iter().filter_map(|pair| Some((rest.find(pair.0)?, pair)));
        found.min_by_key(|(at, (from, _))| (*at, usize::MAX - from.len()))
    };
    while let Some((at, (from, to))) = next(rest) {
        let (before, found) = rest.split_at(at);
        done.push_str(before);
        done.push_str(to);
        rest = found.split_at(from.len()).1;
    }
    done.push_str(rest);
    done
}

/// Words that YAML does not read as strings.
const YAML_KEYWORDS: [&str; 9] = ["y", "n", "yes", "no", "true", "false", "on", "off", "null"];

/// A YAML scalar: plain if every parser reads it as a string.
fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let word = YAML_KEYWORDS.iter().any(|word| word.eq_ignore_ascii_case(text));
    match text.parse::<Ipv4Addr>().is_ok() || begins && !word && text.chars().all(plain) {
        true => text.to_owned(),
        false => serde_json::Value::from(text).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_replaced_in_one_pass() {
        let pairs = [("v1", "v2".to_owned()), ("v2", "v1".to_owned()), ("v1-b", "c".to_owned())];
        assert_eq!(substitute("v1 v2, v1-b!", &pairs), "v2 v1, c!");
        assert_eq!(substitute("nothing", &pairs), "nothing");
    }

    #[test]
    fn scalars_are_strings() {
        for plain in ["v2", "shop", "/etc/envoy/serin", "a.b", "edge_1", "10.0.0.7"] {
            assert_eq!(scalar(plain), plain);
        }
        for quoted in ["n", "Off", "1.2", "", "a b", "outbound|80|v2|shop", "a: b", "x-1,y", "::1"]
        {
            assert_eq!(scalar(quoted), format!("\"{quoted}\""));
        }
        assert_eq!(scalar("a\n1"), r#""a\n1""#);
    }
}
