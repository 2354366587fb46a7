//! `make demo`: a rollout on a real Envoy, under load.
//!
//! The demo starts two versions of a service, the shipped Envoy with the filter in front of them
//! and 400 requests per second, and runs `serin run` from v1 to v2. With a fault, v2 fails while
//! it serves a quarter of the users. At the end the demo prints the results of all requests, as
//! their callers saw them. All processes end with the demo.

use std::convert::Infallible;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use clap::{Parser, ValueEnum};
use serin_tests::rollout::serin;
use serin_tests::{Envoy, Fault, Load, LoadPlan, Report, Setup, Spec, Upstream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

const RATE: u32 = 400;
const USERS: u32 = 2_000;
const BAKE: Duration = Duration::from_secs(10);
const STEPS: [(&str, u32); 5] = [("1%", 20), ("5%", 50), ("25%", 100), ("50%", 100), ("100%", 100)];

/// The step (from 1) in which the fault of v2 starts, and the time from the step's start.
const FAULTY_STEP: usize = 3;
const FAULTY_AFTER: Duration = Duration::from_secs(4);

/// A rollout on a real Envoy, under load.
#[derive(Parser)]
struct Demo {
    /// The fault of v2, which starts half-way
    #[arg(long, value_enum, default_value_t = DemoFault::None)]
    fault: DemoFault,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum DemoFault {
    /// No fault: serin promotes v2
    None,
    /// One in ten responses is a 500
    Errors,
    /// Responses take 150 ms longer, one in ten another 600 ms
    Slow,
    /// One in ten connections is reset
    Reset,
}

impl DemoFault {
    fn faults(self) -> Vec<Fault> {
        match self {
            Self::None => vec![],
            Self::Errors => vec![Fault::errors(0.1)],
            Self::Slow => vec![
                Fault::delay(1.0, Duration::from_millis(150)),
                Fault::delay(0.1, Duration::from_millis(600)),
            ],
            Self::Reset => vec![Fault::resets(0.1)],
        }
    }

    fn exit_code(self) -> i32 {
        if self == Self::None { 0 } else { 3 }
    }

    fn word(self) -> String {
        self.to_possible_value().expect("no variant is hidden").get_name().to_owned()
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let trouble = Demo::parse().fault;
    let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
    let envoy = Envoy::start(&Setup::new(v1.address(), v2.address())).await;
    let load =
        Load::start(LoadPlan { users: Some(USERS), ..LoadPlan::new(envoy.listener(), RATE) });
    println!("Envoy {} -> v1 {}, v2 {}", envoy.listener(), v1.address(), v2.address());
    println!("{RATE} requests a second from {USERS} users; fault: {}", trouble.word());

    let spec = STEPS
        .iter()
        .fold(Spec::new(&envoy), |spec, (weight, requests)| spec.step(weight, BAKE, *requests));
    let path = envoy.dir().join("rollout.yaml");
    std::fs::write(&path, spec.yaml()).expect("a specification");
    println!("$ serin run rollout.yaml\n");
    let mut command = serin();
    let mut serin =
        command.arg("run").arg(path).stdin(Stdio::null()).spawn().expect("serin starts");
    let status = tokio::select! {
        status = serin.wait() => status.expect("a child can be waited for"),
        never = go_bad(&envoy, &v2, trouble) => match never {},
        () = terminated() => return ExitCode::FAILURE,
    };
    let report = load.stop().await;
    let lost = settle(&report, &v1, &v2);
    println!("\nserin ended with exit code {}", status.code().unwrap_or(-1));
    let expected = status.code() == Some(trouble.exit_code());
    if expected && !lost { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Starts the fault of v2 half-way.
async fn go_bad(envoy: &Envoy, v2: &Upstream, trouble: DemoFault) -> Infallible {
    let (weight, _) = STEPS[FAULTY_STEP - 1];
    let percent: u32 = weight.trim_end_matches('%').parse().expect("a whole percentage");
    while envoy.weight_of_v2() < percent * 10_000 {
        sleep(Duration::from_millis(100)).await;
    }
    sleep(FAULTY_AFTER).await;
    v2.set_faults(trouble.faults());
    std::future::pending().await
}

/// Sends SIGTERM. Ctrl-C reaches serin as well, which ends the rollout and the demo.
async fn terminated() {
    let mut interrupt = signal(SignalKind::interrupt()).expect("a signal handler");
    let mut terminate = signal(SignalKind::terminate()).expect("a signal handler");
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => return,
        }
    }
}

/// Prints the callers' results. Returns whether a request failed that hit no fault.
fn settle(report: &Report, v1: &Upstream, v2: &Upstream) -> bool {
    let total = report.total();
    println!("\nWhat the callers saw of {} requests:", total.requests);
    for (version, tally) in report.tallies() {
        let from = version.unwrap_or("Envoy itself");
        println!("  {:>6} answered by {from}, {} of them failures", tally.requests, tally.failures);
    }
    let account = v2.stats();
    if let (Some(first), Some(last)) = (account.first_fault, account.last_request) {
        let exposed = last.saturating_duration_since(first).as_secs_f64();
        println!("  {exposed:.2} s from v2's first fault to the last request that met v2");
    }
    let healthy = report.tally(Some("v1"));
    // Only v2 has faults: all other requests must succeed.
    let innocent = (total.failures as u64).saturating_sub(account.faults) + healthy.failures as u64;
    let unanswered = v1.stats().requests.abs_diff(healthy.requests as u64);
    println!("  {} requests failed that met no fault", innocent + unanswered);
    innocent + unanswered > 0
}
