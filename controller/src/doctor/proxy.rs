//! The proxy itself: its release, its state, its clock.

use super::finding::{Check, Finding};
use super::pages::ServerInfo;

/// The oldest and the newest release that serin's tests run on, by the minor number of 1.
const TESTED_MINOR_VERSIONS: [u32; 2] = [36, 40];

/// A larger difference of clocks, in seconds, exceeds the precision of the measurement.
const MAX_CLOCK_OFFSET_SECONDS: f64 = 2.0;

pub(super) fn state(info: &ServerInfo) -> Finding {
    match info.state.as_str() {
        "LIVE" => Finding::ok(Check::Admin, "answers, and the proxy is live"),
        "DRAINING" => Finding::warn(
            Check::Admin,
            "the proxy is draining",
            "it takes no new connections: leave it out of the rollout, or restart it",
        ),
        other => Finding::fail(
            Check::Admin,
            format!("the proxy is not ready: {other}"),
            "Envoy's log has the cause: usually an xDS server or a cluster that does not answer",
        ),
    }
}

pub(super) fn version(info: &ServerInfo) -> Finding {
    let version = info.version.split('/').nth(1).unwrap_or_default();
    let mut parts = version.split('.').map(str::parse::<u32>);
    let [first, last] = TESTED_MINOR_VERSIONS;
    match (parts.next(), parts.next()) {
        (Some(Ok(1)), Some(Ok(minor))) if minor < first => Finding::fail(
            Check::Version,
            format!("Envoy {version}"),
            format!("serin needs Envoy 1.{first} or newer"),
        ),
        (Some(Ok(1)), Some(Ok(minor))) if minor <= last => {
            Finding::ok(Check::Version, format!("Envoy {version}"))
        }
        _ => Finding::warn(
            Check::Version,
            format!("Envoy {:?}", if version.is_empty() { &info.version } else { version }),
            format!(
                "serin is tested on Envoy 1.{first} to 1.{last}: try a rollout where it may fail first"
            ),
        ),
    }
}

/// `ahead`: the seconds by which the proxy's clock is ahead of this one.
pub(super) fn clock(ahead: Option<f64>) -> Finding {
    match ahead {
        None => Finding::skipped(Check::Clock, "the proxy's answers have no date"),
        Some(ahead) if ahead.abs() <= MAX_CLOCK_OFFSET_SECONDS => {
            Finding::ok(Check::Clock, "the difference to this machine is below 2 s")
        }
        Some(ahead) => Finding::warn(
            Check::Clock,
            format!(
                "the proxy's clock is {:.0} s {} this machine's",
                ahead.abs(),
                if ahead > 0.0 { "ahead of" } else { "behind" }
            ),
            "synchronize both with a time server: otherwise logs, timestamps and freezes do not match",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn info(version: &str, state: &str) -> ServerInfo {
        ServerInfo {
            version: format!("9e55/{version}/Clean/RELEASE/BoringSSL"),
            state: state.to_owned(),
        }
    }

    #[test]
    fn untested_releases_are_reported() {
        for (release, level) in [
            ("1.35.9", Level::Fail),
            ("1.36.0", Level::Ok),
            ("1.40.0", Level::Ok),
            ("1.41.0-dev", Level::Warn),
            ("2.0.0", Level::Warn),
            ("", Level::Warn),
        ] {
            assert_eq!(version(&info(release, "LIVE")).level, level, "{release}");
        }
    }

    #[test]
    fn a_proxy_has_to_be_live() {
        for (name, level) in
            [("LIVE", Level::Ok), ("DRAINING", Level::Warn), ("PRE_INITIALIZING", Level::Fail)]
        {
            assert_eq!(state(&info("1.40.0", name)).level, level, "{name}");
        }
    }

    #[test]
    fn clocks_are_compared() {
        for (ahead, level, message) in [
            (Some(-1.4), Level::Ok, "below 2 s"),
            (Some(61.0), Level::Warn, "61 s ahead of"),
            (Some(-61.0), Level::Warn, "61 s behind"),
            (None, Level::Skipped, "no date"),
        ] {
            let finding = clock(ahead);
            assert_eq!(finding.level, level);
            assert!(finding.message.contains(message), "{}", finding.message);
        }
    }
}
