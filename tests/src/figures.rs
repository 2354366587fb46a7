//! Medians and quartiles, which other work on the machine distorts less than a mean.

use serde_json::{Value, json};

/// Repeated measurements, sorted.
#[derive(Debug)]
pub struct Measurements(Vec<f64>);

impl Measurements {
    /// Sorts at least one measurement.
    ///
    /// # Panics
    /// `values` is empty.
    pub fn new(mut values: Vec<f64>) -> Self {
        assert!(!values.is_empty(), "nothing was measured");
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// The quantile of this share.
    pub fn quantile(&self, share: f64) -> f64 {
        let last = self.0.len() - 1;
        self.0[((last as f64) * share).round() as usize]
    }

    /// The median.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The largest.
    pub fn worst(&self) -> f64 {
        self.quantile(1.0)
    }

    /// The median, with the quartiles in parentheses.
    pub fn show(&self, digits: usize) -> String {
        let [low, median, high] = [0.25, 0.5, 0.75].map(|share| self.quantile(share));
        format!("{median:.digits$} ({low:.digits$} to {high:.digits$})")
    }

    /// The values of [`show`](Self::show) and the maximum, in JSON.
    pub fn json(&self) -> Value {
        let [low, median, high, worst] = [0.25, 0.5, 0.75, 1.0].map(|share| self.quantile(share));
        json!({ "median": median, "lowerQuartile": low, "upperQuartile": high, "worst": worst, "repetitions": self.0.len() })
    }
}
