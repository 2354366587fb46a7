//! `make bench-rollback`: how long a fleet of real Envoys serves a failing candidate.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use serin_tests::figures::Measurements;
use serin_tests::xds::XdsFleet;
use serin_tests::{Fault, RolloutProcess, Upstream};
use tokio::time::sleep;

/// Measures the time from a candidate's first failure to its last request.
///
/// Envoys get their configuration from `serin serve` by xDS, half of them over ADS. In each run
/// the candidate serves a small share of the users without errors, and then fails every request.
/// The tripwire is off: only the controller rolls the candidate back. Times are those of the
/// candidate's requests. A split is "confirmed" when every worker of every observed Envoy has
/// reported it; workers report every 100 ms.
///
/// Everything stays on 127.0.0.1. With the defaults the benchmark takes about ten minutes.
#[derive(Parser)]
#[command(name = "bench-rollback")]
struct Arguments {
    /// Number of rollbacks
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    runs: u32,
    /// Number of Envoys
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=50))]
    envoys: u32,
    /// Requests per second over all Envoys
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(10..=5_000))]
    rate: u32,
    /// Share of the users that the candidate serves
    #[arg(long, default_value = "5%")]
    weight: String,
}

/// The results of one run, in milliseconds.
struct Run {
    /// From the first failure to the decision.
    decided: f64,
    /// From the decision to the candidate's last request.
    left: f64,
    /// From the first failure to the last request.
    whole: f64,
    /// From the request for a split (that of the step, and that of the rollback) to the report of
    /// every worker.
    confirmed: Vec<f64>,
    /// Number of failed requests.
    failed: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tokio::select! {
        runs = run(&arguments) => print(&arguments, &runs),
        // All Envoys end with this process.
        _ = tokio::signal::ctrl_c() => return ExitCode::FAILURE,
    }
    ExitCode::SUCCESS
}

async fn run(arguments: &Arguments) -> Vec<Run> {
    let mut fleet = XdsFleet::new(arguments.envoys as usize).await;
    let loads = fleet.load(arguments.rate / arguments.envoys);
    let mut runs = vec![];
    for number in 1..=arguments.runs {
        // A new upstream with empty statistics replaces the previous one.
        let port = fleet.v2.address().port();
        let before = std::mem::replace(&mut fleet.v2, Upstream::start("v2").await);
        before.stop().await;
        fleet.v2 = Upstream::start_on(port, "v2").await;
        let run = once(&fleet, &arguments.weight, number).await;
        eprintln!("run {number} of {}: {:.0} ms, {} failed", arguments.runs, run.whole, run.failed);
        runs.push(run);
    }
    for load in loads {
        load.stop().await;
    }
    runs
}

async fn once(fleet: &XdsFleet, weight: &str, number: u32) -> Run {
    let long = Duration::from_secs(600);
    let spec = fleet.spec().step(weight, long, 10).step("100%", long, 10);
    fleet.server().apply(&spec).await;
    let rollout = fleet.server().follow("shop");
    fleet.until_live(1).await;
    // The fault starts at a random time between two polls.
    sleep(Duration::from_millis(2_000 + u64::from(number) * 37 % 500)).await;
    fleet.v2.set_faults([Fault::errors(1.0)]);
    let (decided, _) = rollout.until("a rollback", |event| event["event"] == "rollingBack").await;
    let confirmed = confirmed(rollout).await;
    let account = fleet.v2.stats();
    let first = account.first_fault.expect("the candidate has failed");
    let last = account.last_request.expect("the candidate had requests");
    let ms = |span: Duration| span.as_secs_f64() * 1_000.0;
    Run {
        decided: ms(decided.saturating_duration_since(first)),
        left: ms(last.saturating_duration_since(decided)),
        whole: ms(last.saturating_duration_since(first)),
        confirmed,
        failed: account.faults,
    }
}

async fn confirmed(rollout: RolloutProcess) -> Vec<f64> {
    let ended = rollout.end().await;
    assert_eq!(ended.code, Some(3), "{:?}", ended.events.last());
    let after = |(_, event): &(_, serde_json::Value)| event["after"].as_f64();
    ended.all("live").filter_map(after).map(|seconds| seconds * 1_000.0).collect()
}

fn print(arguments: &Arguments, runs: &[Run]) {
    let Arguments { envoys, rate, weight, .. } = arguments;
    let of = |figure: &dyn Fn(&Run) -> f64| Measurements::new(runs.iter().map(figure).collect());
    let line = |what: &str, figures: &Measurements| {
        let [p95, worst] = [0.95, 1.0].map(|share| figures.quantile(share));
        println!("{what:<48} {:>22} {p95:>8.0} {worst:>8.0}", figures.show(0));
    };
    println!(
        "{} runs, {envoys} Envoys, {rate} requests a second, {weight} at the candidate; ms",
        runs.len()
    );
    println!("{:<48} {:>22} {:>8} {:>8}", "", "median (quartiles)", "p95", "worst");
    line("first failure to last request of the candidate", &of(&|run| run.whole));
    line("  first failure to decision", &of(&|run| run.decided));
    line("  decision to last request of the candidate", &of(&|run| run.left));
    let confirmed = runs.iter().flat_map(|run| run.confirmed.iter().copied()).collect();
    line("a split asked for to confirmed by all workers", &Measurements::new(confirmed));
    println!("requests that failed: {}", of(&|run| run.failed as f64).show(0));
}
