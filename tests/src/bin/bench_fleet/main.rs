//! `make bench-fleet`: what fleets cost the controller, and how it grows with them.
//!
//! A real `serin serve` reads simulated proxies and pushes to them, over real sockets. The simulator is a process of its own, so that what it
//! takes is not counted; it shows statistics that a real Envoy had, under other names and with counters that move.

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

/// Measures what fleets cost `serin serve`.
///
/// For each number of proxies: a server, a simulator with so many proxies, and a rollout for every second proxy, 1,000 at the most. Each
/// rollout has a group of proxies of its own, to which it pushes, and looks at them every second. Then all proxies as one group, for one rollout
/// that pushes to all of them.
///
/// CPU is that of the server by the kernel's accounts, in cores. A look is late by how much later than it was due it began; it is done when
/// what came of it was kept and acted on; both are what the server itself says (/metrics). A push takes from the order to advance until the last
/// proxy has acknowledged the new configuration. Figures are medians, with the quartiles in parentheses.
///
/// Everything stays on loopback. Run it on a machine that has nothing else to do; with the defaults it takes about four minutes.
#[derive(Parser)]
#[command(name = "bench-fleet")]
struct Arguments {
    #[command(subcommand)]
    task: Option<Task>,
    /// Numbers of proxies
    #[arg(long, value_delimiter = ',', default_value = "10,100,500,2000",
        value_parser = clap::value_parser!(u32).range(2..=4_000))]
    proxies: Vec<u32>,
    /// Rollouts, at the most; of fewer than twice as many proxies each second one has a rollout
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    rollouts: u32,
    /// Seconds that are measured
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(5..=600))]
    seconds: u32,
    /// Pushes that are timed
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=50))]
    pushes: u32,
}

#[derive(Subcommand)]
enum Task {
    /// What simulates the proxies, as a process of its own
    #[command(hide = true)]
    Proxies {
        #[command(flatten)]
        shape: Shape,
        /// The statistics of a real Envoy
        #[arg(long)]
        statistics: PathBuf,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    allow_many_files();
    let mut terminate = signal(SignalKind::terminate()).expect("a signal handler");
    // Either way all that was started ends with what started it.
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

/// Each proxy takes several connections; the server inherits it.
fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    let limit = Rlimit { current: limit.maximum, ..limit };
    setrlimit(Resource::Nofile, limit).expect("a soft limit can be raised to the hard one");
}
