//! How many blocks a second the error test takes, and how long simulated rollouts take.

use std::hint::black_box;
use std::time::{Duration, Instant};

use serin_core::judge::{Arm, Block, Judge, Settings};
use serin_simulator::peers::DecisionRule;
use serin_simulator::traffic::Traffic;
use serin_simulator::trial::Trial;

use crate::peers::plan;

const BLOCKS: u64 = 2_000_000;

pub(crate) fn table(runs: u32) {
    println!("Speed");
    for (what, settings, slower) in [
        ("errors", Settings { latency: None, ..Settings::default() }, Vec::new()),
        (
            "errors and latency at 44 boundaries",
            Settings { boundaries_ms: (0..44).map(f64::from).collect(), ..Settings::default() },
            (0..44).map(|boundary| (95_u64 >> (boundary / 3)).min(95)).collect(),
        ),
    ] {
        let mut judge = Judge::new(settings);
        let arm = |requests, failures, slower| Arm { requests, failures, slower };
        let candidate = slower.iter().map(|slow| slow / 19).collect();
        let block = Block { baseline: arm(95, 1, slower), candidate: arm(5, 0, candidate) };
        let began = Instant::now();
        for second in 0..BLOCKS {
            black_box(judge.observe(second as f64, black_box(&block)));
        }
        let rate = BLOCKS as f64 / began.elapsed().as_secs_f64();
        println!("  {what}: {:.2} million blocks a second on one core", rate / 1e6);
    }
    let trial = Trial {
        plan: plan(&[1, 5, 25, 50, 100], Duration::from_secs(360)),
        traffic: Traffic::default(),
        rule: DecisionRule::Serin,
        horizon: Duration::from_secs(7_200),
    };
    let began = Instant::now();
    let outcomes = trial.run(runs, 1, || {});
    let minutes = outcomes.iter().map(|outcome| outcome.seconds / 60.0).sum::<f64>();
    println!(
        "  {runs} rollouts of {:.1} virtual minutes: {:.1} s on {} threads",
        minutes / f64::from(runs),
        began.elapsed().as_secs_f64(),
        rayon::current_num_threads()
    );
}
