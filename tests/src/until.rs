//! Polls a condition instead of sleeping: as fast as the machine allows, and a failure reports the
//! missing condition.

use std::fmt::Debug;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

const PAUSE: Duration = Duration::from_millis(20);

/// Repeats `probe` until it returns `Ok`, and returns that value.
///
/// `Err` carries the observed state for the failure message. A probe that hangs fails at the
/// deadline too.
///
/// # Panics
/// At the deadline, with the name of the condition and the last observed state.
pub async fn until<T, S: Debug>(
    deadline: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> Result<T, S>,
) -> T {
    let end = Instant::now() + deadline;
    let mut last = None;
    while let Ok(answer) = timeout_at(end, probe()).await {
        match answer {
            Ok(value) => return value,
            Err(state) => last = Some(state),
        }
        if Instant::now() + PAUSE > end {
            break;
        }
        sleep(PAUSE).await;
    }
    match last {
        Some(state) => panic!("not within {deadline:?}: {what}; last state: {state:?}"),
        None => panic!("not within {deadline:?}: {what}; the probe never answered"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn returns_the_first_success() {
        let mut asked = 0;
        let value = until(Duration::from_secs(1), "the third probe succeeds", async || {
            asked += 1;
            if asked == 3 { Ok("here") } else { Err(asked) }
        })
        .await;
        assert_eq!((value, asked), ("here", 3));
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "not within 1s: the condition never holds; last state: \"grey\"")]
    async fn names_the_condition_and_the_last_state() {
        until(Duration::from_secs(1), "the condition never holds", async || Err::<(), _>("grey"))
            .await;
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "the probe never answered")]
    async fn a_probe_that_hangs_does_not_hang_the_test() {
        until(Duration::from_secs(1), "anything", async || {
            std::future::pending::<Result<(), ()>>().await
        })
        .await;
    }
}
