//! The time from the rename of a configuration file to its use in every worker, under load.
//!
//! The weights alternate between all users and no user. The version that responds shows the
//! configuration, so the old one is in use until its last response.

use std::time::{Duration, Instant};

use serin_tests::figures::Measurements;
use serin_tests::until;

use crate::backend::Backend;
use crate::load::{Callers, Clients, Pace, Sample};
use crate::subject::{Subject, configuration};

const RATE: u32 = 2_000;
const PERIOD: Duration = Duration::from_millis(300);
const EVERYBODY_PPM: u32 = 1_000_000;

/// Milliseconds until each of these changes is live.
pub(crate) async fn run(changes: u32) -> Measurements {
    eprintln!("{changes} changes of the weights, two workers");
    let (v1, v2) = (Backend::start("v1").await, Backend::start("v2").await);
    let envoy = Subject::Filter(0).start([&v1, &v2], 2).await;
    let mut clients = Clients::connect(envoy.listener()).await;
    until(Duration::from_secs(20), "v1 serves all users", async || {
        let time = Duration::from_millis(200);
        let samples = clients.send(Pace::Rate(RATE), Callers::OneService, time).await;
        let others = samples.iter().filter(|sample| sample.version != Some(*b"v1")).count();
        if others == 0 { Ok(()) } else { Err(others) }
    })
    .await;

    let mut changed = Vec::new();
    let load = clients.send(Pace::Rate(RATE), Callers::OneService, PERIOD * (changes + 1));
    let change = async {
        for number in 1..=changes {
            tokio::time::sleep(PERIOD).await;
            let to_v2 = number % 2 == 1;
            let candidate = if to_v2 { EVERYBODY_PPM } else { 0 };
            let next = configuration(u64::from(number) + 1, Some(candidate));
            changed.push((Instant::now(), if to_v2 { *b"v1" } else { *b"v2" }));
            envoy.give(&next);
        }
    };
    let (samples, ()) = tokio::join!(load, change);
    assert!(samples.iter().all(|sample| sample.version.is_some()), "a request failed");
    Measurements::new(changed.iter().map(|(at, old)| live(*at, *old, &samples)).collect())
}

/// Milliseconds from a change to the end of the last request that the previous version served.
fn live(at: Instant, old: [u8; 2], samples: &[Sample]) -> f64 {
    let since = samples.iter().filter(|s| s.start >= at && s.start < at + PERIOD);
    let last = since.filter(|s| s.version == Some(old)).map(Sample::end).max();
    last.map_or(0.0, |last| last.duration_since(at).as_secs_f64() * 1e3)
}

pub(crate) fn line(live: &Measurements) -> String {
    format!(
        "New weights live in both workers, from the file's move: median {:.1} ms, worst {:.1} ms\n",
        live.median(),
        live.worst()
    )
}
