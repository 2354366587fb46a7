//! The figures of the judge: how fast it detects, how often it is wrong, beside the rules of others. `make bench-judge` prints them.
//!
//! Arguments choose tables by name; `--runs N` sets the number of runs a cell (default: as in the README).

#![allow(clippy::expect_used, clippy::panic)] // a benchmark may stop where something is not as it should be

mod detection;
mod false_alarms;
mod latency;
mod peers;
mod speed;

use std::time::Instant;

/// A table, by name, with its usual number of runs a cell.
type Table = (&'static str, fn(u32), u32);

const TABLES: [Table; 5] = [
    ("speed", speed::table, 10_000),
    ("detection", detection::table, 10_000),
    ("latency", latency::table, 2_000),
    ("false-alarms", false_alarms::table, 2_000),
    ("peers", peers::table, 1_000),
];

fn main() {
    let mut runs = None;
    let mut wanted = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--runs" => runs = arguments.next().and_then(|runs| runs.parse().ok()),
            // What cargo adds.
            "--bench" => {}
            name => wanted.push(name.to_owned()),
        }
    }
    let known = |name: &String| TABLES.iter().any(|(table, ..)| table == name);
    if let Some(unknown) = wanted.iter().find(|name| !known(name)) {
        let names = TABLES.map(|(name, ..)| name).join(", ");
        panic!("{unknown} is none of {names}");
    }
    for (name, table, usual) in TABLES {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            let began = Instant::now();
            table(runs.unwrap_or(usual));
            println!("({name}: {:.0} s)\n", began.elapsed().as_secs_f64());
        }
    }
}

/// Mean and half the width of its 95 % interval.
fn mean(of: &[f64]) -> (f64, f64) {
    let n = of.len() as f64;
    let mean = of.iter().sum::<f64>() / n;
    let variance = of.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    (mean, 1.96 * (variance / n).sqrt())
}
