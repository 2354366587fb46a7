use std::path::Path;
use std::time::Duration;

use serin_filter::config::wire;

use super::*;
use crate::config::sink::SinkLocation;
use crate::judge::coin_flip::Margin;
use crate::judge::{Objective, Sli};
use crate::rollout::plan::{Gate, Limit, Plan, TimeoutAction};

pub(super) mod mesh;

const GOOD: &str = "
apiVersion: serin.dev/v1alpha1
kind: ServiceRollout
metadata:
  name: shop-v2
spec:
  service: shop
  sticky:
    - header: x-user-id
  versions:
    - name: v1
      cluster: shop-v1
    - name: v2
      cluster: shop-v2
  baseline: v1
  candidate: v2
  strategy:
    trafficShifting:
      bake: { time: 30s, requests: 50 }
      steps:
        - weight: 0.25%
        - weight: 5%
          bake: { time: 1m, requests: 500 }
        - weight: 100%
  analysis:
    errors: { relative: 1.5, absolute: 0.2% }
  envoy:
    admin: http://127.0.0.1:9901
    filterConfig: /etc/envoy/serin/filter.json
";

#[test]
fn a_good_specification() {
    let Spec { plan, service, proxies, .. } = Spec::parse(GOOD).unwrap();
    let Proxies::Envoy(envoy) = proxies else { panic!("{proxies:?}") };
    let steps: Vec<_> =
        plan.steps.iter().map(|s| (s.weight().ppm(), s.bake.as_secs(), s.requests)).collect();
    assert_eq!(steps, [(2_500, 30, 50), (50_000, 60, 500), (1_000_000, 30, 50)]);
    assert_eq!(plan.judge.errors, Margin { relative: 1.5, absolute: 0.002 });
    assert_eq!(plan.judge.alpha, 0.01);
    assert_eq!(plan.interval, Duration::from_secs(1));
    assert_eq!(service.salt, "shop-v2");
    assert_eq!(service.authorities, [wire::Authority("*".to_owned())]);
    assert_eq!(envoy.sink, SinkLocation::File("/etc/envoy/serin/filter.json".into()));
}

/// The defaults in the shipped sample are the defaults of the parser.
#[test]
fn the_shipped_sample_shows_the_defaults() {
    let sample = include_str!("../../../../envoy/rollout.yaml");
    let view = Spec::parse(sample).unwrap();
    let without = |text: String, section: &str| {
        let (before, after) = text.split_once(section).unwrap();
        let rest = after.find("\n\n").map_or("", |end| &after[end..]);
        format!("{before}{rest}")
    };
    let sample = without(sample.to_owned(), "  analysis:\n");
    let sample = ["authorities", "correlation", "overdue", "tripwire", "compatibility"]
        .into_iter()
        .fold(sample, |sample, field| without(sample, &format!("  {field}: ")))
        .replace("bake: { time: 60s, requests: 100 }", "");
    // The filter applies these defaults itself.
    let mut view = view;
    assert_eq!(view.service.failures.grpc.take(), Some(vec![2, 4, 13, 14, 15]));
    assert_eq!(view.service.failures.status.take(), Some(vec!["5xx".to_owned()]));
    let sample = without(sample, "  failures: ");
    let sample = sample.replace("      gate: bake\n", "");
    assert_eq!(Spec::parse(&sample).unwrap(), view);
}

#[test]
fn the_aa_test_is_optional() {
    assert_eq!(Spec::parse(GOOD).unwrap().plan.aa_test, None);
    let watched = GOOD.replace("  analysis:", "  analysis:\n    aaTest: { time: 5m, salts: 3 }");
    let mut plan = Spec::parse(&watched).unwrap().plan;
    let test = plan.aa_test.clone().unwrap();
    assert_eq!((test.duration, test.requests), (Duration::from_secs(300), 10_000));
    assert_eq!(test.salts, ["shop-v2", "shop-v2/1", "shop-v2/2"]);
    assert_eq!(plan.filter_aa_test().unwrap().slices, [2_500, 50_000]);
    // The A/A test's part of alpha is not the judge's.
    assert!(
        (test.miss_probability - 0.002).abs() < 1e-12 && (plan.judge.alpha - 0.008).abs() < 1e-12
    );
    plan.drop_aa_test();
    assert!((plan.judge.alpha - 0.01).abs() < 1e-12);
    let strangers = watched.replace("  sticky:\n    - header: x-user-id\n", "");
    let error = Spec::parse(&strangers).unwrap_err().to_string();
    assert!(error.starts_with("spec.analysis.aaTest: spec.sticky names no source"), "{error}");
}

#[test]
fn the_baseline_is_the_first_version_of_the_filter() {
    let swapped =
        GOOD.replace("baseline: v1", "baseline: v2").replace("candidate: v2", "candidate: v1");
    let names =
        |spec: Spec| spec.service.versions.iter().map(|v| v.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(Spec::parse(&swapped).unwrap()), ["v2", "v1"]);
}

/// Each message has the path of the field, the value, and the valid form.
#[test]
fn errors_name_the_field_and_the_value() {
    let steps = "spec.strategy.trafficShifting.steps";
    for (from, to, expected) in [
        (
            "kind: ServiceRollout",
            "kind: Deployment",
            "kind: \"Deployment\" is not \"ServiceRollout\"".to_owned(),
        ),
        ("v1alpha1", "v9", "apiVersion: \"serin.dev/v9\" is not \"serin.dev/v1alpha1\"".into()),
        ("name: shop-v2", "name: ''", "metadata.name: \"\" is not a name".into()),
        ("  name: shop-v2", "  nmae: x", "metadata.nmae: unknown field `nmae`".into()),
        ("service: shop", "service: my shop", "spec.service: \"my shop\" is not a name".into()),
        (
            "baseline: v1",
            "baseline: v7",
            "spec.baseline: \"v7\" is not in spec.versions (v1, v2)".into(),
        ),
        ("candidate: v2", "candidate: v1", "spec.candidate: \"v1\" is also the baseline".into()),
        ("- name: v2", "- name: v1", "spec.versions[1].name: duplicate version \"v1\"".into()),
        (
            "cluster: shop-v2",
            "cluster: shop-v1",
            "spec.versions[1].cluster: \"shop-v1\" already".into(),
        ),
        (
            "weight: 5%",
            "weight: 101%",
            format!("{steps}[1].weight: \"101%\" is not a share from 0%"),
        ),
        ("weight: 5%", "weight: -1%", format!("{steps}[1].weight: \"-1%\" is not a share from 0%")),
        (
            "weight: 5%",
            "weight: 0.00001%",
            format!("{steps}[1].weight: \"0.00001%\" is not a share"),
        ),
        ("weight: 5%", "weight: 5", format!("{steps}[1].weight: 5 is not a share from 0% to 100%")),
        ("weight: 5%", "weight: 0.25%", format!("{steps}[1].weight: 0.25 % is not above")),
        ("weight: 0.25%", "weight: 0%", format!("{steps}[0].weight: 0 % is not above")),
        ("weight: 100%", "weight: 50%", format!("{steps}[2].weight: the last step is 50 %")),
        ("time: 1m", "time: 1", format!("{steps}[1].bake.time: ")),
        ("time: 1m", "time: soon", format!("{steps}[1].bake.time: \"soon\" is not a duration")),
        ("requests: 500", "requests: -1", format!("{steps}[1].bake.requests: ")),
        ("requests: 500", "requests: 0", format!("{steps}[1].bake.requests: 0 opens the gate")),
        (
            "requests: 500",
            "request: 5",
            format!("{steps}[1].bake.request: unknown field `request`"),
        ),
        (
            "relative: 1.5",
            "relative: 0.5",
            "spec.analysis.errors.relative: 0.5 is not between 1".into(),
        ),
        (
            "relative: 1.5",
            "relative: .nan",
            "spec.analysis.errors.relative: not a finite number".into(),
        ),
        (
            "analysis:",
            "analysis:\n    aaTest: { salts: 17 }",
            "spec.analysis.aaTest.salts: 17 is not from 1 to 16".into(),
        ),
        (
            "analysis:",
            "analysis:\n    aaTest: { slats: 3 }",
            "spec.analysis.aaTest.slats: unknown field".into(),
        ),
        ("analysis:", "analysis:\n    alpha: 0", "spec.analysis.alpha: 0 is not above 0".into()),
        (
            "analysis:",
            "analysis:\n    interval: 1ms",
            "spec.analysis.interval: 1ms is not between 100ms and 1m".into(),
        ),
        (
            "http://",
            "https://",
            "spec.envoy.admin: \"https://127.0.0.1:9901\" is not an address".into(),
        ),
        ("trafficShifting:", "bigBang:", "spec.strategy.bigBang: unknown field `bigBang`".into()),
        ("- header: x-user-id", "- cookies: x", "spec.sticky[0]".into()),
        (
            "sticky:",
            "overdue: 1ms\n  sticky:",
            "spec.overdue: 1ms is not between 50ms and 10m".into(),
        ),
        (
            "sticky:",
            "tripwire: { tolerated: 60% }\n  sticky:",
            "spec.tripwire.tolerated: 60 % is not between 1% and 50%".into(),
        ),
        (
            "sticky:",
            "override: { header: x-version }\n  sticky:",
            "spec.override: requires trust.sources".into(),
        ),
        (
            "sticky:",
            "rules: [{ when: { method: GET }, then: { version: v9 } }]\n  sticky:",
            "spec.rules[0].then.version: unknown version \"v9\"".into(),
        ),
        ("baseline: v1", "baseline:", "spec.baseline: empty; set a value".into()),
        ("baseline: v1", "baseline: v1\n  baseline: v1", "spec: duplicate field (line ".into()),
        (
            "header: x-user-id",
            "header: x user",
            "spec.sticky[0]: \"x user\": not a lower-case header name".into(),
        ),
        ("kind: ServiceRollout\n", "", "missing field `kind`".into()),
        ("  candidate: v2\n", "", "spec: missing field `candidate`".into()),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let error = Spec::parse(&GOOD.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.starts_with(&expected), "{to}: {error}\nexpected: {expected}");
    }
}

#[test]
fn other_documents_are_refused_with_a_short_message() {
    let deep = "[".repeat(100_000);
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b]\n\
                d: &d [*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e]\n";
    for text in ["", " \n", "null", "[]", "just words", "\t: :", "\u{0}\u{1}", &deep, bomb] {
        let error = Spec::parse(text).unwrap_err().to_string();
        assert!(!error.is_empty() && error.len() < 500, "{error}");
        assert!(!error.contains("DuplicateKeyPolicy") && !error.contains("Option<"), "{error}");
    }
}

fn changed(from: &str, to: &str) -> Result<Spec, SpecError> {
    assert!(GOOD.contains(from), "{from}");
    Spec::parse(&GOOD.replacen(from, to, 1))
}

#[test]
fn a_gate_of_evidence_sets_the_confidence_of_the_judge() {
    assert_eq!(Spec::parse(GOOD).unwrap().plan.judge.confidence, None);
    let plan = changed("- weight: 5%", "- weight: 5%\n          gate: evidence").unwrap().plan;
    let gates: Vec<_> = plan.steps.iter().map(|step| step.gate).collect();
    assert_eq!(gates, [Gate::Bake, Gate::Evidence, Gate::Bake]);
    assert_eq!(plan.judge.confidence, Some(0.95));
}

#[test]
fn a_holdback_bakes_the_last_step_with_a_baseline() {
    let plan = changed("bake: { time: 30s", "holdback: 1%\n      bake: { time: 30s").unwrap().plan;
    let steps: Vec<_> =
        plan.steps.iter().map(|s| (s.weight().ppm(), s.bake.as_secs(), s.requests)).collect();
    assert_eq!(steps[2..], [(990_000, 30, 50), (1_000_000, 0, 0)]);
    for (holdback, expected) in
        [("0%", "0 % is not above"), ("95%", "95 % is not above 0 % and below 95 %")]
    {
        let error = changed(
            "bake: { time: 30s",
            &format!("holdback: {holdback}\n      bake: {{ time: 30s"),
        );
        let error = error.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn objectives_are_shares_at_boundaries_of_the_histogram() {
    let with = |text: &str| changed("analysis:", &format!("analysis:\n    objectives: {text}"));
    let judge =
        with("{ errors: 1%, latency: { longerThan: 500ms, atMost: 2% } }").unwrap().plan.judge;
    let [errors, latency] = judge.objectives[..] else { panic!("{:?}", judge.objectives) };
    assert_eq!(errors, Objective { sli: Sli::Errors, at_most: 0.01 });
    let Sli::Latency { boundary } = latency.sli else { panic!("{latency:?}") };
    assert_eq!((judge.boundaries_ms[boundary], latency.at_most), (500.0, 0.02));
    for (text, expected) in [
        ("{ errors: 60% }", "objectives.errors: 60 % is not above 0 % and below 50 %"),
        ("{ latency: { longerThan: 510ms, atMost: 1% } }", "longerThan: 510 ms is not a boundary"),
        ("{ latency: { longerThan: 1ms, atMost: 1% } }", "longerThan: 1 ms is not a boundary"),
    ] {
        let error = with(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// The specification with another strategy and further fields.
fn with_strategy(strategy: &str, more: &str) -> Result<Spec, SpecError> {
    let (before, rest) = GOOD.split_once("    trafficShifting:\n").unwrap();
    let (_, after) = rest.split_once("  analysis:\n").unwrap();
    Spec::parse(&format!("{before}    {strategy}\n{more}  analysis:\n{after}"))
}

fn steps(plan: &Plan) -> Vec<(u32, u64, u64)> {
    plan.steps.iter().map(|s| (s.weight().ppm(), s.bake.as_secs(), s.requests)).collect()
}

#[test]
fn a_canary_is_one_slice_and_then_all() {
    let plan = with_strategy("canary: {}", "").unwrap().plan;
    assert_eq!(steps(&plan), [(50_000, 60, 100), (1_000_000, 0, 0)]);
    let plan = with_strategy(
        "canary: { weight: 1%, bake: { time: 5m }, gate: evidence, limit: { atMost: 1h, then: rollBack } }",
        "  failureBudget: 50\n  rollbackWindow: 2m\n",
    );
    let plan = plan.unwrap().plan;
    assert_eq!(steps(&plan), [(10_000, 300, 100), (1_000_000, 0, 0)]);
    let limit = Limit { at_most: Duration::from_secs(3_600), then: TimeoutAction::RollBack };
    assert_eq!((plan.steps[0].limit, plan.steps[0].gate), (Some(limit), Gate::Evidence));
    assert_eq!((plan.budget, plan.window), (Some(50), Duration::from_secs(120)));
}

#[test]
fn blue_green_is_a_preview_a_switch_and_a_rollback_window() {
    const PREVIEW: &str = "  override: { header: x-version }\n  trust: { sources: [10.0.0.0/8] }\n";
    let plan = with_strategy("blueGreen: {}", PREVIEW).unwrap().plan;
    assert_eq!(steps(&plan), [(0, 60, 10), (1_000_000, 60, 100)]);
    assert_eq!((plan.window, plan.breaking), (Duration::from_secs(600), false));
    let breaking = format!("  compatibility: breaking\n{PREVIEW}");
    assert!(with_strategy("blueGreen: {}", &breaking).unwrap().plan.breaking);
}

#[test]
fn rolling_replaces_batches_and_weights_follow() {
    let plan = with_strategy(
        "rolling: { instances: [a, b, c, d, e], batch: 40%, replace: { command: [./replace, now] }, approval: true }",
        "",
    );
    let plan = plan.unwrap().plan;
    let expected = [
        (0, 0, 0),
        (400_000, 60, 100),
        (666_666, 0, 0),
        (800_000, 60, 100),
        (1_000_000, 0, 0),
        (1_000_000, 60, 100),
    ];
    assert_eq!(steps(&plan), expected);
    let batches: Vec<_> = plan.steps.iter().map(|step| step.instances().join("")).collect();
    assert_eq!(batches, ["ab", "", "cd", "", "e", ""]);
    let approvals = plan.steps.iter().filter(|step| step.approval).count();
    assert_eq!((approvals, plan.commands().count()), (2, 1));
}

#[test]
fn hooks_are_addresses_or_commands() {
    let plan = with_strategy(
        "canary: {}",
        "  hooks:
    before:
      - { url: \"https://user:secret@deploy.example/before?token=secret\", timeout: 3s, retries: 5, secretFile: /run/key }
    gate:
      - command: [./smoke-test, --fast]
",
    );
    let hooks = plan.unwrap().plan.hooks;
    let [before] = &hooks.before[..] else { panic!("{hooks:?}") };
    assert_eq!(before.target.to_string(), "https://deploy.example/before");
    assert_eq!((before.timeout, before.retries), (Duration::from_secs(3), 5));
    assert_eq!(before.secret_file.as_deref(), Some(Path::new("/run/key")));
    let [gate] = &hooks.gate[..] else { panic!("{hooks:?}") };
    assert_eq!(gate.target.to_string(), "./smoke-test");
    assert_eq!((gate.timeout, gate.retries), (Duration::from_secs(10), 3));
    for (hook, expected) in [
        ("{}", ": exactly one of url and command is required"),
        ("{ url: a, command: [b] }", ": exactly one of url and command is required"),
        ("{ url: \"ftp://a/\" }", ".url: \"ftp://a/\" is not an address"),
        ("{ command: [] }", ".command: empty"),
        ("{ command: [a], timeout: 0s }", ".timeout: must be above 0s"),
        ("{ command: [a], retries: 21 }", ".retries: 21 is above 20"),
        ("{ command: [a], secretFile: b }", ".secretFile: a command is not signed"),
        ("{ comand: [a] }", ".comand: unknown field `comand`"),
    ] {
        let error = with_strategy("canary: {}", &format!("  hooks: {{ after: [{hook}] }}\n"));
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with(&format!("spec.hooks.after[0]{expected}")), "{hook}: {error}");
    }
}

#[test]
fn invalid_strategies_are_rejected_with_their_path() {
    for (strategy, more, expected) in [
        ("{}", "", "spec.strategy: exactly one of trafficShifting, canary, blueGreen and"),
        ("canary: {}\n    blueGreen: {}", "", "spec.strategy: exactly one of"),
        ("canary: { weight: 0% }", "", "spec.strategy.canary.weight: 0 % is not above 0 %"),
        (
            "canary: { weight: 100% }",
            "",
            "spec.strategy.canary.weight: 100 % is not above 0 % and below 100 %",
        ),
        (
            "canary: { bake: { requests: 0 } }",
            "",
            "spec.strategy.canary.bake.requests: 0 opens the gate",
        ),
        (
            "canary: { limit: { atMost: 1m } }",
            "",
            "spec.strategy.canary.limit.atMost: 1m is not above the bake time, 1m",
        ),
        (
            "canary: { limit: { atMost: 1h, then: panic } }",
            "",
            "spec.strategy.canary.limit.then: unknown variant `panic`",
        ),
        (
            "canary: {}",
            "  compatibility: breaking\n",
            "spec.strategy: compatibility: breaking requires blueGreen",
        ),
        ("canary: {}", "  compatibility: none\n", "spec.compatibility: unknown variant `none`"),
        ("blueGreen: {}", "", "spec.override: blueGreen requires a header or a cookie"),
        (
            "rolling: { instances: [a, b], replace: { command: [./replace] } }",
            "  compatibility: breaking\n",
            "spec.strategy: compatibility: breaking requires blueGreen",
        ),
        (
            "rolling: { instances: [a], replace: { command: [./replace] } }",
            "",
            "spec.strategy.rolling.instances: list at least two",
        ),
        (
            "rolling: { instances: [a, b, a], replace: { command: [./replace] } }",
            "",
            "spec.strategy.rolling.instances[2]: duplicate instance \"a\"",
        ),
        (
            "rolling: { instances: [a, b], batch: 2, replace: { command: [./replace] } }",
            "",
            "spec.strategy.rolling.batch: 2 of 2 instances; set at least 1 and fewer than all",
        ),
        (
            "rolling: { instances: [a, b], batch: 0, replace: { command: [./replace] } }",
            "",
            "spec.strategy.rolling.batch: 0 of 2 instances",
        ),
        (
            "rolling: { instances: [a, b], replace: {} }",
            "",
            "spec.strategy.rolling.replace: exactly one of url and command",
        ),
        ("canary: {}", "  rollbackWindow: 5\n", "spec.rollbackWindow: 5 is not a duration"),
        ("canary: {}", "  failureBudget: -5\n", "spec.failureBudget: "),
        ("canary: {}", "  rollbackWindow: 11years\n", "spec.rollbackWindow: \"11years\" is not"),
    ] {
        let error = with_strategy(strategy, more).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{strategy}: {error}\nexpected: {expected}");
    }
}

#[test]
fn freezes_are_times_once_or_every_week() {
    let plan = with_strategy(
        "canary: {}",
        "  timeZone: Europe/Berlin
  freeze:
    - { from: 2026-12-24T12:00, to: 2026-12-27T00:00 }
    - { days: [sat, sun] }
    - { days: [fri], from: \"15:00\" }
",
    );
    let freezes = plan.unwrap().plan.freezes;
    let until = |now: &str| freezes.until(now.parse().unwrap()).map(|end| end.to_string());
    assert_eq!(until("2026-11-25T12:00:00Z"), None);
    let end = until("2026-11-27T14:00:00Z");
    assert_eq!(end.as_deref(), Some("2026-11-28T00:00:00+01:00[Europe/Berlin]"));
    for (freeze, expected) in [
        ("[{ days: [] }]", "spec.freeze[0].days: empty"),
        ("[{ days: [someday] }]", "spec.freeze[0].days[0]: unknown variant `someday`"),
        ("[{ days: [mon], from: noon }]", "spec.freeze[0].from: \"noon\" is not a time of day"),
        (
            "[{ days: [mon], from: \"12:00\", to: \"11:00\" }]",
            "spec.freeze[0].to: 11:00:00 is not after 12:00:00",
        ),
        ("[{ from: 2026-12-24 }]", "spec.freeze[0].to: \"\" is not a time such as"),
        (
            "[{ from: 2026-12-24, to: 2026-12-23 }]",
            "spec.freeze[0].to: 2026-12-23T00:00:00 is not after 2026-12-24T00:00:00",
        ),
        ("[]\n  timeZone: Mars/North", "spec.timeZone: \"Mars/North\" is not a time zone"),
    ] {
        let error = with_strategy("canary: {}", &format!("  freeze: {freeze}\n"));
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with(expected), "{freeze}: {error}\nexpected: {expected}");
    }
}
