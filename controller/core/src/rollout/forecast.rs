//! Forecasts of a plan's duration, exposure and sensitivity from usual traffic. Pure.

use std::time::Duration;

use serde::Serialize;
use serin_filter::table::Weight;

use super::plan::{Gate, Plan};
use crate::judge::{Arm, Judge};
use crate::split::ppm;

/// The candidate failure rates to forecast detection for.
const FAILURE_RATES: [f64; 7] = [0.002, 0.005, 0.01, 0.02, 0.05, 0.2, 1.0];

/// The forecast of a step without incidents.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// The candidate's weight in parts per million.
    #[serde(with = "ppm")]
    pub weight: Weight,
    /// Whether only requests that ask for the candidate reach it.
    pub preview: bool,
    /// The duration in seconds; `None`: unlimited.
    pub seconds: Option<f64>,
    /// The number of requests that reach the candidate in that time.
    pub requests: Option<f64>,
    /// The approximate number of candidate requests that a gate of evidence needs; `None` without
    /// such a gate, or if no number suffices.
    pub requests_to_safety: Option<u64>,
    /// The detection of each failure rate. Empty without a baseline to compare with.
    pub faults: Vec<DetectionForecast>,
}

/// The detection of a failure rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DetectionForecast {
    /// The candidate's failure rate, 0 to 1.
    pub failure_rate: f64,
    /// The approximate number of candidate requests; `None` if no number suffices.
    pub requests: Option<u64>,
    /// The time until these requests arrive, in seconds.
    pub seconds: Option<f64>,
}

impl Plan {
    /// Forecasts each step at `rate` requests per second, for a baseline like `usual`.
    #[must_use]
    pub fn forecast(&self, rate: f64, usual: &Arm) -> Vec<Forecast> {
        let usual_rate = usual.failure_rate().unwrap_or(0.0);
        let steps = self.steps.iter().map(|step| {
            let share = step.weight().share();
            let mut judge = Judge::new(self.judge.clone());
            judge.learn(0.0, usual.clone());
            judge.split_changes(step.split_context());
            let time = |requests: u64| requests as f64 / (rate * share);
            let compared = step.is_compared();
            let asks = compared && step.gate == Gate::Evidence;
            let requests_to_safety = judge.requests_to_safety(share).filter(|_| asks);
            // The rate of preview requests does not follow from the traffic.
            let bake = match step.is_preview() {
                true => step.bake.as_secs_f64(),
                false => step.bake.as_secs_f64().max(time(step.requests)),
            };
            let seconds = match requests_to_safety {
                Some(requests) => Some(bake.max(time(requests))),
                None => (!asks).then_some(bake),
            };
            let faults = FAILURE_RATES.iter().filter(|fault| compared && **fault > usual_rate);
            Forecast {
                weight: step.weight(),
                preview: step.is_preview(),
                seconds,
                requests: seconds.map(|seconds| seconds * rate * share),
                requests_to_safety,
                faults: faults
                    .map(|failure_rate| {
                        let requests = judge.requests_to_harm(*failure_rate, share);
                        DetectionForecast {
                            failure_rate: *failure_rate,
                            requests,
                            seconds: requests.map(|n| time(n).max(self.interval.as_secs_f64())),
                        }
                    })
                    .collect(),
            }
        });
        steps.collect()
    }
}

/// The total duration of all steps; `None`: unlimited.
#[must_use]
pub fn total(forecasts: &[Forecast]) -> Option<Duration> {
    let seconds: Option<f64> = forecasts.iter().map(|forecast| forecast.seconds).sum();
    seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
}

#[cfg(test)]
mod tests {
    use super::super::plan::Step;
    use super::*;
    use crate::judge::Settings;

    fn plan(gate: Gate) -> Plan {
        let step = |ppm: u32| Step {
            bake: Duration::from_secs(60),
            requests: 100,
            gate,
            ..Step::at(Weight::from_ppm(ppm).unwrap())
        };
        Plan {
            name: "shop-v2".to_owned(),
            service: "shop".parse().unwrap(),
            baseline: "v1".parse().unwrap(),
            candidate: "v2".parse().unwrap(),
            steps: [10_000, 500_000, 1_000_000].map(step).into(),
            window: Duration::ZERO,
            budget: None,
            breaking: false,
            freezes: Default::default(),
            judge: Settings { latency: None, confidence: Some(0.95), ..Settings::default() },
            interval: Duration::from_secs(1),
            sticky: false,
            aa_test: None,
            hooks: Default::default(),
            replacement: None,
            metrics: None,
        }
    }

    fn usual() -> Arm {
        Arm { requests: 1_000_000, failures: 1_000, slower: Vec::new() }
    }

    #[test]
    fn a_step_lasts_until_time_and_requests_suffice() {
        let forecasts = plan(Gate::Bake).forecast(50.0, &usual());
        let seconds: Vec<_> = forecasts.iter().filter_map(|step| step.seconds).collect();
        assert_eq!(seconds, [200.0, 60.0, 60.0], "100 requests at half a request a second");
        assert_eq!(forecasts[1].requests, Some(1_500.0));
        assert_eq!(total(&forecasts), Some(Duration::from_secs(320)));
        assert!(forecasts[2].faults.is_empty());
    }

    #[test]
    fn a_gate_of_evidence_lasts_until_the_evidence_suffices() {
        let forecasts = plan(Gate::Evidence).forecast(50.0, &usual());
        let needed = forecasts[0].requests_to_safety.unwrap();
        assert_eq!(forecasts[0].seconds, Some(needed as f64 / 0.5));
        assert!(needed > 5_000);
        assert_eq!((forecasts[2].requests_to_safety, forecasts[2].seconds), (None, Some(60.0)));
    }

    #[test]
    fn higher_failure_rates_are_detected_sooner() {
        let forecasts = plan(Gate::Bake).forecast(50.0, &usual());
        let requests: Vec<_> =
            forecasts[0].faults.iter().filter_map(|fault| fault.requests).collect();
        assert!(requests.len() > 4 && requests.is_sorted_by(|a, b| a > b), "{requests:?}");
    }
}
