//! The bucket table: assigns a million buckets to versions.
//!
//! A hash maps a user to a bucket that is fixed for a salt. [`Table::shifted`] keeps users on the
//! candidate while its weight grows: a version loses buckets only if its weight fell, and no more
//! buckets move than the weights require.

use std::fmt;

use thiserror::Error;

/// Buckets in a table. One bucket is one part per million of the users.
pub const BUCKETS: u32 = 1_000_000;

/// Ranges of a table.
pub const MAX_RANGES: usize = 1024;

/// A version's share of the users in parts per million, 0 to 1,000,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Weight(#[cfg_attr(feature = "schema", schemars(range(max = BUCKETS)))] u32);

impl Weight {
    /// 0 %.
    pub const ZERO: Self = Self(0);
    /// 100 %.
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

    /// The weight that remains for the other versions.
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

/// A range of buckets of one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BucketRange {
    /// Index of the version in the service's list of versions.
    pub version: usize,
    /// Number of buckets, at least 1.
    pub buckets: u32,
}

/// The ranges do not cover the table.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("counts add up to {total}, expected {BUCKETS}")]
pub struct TableError {
    total: u64,
}

/// An assignment of all buckets to versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// In bucket order. No range is empty, and adjacent ranges differ in version.
    ranges: Vec<BucketRange>,
}

impl Table {
    /// A table of ranges in bucket order. Drops empty ranges and joins adjacent ones of a version.
    ///
    /// # Errors
    /// The counts do not add up to [`BUCKETS`].
    pub fn new(ranges: impl IntoIterator<Item = BucketRange>) -> Result<Self, TableError> {
        let mut total = 0;
        let mut joined: Vec<BucketRange> = Vec::new();
        for range in ranges {
            total += u64::from(range.buckets);
            match joined.last_mut() {
                _ if range.buckets == 0 => {}
                Some(last) if last.version == range.version => {
                    last.buckets = last.buckets.saturating_add(range.buckets);
                }
                _ => joined.push(range),
            }
        }
        if total == u64::from(BUCKETS) {
            Ok(Self { ranges: joined })
        } else {
            Err(TableError { total })
        }
    }

    /// The table with all buckets on one version.
    #[must_use]
    pub fn all(version: usize) -> Self {
        Self { ranges: vec![BucketRange { version, buckets: BUCKETS }] }
    }

    /// The ranges in bucket order.
    #[must_use]
    pub fn ranges(&self) -> &[BucketRange] {
        &self.ranges
    }

    /// The version of `bucket`, counted from 0. The last range includes buckets out of range.
    #[must_use]
    pub fn version(&self, bucket: u32) -> usize {
        let mut end = 0;
        for range in &self.ranges {
            end += range.buckets;
            if bucket < end {
                return range.version;
            }
        }
        self.ranges.last().map_or(0, |range| range.version)
    }

    /// The weight of `version`.
    #[must_use]
    pub fn weight(&self, version: usize) -> Weight {
        let ranges = self.ranges.iter().filter(|range| range.version == version);
        Weight(ranges.map(|range| range.buckets).sum())
    }

    /// The table with these weights by version index (zero if absent) and the fewest moved
    /// buckets.
    ///
    /// Versions whose weight fell release buckets to versions whose weight rose. Short ranges are
    /// released first, and preferably to an adjacent version, which bounds the number of ranges
    /// over many changes.
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
        let mut ranges = Vec::with_capacity(self.ranges.len() + weights.len());
        let mut following = self.ranges.iter().skip(1).map(|range| range.version);
        for (range, released) in self.ranges.iter().zip(self.released(weights)) {
            ranges.push(BucketRange { version: range.version, buckets: range.buckets - released });
            let previous = ranges.iter().rev().find(|range| range.buckets > 0);
            let previous = previous.map(|range| range.version);
            let mut left = released;
            let mut grant = |version: usize| {
                let buckets = gain.get_mut(version).map_or(0, |gain| take(gain, left));
                left -= buckets;
                BucketRange { version, buckets }
            };
            ranges.extend(previous.map(&mut grant));
            let next = following.next().map(&mut grant);
            ranges.extend((0..weights.len()).map(&mut grant));
            ranges.extend(next);
        }
        Self::new(ranges)
    }

    /// The number of buckets that each range releases.
    fn released(&self, weights: &[Weight]) -> Vec<u32> {
        let mut released = vec![0; self.ranges.len()];
        let mut shortest: Vec<usize> = (0..self.ranges.len()).collect();
        shortest.sort_by_key(|index| self.ranges.get(*index).map(|range| range.buckets));
        let versions = self.ranges.iter().map(|range| range.version + 1).max().unwrap_or(0);
        let mut losses: Vec<u32> = (0..versions)
            .map(|version| {
                let weight = weights.get(version).copied().unwrap_or_default();
                self.weight(version).ppm().saturating_sub(weight.ppm())
            })
            .collect();
        for index in shortest {
            if let (Some(range), Some(released)) = (self.ranges.get(index), released.get_mut(index))
                && let Some(loss) = losses.get_mut(range.version)
            {
                *released = take(loss, range.buckets);
            }
        }
        released
    }
}

/// Subtracts up to `most` from `from` and returns the amount.
fn take(from: &mut u32, most: u32) -> u32 {
    let taken = most.min(*from);
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

    /// The number of buckets whose version differs between `a` and `b`.
    fn moved(a: &Table, b: &Table) -> u32 {
        let edges = |table: &Table| {
            table
                .ranges()
                .iter()
                .scan(0, |end, range| {
                    *end += range.buckets;
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
    fn a_growing_version_keeps_its_buckets() {
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
    fn counts_must_add_up_to_the_table() {
        let range = |buckets| BucketRange { version: 0, buckets };
        assert!(Table::new([range(BUCKETS)]).is_ok());
        for bad in [
            vec![],
            vec![range(BUCKETS - 1)],
            vec![range(BUCKETS), range(1)],
            vec![range(u32::MAX); 9],
        ] {
            assert!(Table::new(bad).is_err());
        }
        assert!(Table::all(0).shifted(&weights(&[BUCKETS, 1])).is_err());
    }

    #[test]
    fn weights_print_as_percent() {
        assert_eq!(Weight::from_ppm(2_500).unwrap().to_string(), "0.25 %");
        assert_eq!(Weight::ALL.to_string(), "100 %");
        assert_eq!(Weight::from_ppm(BUCKETS + 1), None);
    }

    /// 20,000 small transfers between random pairs of eight versions.
    #[test]
    fn the_number_of_ranges_is_bounded() {
        let mut random = fastrand::Rng::with_seed(8);
        let mut table = Table::all(0);
        let mut shares = vec![BUCKETS / 8; 8];
        let mut longest = 0;
        for _ in 0..20_000 {
            let (from, to) = (random.usize(0..8), random.usize(0..8));
            let moved = random.u32(1..1_000).min(shares[from]);
            shares[from] -= moved;
            shares[to] += moved;
            table = table.shifted(&weights(&shares)).unwrap();
            longest = longest.max(table.ranges().len());
        }
        assert!(longest <= MAX_RANGES / 4, "{longest} ranges");
    }

    /// A sequence of splits of two to five versions. Each split adds up to a million.
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
        fn shifts_are_exact_and_minimal(splits in splits()) {
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
