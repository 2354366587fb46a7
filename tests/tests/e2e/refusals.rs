//! An invalid specification is rejected with the path of the field, before any write.

use std::path::Path;

use serin_tests::rollout::serin;

const SPEC: &str = "
apiVersion: serin.dev/v1alpha1
kind: ServiceRollout
metadata: { name: shop-v2 }
spec:
  service: shop
  versions:
    - { name: v1, cluster: shop-v1 }
    - { name: v2, cluster: shop-v2 }
  baseline: v1
  candidate: v2
  strategy:
    trafficShifting:
      steps:
        - weight: 5%
        - weight: 50%
        - weight: 100%
  envoy:
    admin: http://127.0.0.1:1
    filterConfig: FILTER
";

/// Exit code and standard error of `serin run` with this specification, in a directory with the
/// shipped filter.json.
async fn run(directory: &Path, spec: &[u8]) -> (Option<i32>, String) {
    let path = directory.join("rollout.yaml");
    std::fs::write(&path, spec).expect("a specification");
    let output = serin().arg("run").arg(path).output().await.expect("serin runs");
    assert_eq!(output.stdout, b"", "nothing is started");
    (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
}

#[tokio::test]
async fn invalid_specifications_change_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let filter = directory.path().join("filter.json");
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../envoy/filter.json");
    std::fs::copy(shipped, &filter).expect("a copy");
    let before = std::fs::read(&filter).expect("filter.json");
    let good = SPEC.replace("FILTER", filter.to_str().expect("UTF-8"));

    let change = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1).into_bytes()
    };
    let steps = "spec.strategy.trafficShifting.steps";
    let garbage: Vec<u8> =
        (0..10_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for (spec, path, says) in [
        (change("service:", "servise:"), "spec.servise: ".to_owned(), "unknown field `servise`"),
        (
            change("5%", "500%"),
            format!("{steps}[0].weight: "),
            "\"500%\" is not a share from 0% to 100%",
        ),
        (
            change("5%", "-5%"),
            format!("{steps}[0].weight: "),
            "\"-5%\" is not a share from 0% to 100%",
        ),
        (
            change("50%", "5%"),
            format!("{steps}[1].weight: "),
            "5 % is not above the previous step (5 %)",
        ),
        (
            change("candidate: v2", "candidate: v3"),
            "spec.candidate: ".into(),
            "\"v3\" is not in spec.versions (v1, v2)",
        ),
        (vec![], String::new(), "empty document"),
        (garbage, String::new(), ""),
        (vec![b'a'; 10_000_000], String::new(), "longer than 1048576 bytes"),
    ] {
        let (code, error) = run(directory.path(), &spec).await;
        assert_eq!(code, Some(2), "{error}");
        assert!(
            error.contains(&format!("rollout.yaml: {path}")) && error.contains(says),
            "{error}\nexpected: {path}{says}"
        );
        assert!(error.len() < 1_000, "{} bytes of error", error.len());
        assert_eq!(std::fs::read(&filter).expect("filter.json"), before, "nothing is written");
    }
}

#[tokio::test]
async fn an_unresponsive_proxy_prevents_the_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let filter = directory.path().join("filter.json");
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../envoy/filter.json");
    std::fs::copy(&shipped, &filter).expect("a copy");
    let spec = SPEC.replace("FILTER", filter.to_str().expect("UTF-8"));
    let (code, error) = run(directory.path(), spec.as_bytes()).await;
    assert_eq!(code, Some(1));
    assert!(error.contains("http://127.0.0.1:1 can't be reached: Connection refused"), "{error}");
    assert!(error.contains("nothing was changed"), "{error}");
    assert_eq!(std::fs::read(&filter).ok(), std::fs::read(shipped).ok());
}

#[tokio::test]
async fn a_rollout_that_cannot_start_changes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let filter = directory.path().join("filter.json");
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../envoy/filter.json");
    std::fs::copy(&shipped, &filter).expect("a copy");
    let spec = SPEC.replace("FILTER", filter.to_str().expect("UTF-8"));
    for (from, to, code, says) in [
        ("- weight: 5%", "- { weight: 5%, approval: true }", 2, "accepts no approvals"),
        (
            "  strategy:",
            "  freeze: [{ days: [mon, tue, wed, thu, fri, sat, sun] }]\n  strategy:",
            1,
            "spec.freeze: no rollout starts before 2",
        ),
    ] {
        let (ended, error) = run(directory.path(), spec.replacen(from, to, 1).as_bytes()).await;
        assert_eq!(ended, Some(code), "{error}");
        assert!(error.contains(says), "{error}");
    }
    assert_eq!(std::fs::read(&filter).ok(), std::fs::read(shipped).ok());
}
