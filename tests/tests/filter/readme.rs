//! `filter/README.md` names the test that shows each selection rule and each outcome: the names are right and nothing is left out.

use serin_filter::outcome::Failure;
use serin_filter::select::Reason;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../filter/README.md");
const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/filter");

fn readme() -> String {
    std::fs::read_to_string(README).expect("filter/README.md")
}

/// What stands between backticks and looks like `module::test`.
fn named(text: &str) -> Vec<(&str, &str)> {
    let quoted = text.split('`').skip(1).step_by(2);
    let is_name = |name: &str| {
        name.bytes().all(|byte| byte.is_ascii_lowercase() || b"_0123456789".contains(&byte))
    };
    quoted
        .filter_map(|quoted| quoted.split_once("::"))
        .filter(|(module, test)| is_name(module) && is_name(test))
        .collect()
}

#[test]
fn every_test_it_names_exists() {
    let readme = readme();
    let named = named(&readme);
    assert!(named.len() > 40, "only {} tests are named", named.len());
    for (module, test) in named {
        let source = std::fs::read_to_string(format!("{TESTS}/{module}.rs")).unwrap_or_default();
        assert!(source.contains(&format!("async fn {test}() {{")), "no test {module}::{test}");
    }
}

#[test]
fn every_reason_and_every_kind_of_failure_has_a_test() {
    let readme = readme();
    let reasons = Reason::ALL.map(Reason::label);
    let kinds = Failure::ALL.map(Failure::label);
    for label in reasons.into_iter().chain(kinds) {
        let quoted = format!("`{label}`");
        let row = readme.lines().find(|line| {
            line.starts_with('|') && line.contains(&quoted) && !named(line).is_empty()
        });
        assert!(row.is_some(), "no row of the table has {quoted} and a test");
    }
}
