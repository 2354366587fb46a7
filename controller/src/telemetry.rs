//! What a server of rollouts tells Prometheus, in its text format (version 0.0.4).

mod histogram;
pub mod operator;

use std::fmt::Write;
use std::time::Duration;

use self::histogram::Histogram;
use crate::server::api::RolloutView;
use crate::storage::sqlite::QueueState;

/// How punctual looks are, of all rollouts together.
#[derive(Debug, Default)]
pub struct PollMetrics {
    lateness: Histogram,
    duration: Histogram,
}

impl PollMetrics {
    /// A look began so much later than it was due, and took so long until what came of it was kept and done.
    pub fn observe(&self, late: Duration, took: Duration) {
        self.lateness.observe(late);
        self.duration.observe(took);
    }
}

/// The page, for these rollouts. Series of a rollout are there while it is under way; its labels are names, which need no escape.
#[must_use]
pub fn render(rollouts: &[RolloutView], looks: &PollMetrics) -> String {
    let mut page = String::new();
    let mut family = |name: &str, help: &str, series: &[(String, f64)]| {
        // Writing to a string does not fail.
        let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (labels, value) in series {
            let _ = writeln!(page, "{name}{{{labels}}} {value}");
        }
    };
    let phases = [
        ("queued", QueueState::Queued),
        ("running", QueueState::Running),
        ("ended", QueueState::Ended),
        ("failed", QueueState::Failed),
    ];
    let counts = phases.map(|(label, phase)| {
        let count = rollouts.iter().filter(|view| view.entry.phase == phase).count();
        (format!("phase=\"{label}\""), count as f64)
    });
    family("serin_rollouts", "Rollouts in the store.", &counts);
    let each =
        |value: fn(&serin_core::rollout::event::RolloutStatus) -> f64| -> Vec<(String, f64)> {
            let labels = |shown: &RolloutView| {
                format!("rollout=\"{}\",service=\"{}\"", shown.entry.name, shown.entry.service)
            };
            rollouts.iter().filter_map(|s| Some((labels(s), value(s.status.as_ref()?)))).collect()
        };
    family(
        "serin_rollout_weight",
        "The candidate's share of the users, 0 to 1, as last asked for.",
        &each(|status| status.weight.share()),
    );
    family(
        "serin_rollout_evidence",
        "Evidence against the candidate; at serin_rollout_evidence_limit it is rolled back.",
        &each(|status| status.evidence),
    );
    family("serin_rollout_evidence_limit", "1 / alpha.", &each(|status| status.limit));
    family(
        "serin_rollout_blocked",
        "Whether something keeps the rollout from going on.",
        &each(|status| f64::from(u8::from(status.blocker.is_some()))),
    );
    family(
        "serin_rollout_paused",
        "Whether the rollout is paused.",
        &each(|status| f64::from(u8::from(status.paused))),
    );
    looks.lateness.show(
        &mut page,
        "serin_poll_lateness_seconds",
        "How much later than it was due a rollout began to look at its proxies.",
    );
    looks.duration.show(
        &mut page,
        "serin_poll_duration_seconds",
        "How long it took from there until what came of the look was kept and done.",
    );
    page
}
