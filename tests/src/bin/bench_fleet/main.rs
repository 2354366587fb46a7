//! `make bench-fleet`: the controller's cost for a fleet, by the size of the fleet.
//!
//! A real `serin serve` polls simulated proxies and pushes to them, over real sockets. The
//! simulator is a separate process, so that its CPU time is not counted. It shows the statistics
//! of a real Envoy, under other names and with rising counters.

mod capture;
mod control;
mod fleet;
mod measure;
mod proxies;
mod proxy;
mod shape;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::ctrl_c;
use tokio::signal::unix::{SignalKind, signal};

use crate::shape::Shape;

/// Measures the cost of fleets for `serin serve`.
///
/// For each number of proxies: starts a server, a simulator of this many proxies, and a rollout
/// for every second proxy, at most 1,000. Each rollout has its own group of proxies, pushes to it,
/// and polls it every second. Then all proxies form one group, with one rollout that pushes to all
/// of them.
///
/// CPU is the kernel's CPU time of the server, in cores. The lateness of a poll is the delay of
/// its start; its duration ends when its result is stored and applied. The server itself reports
/// both (/metrics). A push lasts from the command to advance until the last proxy has acknowledged
/// the new configuration. Figures are medians, with the quartiles in parentheses.
///
/// Everything stays on loopback. Run it on an idle machine; with the defaults it takes about four
/// minutes.
#[derive(Parser)]
#[command(name = "bench-fleet")]
struct Arguments {
    #[command(subcommand)]
    task: Option<Task>,
    /// Numbers of proxies
    #[arg(long, value_delimiter = ',', default_value = "10,100,500,2000",
        value_parser = clap::value_parser!(u32).range(2..=4_000))]
    proxies: Vec<u32>,
    /// Maximum number of rollouts; a smaller fleet has one for every second proxy
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    rollouts: u32,
    /// Seconds of measurement
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(5..=600))]
    seconds: u32,
    /// Number of pushes to time
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=50))]
    pushes: u32,
}

#[derive(Subcommand)]
enum Task {
    /// Simulates the proxies, in a separate process
    #[command(hide = true)]
    Proxies {
        #[command(flatten)]
        shape: Shape,
        /// The file with the statistics of a real Envoy
        #[arg(long)]
        statistics: PathBuf,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    allow_many_files();
    let mut terminate = signal(SignalKind::terminate()).expect("a signal handler");
    // All processes end with this one.
    tokio::select! {
        () = run(arguments) => ExitCode::SUCCESS,
        _ = ctrl_c() => ExitCode::FAILURE,
        _ = terminate.recv() => ExitCode::FAILURE,
    }
}

async fn run(arguments: Arguments) {
    if let Some(Task::Proxies { shape, statistics }) = arguments.task {
        return proxies::simulate(shape, &statistics).await;
    }
    let statistics = capture::statistics().await;
    let time = Duration::from_secs(arguments.seconds.into());
    let mut rows = Vec::new();
    for proxies in arguments.proxies {
        let rollouts = (proxies / 2).min(arguments.rollouts);
        let many = Shape::new(proxies, rollouts);
        let many = measure::measure(many, &statistics, time, arguments.pushes).await;
        let one = Shape::new(proxies, 1);
        let one = measure::measure(one, &statistics, Duration::ZERO, arguments.pushes).await;
        rows.push(table::Row { many, one });
    }
    print!("{}", table::table(&rows));
}

/// Each proxy needs several connections; the server inherits the limit.
fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    let limit = Rlimit { current: limit.maximum, ..limit };
    setrlimit(Resource::Nofile, limit).expect("a soft limit can be raised to the hard one");
}
