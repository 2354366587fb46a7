//! Lease-based leader election. Pure.
//!
//! As in client-go, no replica trusts another machine's clock: a standby watches the lease, and
//! acquires it when it has not changed for its duration by the standby's clock. The holder stops
//! before a standby can consider the lease expired.

use std::time::Duration;

/// The lease expires this long after its last renewal.
pub(crate) const LEASE_DURATION: Duration = Duration::from_secs(12);

/// The holder may write for this long after a renewal was *sent*. Shorter than [`LEASE_DURATION`]
/// by the time of a write and the difference in speed of two clocks.
pub(crate) const RENEW_DEADLINE: Duration = Duration::from_secs(8);

/// The holder renews the lease, and standbys read it, at this interval.
pub(crate) const RENEW_INTERVAL: Duration = Duration::from_secs(2);

/// A lease as the server stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeaseRecord {
    /// The holder; empty if the lease was released.
    pub(crate) holder: String,
    /// Changes with every write: the object's resourceVersion.
    pub(crate) version: String,
    /// The number of changes of its holder.
    pub(crate) transitions: i32,
}

/// The next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeaseAction {
    /// No lease exists: create it.
    Create,
    /// This operator holds the lease: renew it.
    Renew,
    /// Acquire it; the API server rejects the write if the version has changed.
    Acquire {
        /// The number of changes of its holder, with this one.
        transitions: i32,
    },
    /// Another operator holds the lease.
    Wait,
}

/// Observes the lease.
#[derive(Debug, Default)]
pub(crate) struct LeaseObserver {
    /// The last version, and when it was first seen.
    last_seen: Option<(String, Duration)>,
}

impl LeaseObserver {
    /// The next request after the lease was read at `now`, by a local monotonic clock.
    pub(crate) fn next_action(
        &mut self,
        lease: Option<&LeaseRecord>,
        identity: &str,
        now: Duration,
    ) -> LeaseAction {
        let Some(lease) = lease else { return LeaseAction::Create };
        let known = self.last_seen.take().filter(|(version, _)| *version == lease.version);
        let (version, since) = known.unwrap_or_else(|| (lease.version.clone(), now));
        self.last_seen = Some((version, since));
        let transitions = lease.transitions.saturating_add(1);
        match &*lease.holder {
            own if own == identity => LeaseAction::Renew,
            "" => LeaseAction::Acquire { transitions },
            _ if now >= since + LEASE_DURATION => LeaseAction::Acquire { transitions },
            _ => LeaseAction::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(holder: &str, version: &str) -> LeaseRecord {
        LeaseRecord { holder: holder.to_owned(), version: version.to_owned(), transitions: 3 }
    }

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const TAKE: LeaseAction = LeaseAction::Acquire { transitions: 4 };

    #[test]
    fn an_unchanged_lease_is_acquired_after_its_duration() {
        let mut observer = LeaseObserver::default();
        assert_eq!(observer.next_action(None, "b", at(0)), LeaseAction::Create);
        assert_eq!(observer.next_action(Some(&record("a", "1")), "b", at(5)), LeaseAction::Wait);
        assert_eq!(observer.next_action(Some(&record("a", "1")), "b", at(16)), LeaseAction::Wait);
        // Renewed at the last moment.
        assert_eq!(observer.next_action(Some(&record("a", "2")), "b", at(17)), LeaseAction::Wait);
        assert_eq!(observer.next_action(Some(&record("a", "2")), "b", at(28)), LeaseAction::Wait);
        assert_eq!(observer.next_action(Some(&record("a", "2")), "b", at(29)), TAKE);
    }

    #[test]
    fn a_released_lease_is_acquired_at_once_and_a_held_one_renewed() {
        let mut observer = LeaseObserver::default();
        assert_eq!(observer.next_action(Some(&record("", "7")), "b", at(0)), TAKE);
        assert_eq!(observer.next_action(Some(&record("b", "8")), "b", at(1)), LeaseAction::Renew);
        assert_eq!(observer.next_action(Some(&record("b", "8")), "b", at(100)), LeaseAction::Renew);
    }

    /// Two operators never write at once, and a takeover takes less than 20 s.
    #[test]
    fn a_takeover_is_quick_and_never_too_early() {
        assert!(RENEW_DEADLINE + Duration::from_secs(3) < LEASE_DURATION);
        assert!(LEASE_DURATION + RENEW_INTERVAL * 2 < Duration::from_secs(20));
    }
}
