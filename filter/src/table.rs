//! The table of buckets: which of a million buckets belongs to which version.
//!
//! A user falls into a bucket by hash, for as long as the salt stays. Sticky and monotone at once ("who has seen the candidate
//! keeps it while its weight grows") is a property of how one table follows another, so [`Table::shifted`] takes away from a
//! version only if its weight fell, and moves no bucket more than the change of weights asks for.

use std::fmt;

use thiserror::Error;

/// Buckets in a table. One bucket is one part per million of the users.
pub const BUCKETS: u32 = 1_000_000;

/// A version's share of the users in parts per million, 0 to 1,000,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Weight(#[cfg_attr(feature = "schema", schemars(range(max = BUCKETS)))] u32);

impl Weight {
    /// Nobody.
    pub const ZERO: Self = Self(0);
    /// Everybody.
    pub const ALL: Self = Self(BUCKETS);

    /// A weight of `ppm` parts per million, or `None` above 1,000,000.
    #[must_use]
    pub fn from_ppm(ppm: u32) -> Option<Self> {
        (ppm <= BUCKETS).then_some(Self(ppm))
    }

    /// Parts per million.
    #[must_use]
    pub fn ppm(self) -> u32 {
        self.0
    }

    /// The share between 0 and 1.
    #[must_use]
    pub fn share(self) -> f64 {
        f64::from(self.0) / f64::from(BUCKETS)
    }

    /// What is left for the others.
    #[must_use]
    pub fn rest(self) -> Self {
        Self(BUCKETS.saturating_sub(self.0))
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", f64::from(self.0) / 10_000.0)
    }
}

/// Adjacent buckets of one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Index of the version in the service's list of versions.
    pub version: usize,
    /// Number of buckets, at least 1.
    pub buckets: u32,
}

/// Why runs do not make a table.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the counts add up to {total}, but a table has exactly {BUCKETS} buckets")]
pub struct TableError {
    total: u64,
}

/// A division of all buckets among versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// In order of bucket; no run is empty and neighbours differ in version.
    runs: Vec<Run>,
}

impl Table {
    /// A table from runs in order of bucket. Empty runs are dropped and neighbours of one version joined.
    ///
    /// # Errors
    /// The counts do not add up to [`BUCKETS`].
    pub fn new(runs: impl IntoIterator<Item = Run>) -> Result<Self, TableError> {
        let mut total = 0;
        let mut joined: Vec<Run> = Vec::new();
        for run in runs {
            total += u64::from(run.buckets);
            match joined.last_mut() {
                _ if run.buckets == 0 => {}
                Some(last) if last.version == run.version => {
                    last.buckets = last.buckets.saturating_add(run.buckets);
                }
                _ => joined.push(run),
            }
        }
        if total == u64::from(BUCKETS) {
            Ok(Self { runs: joined })
        } else {
            Err(TableError { total })
        }
    }

    /// The table in which one version has every bucket.
    #[must_use]
    pub fn all(version: usize) -> Self {
        Self { runs: vec![Run { version, buckets: BUCKETS }] }
    }

    /// The runs in order of bucket.
    #[must_use]
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The version that owns `bucket`, counted from 0; the last run's for a bucket beyond the end.
    #[must_use]
    pub fn version(&self, bucket: u32) -> usize {
        let mut end = 0;
        for run in &self.runs {
            end += run.buckets;
            if bucket < end {
                return run.version;
            }
        }
        self.runs.last().map_or(0, |run| run.version)
    }

    /// The weight of `version`.
    #[must_use]
    pub fn weight(&self, version: usize) -> Weight {
        Weight(self.runs.iter().filter(|run| run.version == version).map(|run| run.buckets).sum())
    }

    /// The table that gives each version its weight in `weights` (by index, absent means zero) with the least movement: a version
    /// gives up buckets only if its weight fell, and they go to the versions whose weight rose.
    ///
    /// Short runs are given up first, and go to a neighbour where one gains: however often weights change, runs do not pile up.
    ///
    /// # Errors
    /// The weights do not add up to [`BUCKETS`].
    pub fn shifted(&self, weights: &[Weight]) -> Result<Self, TableError> {
        let total = weights.iter().map(|weight| u64::from(weight.ppm())).sum();
        if total != u64::from(BUCKETS) {
            return Err(TableError { total });
        }
        let mut gain: Vec<u32> = weights
            .iter()
            .enumerate()
            .map(|(version, weight)| weight.ppm().saturating_sub(self.weight(version).ppm()))
            .collect();
        let mut runs = Vec::with_capacity(self.runs.len() + weights.len());
        let mut after = self.runs.iter().skip(1).map(|run| run.version);
        for (run, freed) in self.runs.iter().zip(self.given_up(weights)) {
            runs.push(Run { version: run.version, buckets: run.buckets - freed });
            let before = runs.iter().rev().find(|run| run.buckets > 0).map(|run| run.version);
            let mut left = freed;
            let mut give = |version: usize| {
                let buckets = gain.get_mut(version).map_or(0, |wanted| take(wanted, left));
                left -= buckets;
                Run { version, buckets }
            };
            runs.extend(before.map(&mut give));
            let joins_the_next = after.next().map(&mut give);
            runs.extend((0..weights.len()).map(&mut give));
            runs.extend(joins_the_next);
        }
        Self::new(runs)
    }

    /// How many buckets of each run its version gives up.
    fn given_up(&self, weights: &[Weight]) -> Vec<u32> {
        let mut given_up = vec![0; self.runs.len()];
        let mut shortest: Vec<usize> = (0..self.runs.len()).collect();
        shortest.sort_by_key(|index| self.runs.get(*index).map(|run| run.buckets));
        let versions = self.runs.iter().map(|run| run.version + 1).max().unwrap_or(0);
        let mut losses: Vec<u32> = (0..versions)
            .map(|version| {
                let weight = weights.get(version).copied().unwrap_or_default();
                self.weight(version).ppm().saturating_sub(weight.ppm())
            })
            .collect();
        for index in shortest {
            if let (Some(run), Some(given_up)) = (self.runs.get(index), given_up.get_mut(index))
                && let Some(loss) = losses.get_mut(run.version)
            {
                *given_up = take(loss, run.buckets);
            }
        }
        given_up
    }
}

/// Takes up to `wanted` from `from` and returns how many that were.
fn take(from: &mut u32, wanted: u32) -> u32 {
    let taken = wanted.min(*from);
    *from -= taken;
    taken
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn weights(shares: &[u32]) -> Vec<Weight> {
        shares.iter().map(|ppm| Weight::from_ppm(*ppm).unwrap()).collect()
    }

    /// How many buckets have another version in `b` than in `a`.
    fn moved(a: &Table, b: &Table) -> u32 {
        let edges = |table: &Table| {
            table
                .runs()
                .iter()
                .scan(0, |end, run| {
                    *end += run.buckets;
                    Some(*end)
                })
                .collect::<Vec<_>>()
        };
        let mut cuts = [edges(a), edges(b)].concat();
        cuts.sort_unstable();
        let mut start = 0;
        let mut moved = 0;
        for end in cuts {
            if end > start && a.version(start) != b.version(start) {
                moved += end - start;
            }
            start = end;
        }
        moved
    }

    #[test]
    fn a_growing_candidate_keeps_what_it_had() {
        let mut table = Table::all(0);
        let mut before = Vec::new();
        for ppm in [10_000, 50_000, 250_000, 500_000, 1_000_000] {
            table = table.shifted(&weights(&[BUCKETS - ppm, ppm])).unwrap();
            assert_eq!(table.weight(1).ppm(), ppm);
            assert!(before.iter().all(|bucket| table.version(*bucket) == 1));
            before =
                (0..BUCKETS).step_by(997).filter(|bucket| table.version(*bucket) == 1).collect();
        }
    }

    #[test]
    fn counts_that_do_not_fill_the_table_are_refused() {
        let run = |buckets| Run { version: 0, buckets };
        assert!(Table::new([run(BUCKETS)]).is_ok());
        for bad in
            [vec![], vec![run(BUCKETS - 1)], vec![run(BUCKETS), run(1)], vec![run(u32::MAX); 9]]
        {
            assert!(Table::new(bad).is_err());
        }
        assert!(Table::all(0).shifted(&weights(&[BUCKETS, 1])).is_err());
    }

    #[test]
    fn weights_read_as_percent() {
        assert_eq!(Weight::from_ppm(2_500).unwrap().to_string(), "0.25 %");
        assert_eq!(Weight::ALL.to_string(), "100 %");
        assert_eq!(Weight::from_ppm(BUCKETS + 1), None);
    }

    /// Twenty thousand small trades between any two of eight versions, and the table is far from the longest that is allowed.
    #[test]
    fn runs_do_not_pile_up() {
        let mut random = fastrand::Rng::with_seed(8);
        let mut table = Table::all(0);
        let mut shares = vec![BUCKETS / 8; 8];
        let mut longest = 0;
        for _ in 0..20_000 {
            let (from, to) = (random.usize(0..8), random.usize(0..8));
            let traded = random.u32(1..1_000).min(shares[from]);
            shares[from] -= traded;
            shares[to] += traded;
            table = table.shifted(&weights(&shares)).unwrap();
            longest = longest.max(table.runs().len());
        }
        assert!(longest <= crate::config::limit::RUNS / 4, "{longest} runs");
    }

    /// A sequence of weights of two to five versions, each of which adds up to a million.
    fn splits() -> impl Strategy<Value = Vec<Vec<u32>>> {
        let split = |versions| {
            prop::collection::vec(0..=BUCKETS, versions - 1).prop_map(|mut cuts| {
                cuts.extend([0, BUCKETS]);
                cuts.sort_unstable();
                cuts.windows(2).map(|pair| pair[1] - pair[0]).collect()
            })
        };
        (2_usize..=5).prop_flat_map(move |versions| prop::collection::vec(split(versions), 1..20))
    }

    proptest! {
        #[test]
        fn shifts_are_exact_and_move_the_least(splits in splits()) {
            let mut table = Table::all(0);
            for split in splits {
                let next = table.shifted(&weights(&split)).unwrap();
                let mut change = 0;
                for (version, ppm) in split.iter().enumerate() {
                    prop_assert_eq!(next.weight(version).ppm(), *ppm);
                    change += table.weight(version).ppm().abs_diff(*ppm);
                }
                prop_assert_eq!(moved(&table, &next), change / 2);
                table = next;
            }
        }
    }
}
