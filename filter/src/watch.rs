//! What the users of future slices do while the baseline still serves everybody: an A/A comparison, for several salts at a time.
//!
//! Each salt would choose other users. For each the candidate's future slices are the last buckets, as many as its weight in a step
//! says: a table that begins with all users at the baseline gives the candidate those (see [`crate::table::Table::shifted`]). The counts are
//! kept in memory and flushed like all others; a request without an identity is in no slice and not counted. Pure.

use crate::bucket::Bucketing;
use crate::config::limit;
use crate::table::BUCKETS;

/// For each salt the smallest slice that a user is in, by index.
pub type Places = [u8; limit::SALTS];

/// The places of a request that is not watched.
pub const NOWHERE: Places = [u8::MAX; limit::SALTS];

/// What is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// One for each salt.
    pub salts: Vec<Bucketing>,
    /// The slices of each salt in buckets, rising; the next holds the one before. The last one is everybody.
    pub slices: Vec<u32>,
}

impl Watch {
    /// Where the user with this identity is.
    #[must_use]
    pub fn places(&self, identity: &[u8]) -> Places {
        let mut places = NOWHERE;
        for (salt, place) in self.salts.iter().zip(&mut places) {
            let from_the_end = BUCKETS - salt.bucket(identity);
            *place = 0;
            for slice in &self.slices {
                *place += u8::from(*slice < from_the_end);
            }
        }
        places
    }
}

/// Requests and failures since the last flush, by salt and by the smallest slice that they are in.
#[derive(Debug)]
pub struct Watched {
    slices: usize,
    counts: Vec<[u32; 2]>,
}

impl Watched {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(watch: &Watch) -> Self {
        let slices = watch.slices.len();
        Self { slices, counts: vec![[0; 2]; slices * watch.salts.len()] }
    }

    /// Counts a request that a version served and that has ended, by the [places](Watch::places) of its user.
    pub fn count(&mut self, places: &Places, failed: bool) {
        let salts = self.counts.chunks_mut(self.slices.max(1));
        for (slices, place) in salts.zip(places) {
            if let Some([requests, failures]) = slices.get_mut(usize::from(*place)) {
                *requests += 1;
                *failures += u32::from(failed);
            }
        }
    }

    /// Hands what was counted to `report`, as salt and slice by index with requests and failures of everybody in the slice, and starts
    /// again from zero.
    pub fn drain(&mut self, mut report: impl FnMut(u32, usize, [u32; 2])) {
        for (salt, slices) in (0..).zip(self.counts.chunks_mut(self.slices.max(1))) {
            let (mut requests, mut failures) = (0, 0);
            for (slice, counts) in slices.iter_mut().enumerate() {
                let [more, failed] = std::mem::take(counts);
                requests += more;
                failures += failed;
                if requests > 0 {
                    report(salt, slice, [requests, failures]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Table, Weight};

    const SLICES: [u32; 3] = [10_000, 250_000, BUCKETS];

    fn watch() -> Watch {
        let salts = ["a", "b"].map(Bucketing::new).to_vec();
        Watch { salts, slices: SLICES.to_vec() }
    }

    #[test]
    fn a_slice_has_the_users_whom_the_candidate_will_get() {
        let watch = watch();
        for slice in SLICES {
            let weights = [Weight::from_ppm(BUCKETS - slice), Weight::from_ppm(slice)];
            let table = Table::all(0).shifted(&weights.map(Option::unwrap)).unwrap();
            for user in 0..2_000 {
                let identity = format!("user-{user}");
                let places = watch.places(identity.as_bytes());
                for (salt, place) in watch.salts.iter().zip(places) {
                    let is_in = SLICES[usize::from(place)] <= slice;
                    let gets = table.version(salt.bucket(identity.as_bytes())) == 1;
                    assert_eq!(is_in, gets, "{identity} at {slice}");
                }
            }
        }
    }

    #[test]
    fn slices_are_counted_with_the_smaller_ones_in_them() {
        let mut watched = Watched::new(&watch());
        for (place, failed) in [(0, false), (1, true)] {
            let mut places = NOWHERE;
            [places[0], places[1]] = [place, 2];
            watched.count(&places, failed);
        }
        watched.count(&NOWHERE, true);
        let drain = |watched: &mut Watched| {
            let mut counted = Vec::new();
            watched.drain(|salt, slice, counts| counted.push((salt, slice, counts)));
            counted
        };
        let expected = [(0, 0, [1, 0]), (0, 1, [2, 1]), (0, 2, [2, 1]), (1, 2, [2, 1])];
        assert_eq!(drain(&mut watched), expected);
        assert_eq!(drain(&mut watched), []);
    }
}
