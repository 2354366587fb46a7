//! Who of several operators works: the one that holds a Lease. Pure.
//!
//! As in client-go, nobody trusts another machine's clock: who does not hold the lease watches it, and takes it when it has not changed
//! for its duration by their own clock. Who holds it stops before the others can think that it is over.

use std::time::Duration;

/// How long a lease lasts that is not renewed.
pub(crate) const LEASE_DURATION: Duration = Duration::from_secs(12);

/// For how long after a renewal was *sent* its holder may write. Shorter than [`LEASE_DURATION`] by what a write may take, and by what clocks may
/// differ in speed.
pub(crate) const RENEW_DEADLINE: Duration = Duration::from_secs(8);

/// How often the holder renews it, and the others look at it.
pub(crate) const RENEW_INTERVAL: Duration = Duration::from_secs(2);

/// A lease as the server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeaseRecord {
    /// Who holds it; empty if it was given up.
    pub(crate) holder: String,
    /// Changes with every write: the object's resourceVersion.
    pub(crate) version: String,
    /// How many times it has changed hands.
    pub(crate) transitions: i32,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LeaseAction {
    /// There is no lease: to make one.
    Create,
    /// It is held here: to renew it.
    Renew,
    /// To take it, the write to be refused if it is not this version any more.
    Acquire {
        /// The version that was judged.
        version: String,
        /// How many times it will have changed hands.
        transitions: i32,
    },
    /// Somebody else holds it.
    Wait,
}

/// What is known of the lease.
#[derive(Debug, Default)]
pub(crate) struct LeaseObserver {
    /// The last version seen, and when it was first.
    last_seen: Option<(String, Duration)>,
}

impl LeaseObserver {
    /// What is to be done about a lease that was read at `now`, a time on a clock of one's own that never goes back.
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
        let (version, transitions) = (lease.version.clone(), lease.transitions.saturating_add(1));
        match &*lease.holder {
            own if own == identity => LeaseAction::Renew,
            "" => LeaseAction::Acquire { version, transitions },
            _ if now >= since + LEASE_DURATION => LeaseAction::Acquire { version, transitions },
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

    fn take(version: &str) -> LeaseAction {
        LeaseAction::Acquire { version: version.to_owned(), transitions: 4 }
    }

    #[test]
    fn a_lease_is_taken_when_it_has_not_changed_for_its_duration() {
        let mut watch = LeaseObserver::default();
        assert_eq!(watch.next_action(None, "b", at(0)), LeaseAction::Create);
        assert_eq!(watch.next_action(Some(&record("a", "1")), "b", at(5)), LeaseAction::Wait);
        assert_eq!(watch.next_action(Some(&record("a", "1")), "b", at(16)), LeaseAction::Wait);
        // Renewed in the last moment.
        assert_eq!(watch.next_action(Some(&record("a", "2")), "b", at(17)), LeaseAction::Wait);
        assert_eq!(watch.next_action(Some(&record("a", "2")), "b", at(28)), LeaseAction::Wait);
        assert_eq!(watch.next_action(Some(&record("a", "2")), "b", at(29)), take("2"));
    }

    #[test]
    fn who_has_given_it_up_is_not_waited_for_and_who_holds_it_renews_it() {
        let mut watch = LeaseObserver::default();
        assert_eq!(watch.next_action(Some(&record("", "7")), "b", at(0)), take("7"));
        assert_eq!(watch.next_action(Some(&record("b", "8")), "b", at(1)), LeaseAction::Renew);
        assert_eq!(watch.next_action(Some(&record("b", "8")), "b", at(100)), LeaseAction::Renew);
    }

    /// From the last renewal of one to the first write of another, and never both at once.
    #[test]
    fn a_take_over_is_quick_and_never_too_early() {
        assert!(RENEW_DEADLINE + Duration::from_secs(3) < LEASE_DURATION);
        assert!(LEASE_DURATION + RENEW_INTERVAL * 2 < Duration::from_secs(20));
    }
}
