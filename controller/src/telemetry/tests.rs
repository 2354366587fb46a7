use prometheus_client::encoding::prometheus_text::encode;

use super::*;

fn page(metrics: &RolloutMetrics) -> String {
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let mut page = String::new();
    encode(&mut page, &registry).unwrap();
    page
}

#[test]
fn durations_are_counted_up_to_each_bound() {
    let metrics = RolloutMetrics::default();
    for ms in [1, 3, 3, 250, 9_000] {
        metrics.on_poll(Duration::from_millis(ms), Duration::ZERO);
    }
    let page = page(&metrics);
    for line in [
        "# TYPE serin_poll_lateness_seconds histogram",
        "serin_poll_lateness_seconds_bucket{le=\"0.001\"} 1",
        "serin_poll_lateness_seconds_bucket{le=\"0.005\"} 3",
        "serin_poll_lateness_seconds_bucket{le=\"0.15\"} 3",
        "serin_poll_lateness_seconds_bucket{le=\"0.25\"} 4",
        "serin_poll_lateness_seconds_bucket{le=\"5\"} 4",
        "serin_poll_lateness_seconds_bucket{le=\"+Inf\"} 5",
        "serin_poll_lateness_seconds_sum 9.257",
        "serin_poll_lateness_seconds_count 5",
        "serin_poll_duration_seconds_count 5",
    ] {
        assert!(page.lines().any(|present| present == line), "{line}\nis not in\n{page}");
    }
}

#[test]
fn store_writes_are_counted() {
    let metrics = RolloutMetrics::default();
    metrics.on_store_write(true);
    metrics.on_store_write(false);
    let page = page(&metrics);
    assert!(page.contains("serin_store_writes_total 2\n"), "{page}");
    assert!(page.contains("serin_store_write_failures_total 1\n"), "{page}");
}
