//! `make bench-filter`: what the filter costs a real Envoy with one worker, and what the alternatives cost. `make soak`: whether it
//! goes on like that.
//!
//! The figure that counts is the CPU time of the Envoy process for a request: unlike latency and throughput it does not depend on what else
//! the machine does, or who sends the load. All Envoys run all the time; the load visits one after the other, in another order each
//! time, so that a change of the machine's mood meets all of them.

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

/// Measures what serin's filter costs in a real Envoy.
///
/// Starts an Envoy with one worker for each of: no filter, an empty SDK filter, a Lua filter that only chooses, serin as it is shipped
/// (20 services) in filter mode with the candidate at 0, 10 and 50 % and in mesh mode. Load visits them in turn. CPU is that of the
/// Envoy process by the kernel's accounts; "added" is the difference to no filter within the same round. Figures are
/// medians over the rounds, with the quartiles in parentheses; many short rounds are steadier than a few long ones.
///
/// Everything stays on 127.0.0.1. Run it on a machine that has nothing else to do; with the defaults it takes about three minutes.
#[derive(Parser)]
#[command(name = "bench-filter")]
struct Arguments {
    #[command(subcommand)]
    task: Option<Task>,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t = Output::Table, global = true)]
    output: Output,
    /// Rounds of visits to all Envoys
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Milliseconds of a visit, once for CPU and once for latency
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(100..=10_000))]
    visit: u64,
    /// Load while CPU is measured, in requests a second; 0, the steadiest by far: as much as it takes
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=20_000))]
    cpu_rate: u32,
    /// Load while latency is measured, in requests a second, on a schedule
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(100..=20_000))]
    rate: u32,
    /// Another build of the module, by its name in target/, to be measured beside the shipped one; can be given several times
    #[arg(long = "other", value_name = "MODULE")]
    others: Vec<String>,
    /// Changes of the weights that are timed
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    updates: u32,
}

#[derive(Subcommand)]
enum Task {
    /// A new generation every second, for long: no request may fail, no count be lost, and memory must not grow
    Soak {
        /// How long
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=120))]
        minutes: u32,
        /// Requests a second
        #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(100..=5_000))]
        rate: u32,
    },
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut terminate = signal(SignalKind::terminate()).expect("a signal handler");
    // Either way all Envoys end with what started them.
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
