//! Medians with their spread: the machine has other work too, and a mean would measure that.

use serde_json::{Value, json};

/// What repetitions gave, in order of size.
#[derive(Debug)]
pub struct Measurements(Vec<f64>);

impl Measurements {
    /// At least one.
    ///
    /// # Panics
    /// When there is none.
    pub fn new(mut values: Vec<f64>) -> Self {
        assert!(!values.is_empty(), "nothing was measured");
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// The value that a share of all does not exceed.
    pub fn quantile(&self, share: f64) -> f64 {
        let last = self.0.len() - 1;
        self.0[((last as f64) * share).round() as usize]
    }

    /// The value in the middle.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The largest.
    pub fn worst(&self) -> f64 {
        self.quantile(1.0)
    }

    /// The median, and between what a half of all repetitions lay.
    pub fn show(&self, digits: usize) -> String {
        let [low, median, high] = [0.25, 0.5, 0.75].map(|share| self.quantile(share));
        format!("{median:.digits$} ({low:.digits$} to {high:.digits$})")
    }

    /// The same as [`show`](Self::show), and the largest, for programs.
    pub fn json(&self) -> Value {
        let [low, median, high, worst] = [0.25, 0.5, 0.75, 1.0].map(|share| self.quantile(share));
        json!({ "median": median, "lowerQuartile": low, "upperQuartile": high, "worst": worst, "repetitions": self.0.len() })
    }
}
