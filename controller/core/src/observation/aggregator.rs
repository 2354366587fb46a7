//! What several proxies did, made into one sighting.
//!
//! Differences are per proxy, then summed. A proxy that could not be read is unknown: what it counted meanwhile is left out for both versions, as
//! it reaches further back than what the others show, perhaps into another split. A proxy that is new counts for nothing at its first
//! reading; one that has vanished from the list is forgotten.
//!
//! Pure: the simulator and the sources of evidence share it.

use std::collections::BTreeMap;
use std::time::Duration;

use serin_filter::names::Generation;
use serin_filter::stat::FLUSH_INTERVAL;

use super::{Differ, Look, Sighting, Snapshot};
use crate::observation::health::{Behind, Lost, Name, Roster};

/// Workers report every [`FLUSH_INTERVAL`]; not one of them for this long is not for being busy.
pub const SILENCE: Duration = FLUSH_INTERVAL.saturating_mul(5);

/// Names in a message, at the most.
const NAMED: usize = 5;

/// What a proxy showed.
#[derive(Debug, Clone)]
pub struct Reading {
    /// As of when, on the clock of [`Merge::look`].
    pub at: Duration,
    /// Its counters.
    pub snapshot: Snapshot,
}

/// What is known of several proxies.
#[derive(Debug, Default)]
pub struct Merge {
    proxies: BTreeMap<Name, Seen>,
    /// Number of this look.
    looks: u64,
    /// Number of the last look that showed anything.
    sighted: u64,
}

/// What is known of one proxy.
#[derive(Debug)]
struct Seen {
    differ: Differ,
    /// Number of the last look that had it in its list.
    listed: u64,
    /// Number of the last look that could read it, 0 at first.
    read: u64,
    /// When it was last read, or first looked for.
    reached: Duration,
    /// Why it can't be read, if it can't.
    lost: Option<String>,
    generation: Option<Generation>,
    /// Whether it has refused a configuration since it took this generation.
    rejected: bool,
    /// Whether workers have said that they run this generation, and none that it does not.
    confirmed: bool,
    /// When a worker last reported.
    heard: Duration,
}

impl Merge {
    /// What these proxies did since the last look, which are all that there are. `now` never goes back.
    pub fn look(
        &mut self,
        now: Duration,
        readings: impl IntoIterator<Item = (Name, Result<Reading, String>)>,
    ) -> Look {
        self.looks += 1;
        let mut all: Option<Sighting> = None;
        for (name, reading) in readings {
            let seen = self.proxies.entry(name).or_insert_with(|| Seen::new(now));
            seen.listed = self.looks;
            let reading = match reading {
                Ok(reading) => reading,
                Err(why) => {
                    seen.lost = Some(why);
                    continue;
                }
            };
            let mut sighting = seen.take(now, reading);
            if std::mem::replace(&mut seen.read, self.looks) != self.sighted {
                sighting.versions.clear();
            }
            match &mut all {
                Some(all) => all.add(&sighting),
                None => all = Some(sighting),
            }
        }
        self.proxies.retain(|_, seen| seen.listed == self.looks);
        let Some(mut all) = all else {
            return Look::Unreachable { why: self.why_none() };
        };
        self.sighted = self.looks;
        all.roster = Box::new(self.roster(now, all.newest));
        Look::Seen(all)
    }

    fn roster(&self, now: Duration, newest: Option<Generation>) -> Roster {
        let mut roster = Roster { proxies: self.proxies.len(), ..Roster::default() };
        if roster.proxies == 1 {
            return roster;
        }
        for (name, seen) in &self.proxies {
            let name = || name.clone();
            let generation = seen.generation;
            if let Some(why) = &seen.lost {
                let since = now.saturating_sub(seen.reached);
                roster.lost.push(Lost { name: name(), why: why.clone(), since, generation });
                continue;
            }
            if generation < newest || seen.rejected {
                let rejected = seen.rejected;
                roster.behind.push(Behind { name: name(), generation, rejected });
            } else if !seen.confirmed {
                roster.unconfirmed.push(name());
            }
            if seen.reached > seen.heard + SILENCE {
                roster.silent.push(name());
            }
        }
        roster
    }

    /// Why there is nothing to be seen.
    fn why_none(&self) -> String {
        let mut lost =
            self.proxies.iter().filter_map(|(name, seen)| Some((name, seen.lost.as_ref()?)));
        match (self.proxies.len(), lost.next()) {
            (_, None) => "there is no proxy".to_owned(),
            (1, Some((_, why))) => why.clone(),
            (all, Some(first)) => {
                let lost = std::iter::once(first).chain(lost);
                let named = named(lost.map(|(name, why)| format!("{name} ({why})")));
                format!("none of {all} proxies can be read: {named}")
            }
        }
    }
}

impl Seen {
    fn new(now: Duration) -> Self {
        Self {
            differ: Differ::default(),
            listed: 0,
            read: 0,
            reached: now,
            lost: None,
            generation: None,
            rejected: false,
            confirmed: false,
            heard: now,
        }
    }

    fn take(&mut self, now: Duration, Reading { at, snapshot }: Reading) -> Sighting {
        let mut sighting = self.differ.difference(snapshot);
        sighting.age = now.saturating_sub(at);
        let first = self.read == 0;
        let other = sighting.restarted || sighting.generation != self.generation;
        self.generation = sighting.generation;
        self.rejected = sighting.rejected || self.rejected && !other;
        self.confirmed =
            !sighting.workers_behind && !other && (self.confirmed || sighting.workers_on);
        if sighting.workers_on || first {
            self.heard = at;
        }
        self.lost = None;
        self.reached = at.min(now);
        sighting
    }
}

/// The first few of these, and how many more there are.
pub fn named<T: std::fmt::Display>(all: impl IntoIterator<Item = T>) -> String {
    let mut all = all.into_iter();
    let first: Vec<_> = all.by_ref().take(NAMED).map(|one| one.to_string()).collect();
    let first = first.join(", ");
    match all.count() {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

#[cfg(test)]
mod tests;
