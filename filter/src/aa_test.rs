//! The A/A test: outcomes of users in future slices while the baseline still serves all of them.
//!
//! The test counts several salts at a time, each of which would select different users. For each
//! salt, a slice of n buckets is the last n of them: a table that starts with all buckets at the
//! baseline gives these to the candidate (see [`crate::table::Table::shifted`]). Requests without
//! an identity are in no slice.

use crate::bucket::Bucketing;
use crate::table::BUCKETS;

/// Salts of a test.
pub const MAX_SALTS: usize = 16;

/// Per salt, the index of the smallest slice that contains the user.
pub type SliceMembership = [u8; MAX_SALTS];

/// Membership of a request outside of all slices.
pub const NO_SLICES: SliceMembership = [u8::MAX; MAX_SALTS];

/// The slices of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AaTest {
    /// Bucket mapping per salt.
    pub salts: Vec<Bucketing>,
    /// Sizes of the slices in buckets, ascending. The last slice is all buckets.
    pub slices: Vec<u32>,
}

impl AaTest {
    /// The slices of the user with this identity.
    #[must_use]
    pub fn membership(&self, identity: &[u8]) -> SliceMembership {
        let mut membership = NO_SLICES;
        for (salt, smallest) in self.salts.iter().zip(&mut membership) {
            let size = BUCKETS - salt.bucket(identity);
            *smallest = 0;
            for slice in &self.slices {
                *smallest += u8::from(*slice < size);
            }
        }
        membership
    }
}

/// Requests and failures since the last flush, by salt and by smallest slice.
#[derive(Debug)]
pub struct SliceCounts {
    slices: usize,
    counts: Vec<[u32; 2]>,
}

impl SliceCounts {
    /// Counts of zero.
    #[must_use]
    pub fn new(test: &AaTest) -> Self {
        let slices = test.slices.len();
        Self { slices, counts: vec![[0; 2]; slices * test.salts.len()] }
    }

    /// Adds requests and failures of a user.
    pub fn count(&mut self, membership: &SliceMembership, [more, failed]: [u32; 2]) {
        let salts = self.counts.chunks_mut(self.slices.max(1));
        for (slices, smallest) in salts.zip(membership) {
            if let Some([requests, failures]) = slices.get_mut(usize::from(*smallest)) {
                *requests += more;
                *failures += failed;
            }
        }
    }

    /// Passes the counts to `report` and resets them: salt, slice (by index), and the requests and
    /// failures of all users in the slice.
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

    fn test() -> AaTest {
        let salts = ["a", "b"].map(Bucketing::new).to_vec();
        AaTest { salts, slices: SLICES.to_vec() }
    }

    #[test]
    fn a_slice_contains_the_users_of_the_future_candidate() {
        let test = test();
        for slice in SLICES {
            let weights = [Weight::from_ppm(BUCKETS - slice), Weight::from_ppm(slice)];
            let table = Table::all(0).shifted(&weights.map(Option::unwrap)).unwrap();
            for user in 0..2_000 {
                let identity = format!("user-{user}");
                let membership = test.membership(identity.as_bytes());
                for (salt, smallest) in test.salts.iter().zip(membership) {
                    let in_slice = SLICES[usize::from(smallest)] <= slice;
                    let on_candidate = table.version(salt.bucket(identity.as_bytes())) == 1;
                    assert_eq!(in_slice, on_candidate, "{identity} at {slice}");
                }
            }
        }
    }

    #[test]
    fn a_slice_includes_the_counts_of_smaller_slices() {
        let mut counts = SliceCounts::new(&test());
        for (slice, failed) in [(0, 0), (1, 1)] {
            let mut membership = NO_SLICES;
            [membership[0], membership[1]] = [slice, 2];
            counts.count(&membership, [1, failed]);
        }
        counts.count(&NO_SLICES, [1, 1]);
        let drain = |counts: &mut SliceCounts| {
            let mut drained = Vec::new();
            counts.drain(|salt, slice, counts| drained.push((salt, slice, counts)));
            drained
        };
        let expected = [(0, 0, [1, 0]), (0, 1, [2, 1]), (0, 2, [2, 1]), (1, 2, [2, 1])];
        assert_eq!(drain(&mut counts), expected);
        assert_eq!(drain(&mut counts), []);
    }
}
