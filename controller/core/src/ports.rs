//! What the engine needs of the world, as traits: each has an implementation for plain Envoy and one for a cluster.

use std::time::Duration;

use serin_filter::names::{Generation, VersionName};

use crate::judge::Ruling;
use crate::observation::Observation;
use crate::rollout::event::Event;
use crate::rollout::machine::{Output, Rollout};
use crate::rollout::metric::{MetricError, TemplateVariables};
use crate::split::Split;

/// What puts splits in force.
pub trait Router: Send {
    /// Puts a split in force, with the least movement of users. To apply the same split again changes nothing.
    ///
    /// # Errors
    /// Why it could not, in words for the user. The split before is still in force.
    fn apply(&mut self, split: Split) -> impl Future<Output = Result<(), String>> + Send;

    /// The rollout's generation that a proxy carries which says that it runs this one: what is given to proxies may carry several rollouts.
    fn generation_at(&self, running: Generation) -> Generation;

    /// Who refuses what was asked, and why; `None` where proxies do not tell.
    fn rejection_reason(&self) -> Option<String> {
        None
    }
}

/// Where evidence comes from.
pub trait Source: Send {
    /// Looks now. To drop the future before it ends loses nothing.
    fn observe(&mut self) -> impl Future<Output = Observation> + Send;
}

/// Who wants to know what happens, and keeps it.
pub trait Journal: Send {
    /// Keeps the state and what came of it, before it is acted on.
    ///
    /// # Errors
    /// It can't be kept. Then nothing is done, unless traffic goes back.
    fn commit(
        &mut self,
        at: Duration,
        rollout: &Rollout,
        outputs: &[Output],
    ) -> impl Future<Output = Result<(), String>> + Send;
    /// Something happened, `at` this time since the rollout began.
    fn event(&mut self, at: Duration, event: &Event);
    /// The judge has ruled on a block.
    fn ruling(&mut self, ruling: &Ruling);
    /// A look began so much later than it was due, and took so long until what came of it was kept and done.
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
