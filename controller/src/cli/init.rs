//! `serin init`: prints what a mesh needs before serin can do anything, as samples to begin with.

mod envoy;
mod filter;
mod istio;

use std::net::Ipv4Addr;

use clap::{Args, Subcommand};

use super::ExitStatus;

/// Print what a proxy needs for serin, to begin with
///
/// Samples with comments, as they are tested, or, told a rollout, with its names and addresses in them. Nothing is written or changed: what is
/// printed is to be read, and put where it belongs.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct InitArgs {
    #[command(subcommand)]
    what: InitTarget,
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
    pub(super) fn execute(self) -> ExitStatus {
        match self.what {
            InitTarget::Envoy(envoy) => envoy.execute(),
            InitTarget::Filter(filter) => filter.execute(),
            InitTarget::Istio(istio) => istio.execute(),
        }
    }
}

/// The text with every `from` as its `to`, all at once: what was put in is not replaced again. Of several that begin at one place the
/// longest counts.
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

/// What YAML reads as something else than a text.
const YAML_KEYWORDS: [&str; 9] = ["y", "n", "yes", "no", "true", "false", "on", "off", "null"];

/// A text as a scalar of YAML: plain where nobody could read it as anything else.
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
    fn all_is_replaced_at_once() {
        let pairs = [("v1", "v2".to_owned()), ("v2", "v1".to_owned()), ("v1-b", "c".to_owned())];
        assert_eq!(substitute("v1 v2, v1-b!", &pairs), "v2 v1, c!");
        assert_eq!(substitute("nothing", &pairs), "nothing");
    }

    #[test]
    fn scalars_are_texts() {
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
