//! Hashes an identity to one of a million buckets.
//!
//! The hash is SipHash-1-3, keyed with the service's salt: a client that does not know the salt
//! cannot construct an identity for a given version. Multiplication scales the 64 bits to a
//! bucket (D. Lemire, "Fast random integer generation in an interval", 2019); its bias of
//! 1,000,000 in 2^64 is negligible. The golden vectors in `golden.json` fix the result: a
//! different hash would reassign every user of every running rollout.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;
use siphasher::sip128::{Hasher128, SipHasher13 as SaltHasher};

use crate::table::BUCKETS;

/// Maps identities to buckets by a salted hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucketing {
    key: (u64, u64),
}

impl Bucketing {
    /// The mapping for `salt`.
    #[must_use]
    pub fn new(salt: &str) -> Self {
        let mut hasher = SaltHasher::new();
        hasher.write(salt.as_bytes());
        let hash = hasher.finish128();
        Self { key: (hash.h1, hash.h2) }
    }

    /// The bucket of an identity, 0 to 999,999.
    #[must_use]
    pub fn bucket(&self, identity: &[u8]) -> u32 {
        let mut hasher = SipHasher13::new_with_keys(self.key.0, self.key.1);
        hasher.write(identity);
        scale(hasher.finish())
    }
}

/// Scales 64 uniform random bits to a bucket.
#[must_use]
#[allow(clippy::cast_possible_truncation)] // the product's high half is below BUCKETS
pub fn scale(bits: u64) -> u32 {
    ((u128::from(bits) * u128::from(BUCKETS)) >> 64) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaling_covers_the_first_and_the_last_bucket() {
        assert_eq!(scale(0), 0);
        assert_eq!(scale(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn buckets_are_uniform() {
        let bucketing = Bucketing::new("uniform");
        let mut cells = [0_u32; 100];
        for user in 0..200_000 {
            cells[(bucketing.bucket(format!("user-{user}").as_bytes()) / 10_000) as usize] += 1;
        }
        // Chi-squared with 99 degrees of freedom: 99.9 % of uniform samples stay below 148.2.
        let chi2: f64 = cells.iter().map(|n| (f64::from(*n) - 2_000.0).powi(2) / 2_000.0).sum();
        assert!(chi2 < 148.2, "{chi2}");
    }
}
