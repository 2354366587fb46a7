//! `make bench-filter`: the cost of the filter in a real Envoy with one worker, and of its
//! alternatives. `make soak`: whether the cost stays constant.
//!
//! The main figure is the CPU time of the Envoy process per request: unlike latency and
//! throughput, it does not depend on other work on the machine or on the load generator. All
//! Envoys run all the time; the load visits each in turn, in a random order per round, so that
//! variations of the machine affect all of them.

mod backend;
mod compare;
mod http;
mod load;
mod soak;
mod subject;
mod update;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use tokio::signal::ctrl_c;
use tokio::signal::unix::{SignalKind, signal};

/// Measures the cost of serin's filter in a real Envoy.
///
/// Starts an Envoy with one worker for each of: no filter, an empty SDK filter, a Lua filter that
/// only selects a version, and serin as shipped (20 services) in filter mode with the candidate at
/// 0, 10 and 50 % and in mesh mode. The load visits them in turn. CPU is the kernel's CPU time of
/// the Envoy process; "added" is the difference to no filter in the same round. Figures are
/// medians over the rounds, with the quartiles in parentheses; many short rounds vary less than a
/// few long ones.
///
/// Everything stays on 127.0.0.1. Run it on an idle machine; with the defaults it takes about
/// three minutes.
#[derive(Parser)]
#[command(name = "bench-filter")]
struct Arguments {
    #[command(subcommand)]
    task: Option<Task>,
    /// Output format
    #[arg(long, value_enum, default_value_t = Output::Table, global = true)]
    output: Output,
    /// Number of rounds, each of which visits all Envoys
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Milliseconds of each visit, once for CPU and once for latency
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(100..=10_000))]
    visit: u64,
    /// Load of the CPU measurement, in requests per second; 0, the most stable by far: as many as
    /// Envoy can serve
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=20_000))]
    cpu_rate: u32,
    /// Load of the latency measurement, in requests per second, on a schedule
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(100..=20_000))]
    rate: u32,
    /// Another build of the module, by its name in target/, to measure beside the shipped one;
    /// repeatable
    #[arg(long = "other", value_name = "MODULE")]
    others: Vec<String>,
    /// Number of weight changes to time
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    updates: u32,
}

#[derive(Subcommand)]
enum Task {
    /// Loads a new generation every second, for a long time: no request may fail, no count be
    /// lost, and memory must not grow
    Soak {
        /// Minutes of load
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=120))]
        minutes: u32,
        /// Requests per second
        #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(100..=5_000))]
        rate: u32,
    },
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Output {
    /// A table
    Table,
    /// JSON
    Json,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut terminate = signal(SignalKind::terminate()).expect("a signal handler");
    // All Envoys end with this process.
    tokio::select! {
        code = run(arguments) => code,
        _ = ctrl_c() => ExitCode::FAILURE,
        _ = terminate.recv() => ExitCode::FAILURE,
    }
}

async fn run(arguments: Arguments) -> ExitCode {
    if let Some(Task::Soak { minutes, rate }) = arguments.task {
        let soak = soak::run(minutes, rate).await;
        print(arguments.output, || soak.table(), || soak.json());
        return if soak.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let plan = compare::BenchmarkPlan {
        rounds: arguments.rounds,
        visit: Duration::from_millis(arguments.visit),
        cpu_rate: arguments.cpu_rate,
        rate: arguments.rate,
        others: arguments.others,
    };
    let comparison = compare::run(&plan).await;
    let live = update::run(arguments.updates).await;
    let table = || format!("{}{}", comparison.table(), update::line(&live));
    let json = || {
        let mut json = comparison.json();
        json["updateToLiveMs"] = live.json();
        json
    };
    print(arguments.output, table, json);
    ExitCode::SUCCESS
}

fn print(output: Output, table: impl FnOnce() -> String, json: impl FnOnce() -> serde_json::Value) {
    match output {
        Output::Table => print!("{}", table()),
        Output::Json => println!("{:#}", json()),
    }
}
