//! `filter/README.md` names an existing test for each selection rule and each outcome.

use serin_filter::outcome::Failure;
use serin_filter::select::Reason;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../filter/README.md");
const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/filter");

fn readme() -> String {
    std::fs::read_to_string(README).expect("filter/README.md")
}

/// The names in backticks of the form `module::test`.
fn test_names(text: &str) -> Vec<(&str, &str)> {
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
fn every_named_test_exists() {
    let readme = readme();
    let names = test_names(&readme);
    assert!(names.len() > 40, "only {} tests are named", names.len());
    for (module, test) in names {
        let source = std::fs::read_to_string(format!("{TESTS}/{module}.rs")).unwrap_or_default();
        assert!(source.contains(&format!("async fn {test}() {{")), "no test {module}::{test}");
    }
}

#[test]
fn every_reason_and_every_failure_kind_has_a_test() {
    let readme = readme();
    let reasons = Reason::ALL.map(Reason::label);
    let kinds = Failure::ALL.map(Failure::label);
    for label in reasons.into_iter().chain(kinds) {
        let quoted = format!("`{label}`");
        let row = readme.lines().find(|line| {
            line.starts_with('|') && line.contains(&quoted) && !test_names(line).is_empty()
        });
        assert!(row.is_some(), "no table row has {quoted} and a test");
    }
}
