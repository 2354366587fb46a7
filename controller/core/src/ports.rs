//! The engine's ports. Each has an implementation for plain Envoy and one for a cluster.

use std::error::Error;
use std::time::Duration;

use serin_filter::names::{Generation, VersionName};

use crate::judge::Ruling;
use crate::observation::Observation;
use crate::rollout::event::Event;
use crate::rollout::machine::{Output, Rollout};
use crate::rollout::metric::{MetricError, TemplateVariables};
use crate::split::Split;

/// Applies splits to the proxies.
pub trait Router: Send {
    /// Why a split could not be applied.
    type Error: Error + Send;

    /// Applies a split with the fewest reassigned users. Repeating the same split has no effect.
    ///
    /// # Errors
    /// The previous split remains in force.
    fn apply(&mut self, split: Split) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Maps the generation that a proxy reports to the rollout's own: one configuration may carry
    /// several rollouts.
    fn generation_at(&self, running: Generation) -> Generation;

    /// The proxies that rejected the last split, with their reasons; `None` if proxies report
    /// none.
    fn rejection_reason(&self) -> Option<String> {
        None
    }
}

/// The source of evidence.
pub trait Source: Send {
    /// Polls the fleet. Cancellation loses no counts.
    fn observe(&mut self) -> impl Future<Output = Observation> + Send;
}

/// Persists a rollout and receives its events.
pub trait Journal: Send {
    /// Why a state could not be persisted.
    type Error: Error + Send;

    /// Persists the state and its outputs before the engine executes them.
    ///
    /// # Errors
    /// The write failed. The engine executes nothing, except during a rollback.
    fn commit(
        &mut self,
        at: Duration,
        rollout: &Rollout,
        outputs: &[Output],
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
    /// Receives an event, `at` this time since the rollout started.
    fn event(&mut self, at: Duration, event: &Event);
    /// Receives a ruling of the judge on a block.
    fn ruling(&mut self, ruling: &Ruling);
    /// Receives a poll's delay, and its duration including persistence and effects.
    fn on_poll(&mut self, late: Duration, took: Duration) {
        let _ = (late, took);
    }
}

/// Reads the values of one metric.
pub trait MetricProvider: Send + Sync {
    /// Reads the metric's present value for `version`. `variables` fill the query's template.
    ///
    /// # Errors
    /// The provider gives no value, several values, or a value that is not a finite number.
    fn value(
        &self,
        variables: TemplateVariables<'_>,
        version: &VersionName,
    ) -> impl Future<Output = Result<f64, MetricError>> + Send;
}
