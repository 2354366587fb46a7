//! The counters of one version at one proxy, compared and subtracted as a whole at every poll.

use serin_filter::stat::Stat;

/// A count for each [`Stat`], boxed to keep map nodes small.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counters(Box<[u64; Stat::COUNT]>);

impl Default for Counters {
    fn default() -> Self {
        Self(Box::new([0; Stat::COUNT]))
    }
}

impl Counters {
    /// The count of `stat`.
    #[must_use]
    pub fn count(&self, stat: Stat) -> u64 {
        self.0.get(stat.index()).copied().unwrap_or(0)
    }

    /// Sets the count of `stat`.
    pub fn set(&mut self, stat: Stat, count: u64) {
        if let Some(place) = self.0.get_mut(stat.index()) {
            *place = count;
        }
    }

    /// Adds the counts of another proxy.
    pub fn add(&mut self, other: &Self) {
        for (count, other) in self.0.iter_mut().zip(other.0.iter()) {
            *count += other;
        }
    }

    /// The rise of each count since `before`; 0 for a count that fell.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let mut rise = self.clone();
        for (count, before) in rise.0.iter_mut().zip(before.0.iter()) {
            *count = count.saturating_sub(*before);
        }
        rise
    }

    /// Whether any count is below that of `other`.
    #[must_use]
    pub fn any_below(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0.iter()).any(|(count, other)| count < other)
    }
}

impl FromIterator<(Stat, u64)> for Counters {
    fn from_iter<I: IntoIterator<Item = (Stat, u64)>>(counts: I) -> Self {
        let mut counters = Self::default();
        counts.into_iter().for_each(|(stat, count)| counters.set(stat, count));
        counters
    }
}
