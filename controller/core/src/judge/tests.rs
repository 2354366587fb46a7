use super::*;

fn arm(requests: u64, failures: u64, slower: &[u64]) -> Arm {
    Arm { requests, failures, slower: slower.to_vec() }
}

fn errors_only() -> Settings {
    Settings { latency: None, ..Settings::default() }
}

fn block(baseline: Arm, candidate: Arm) -> Block {
    Block { baseline, candidate }
}

fn run(settings: Settings, seconds: u32, block: &Block) -> Option<Ruling> {
    let mut judge = Judge::new(settings);
    (1..=seconds)
        .filter_map(|second| judge.observe(second.into(), block))
        .find(|ruling| ruling.verdict != Verdict::Undecided)
}

#[test]
fn a_candidate_that_always_fails_takes_two_blocks() {
    let block = block(arm(900, 1, &[]), arm(100, 100, &[]));
    let ruling = run(errors_only(), 10, &block).unwrap();
    assert_eq!((ruling.number, ruling.verdict), (2, Verdict::Harm(Cause::Worse(Sli::Errors))));
    let uncapped = run(Settings { cap: false, ..errors_only() }, 10, &block).unwrap();
    assert_eq!(uncapped.number, 1);
}

#[test]
fn the_cap_is_on_the_sum_of_all_evidence() {
    let settings = Settings { boundaries_ms: vec![100.0, 200.0], ..Settings::default() };
    let mut judge = Judge::new(settings.clone());
    let block = block(arm(900, 1, &[9, 0]), arm(100, 100, &[100, 100]));
    let mut before = 0.0;
    for second in 1..5 {
        let ruling = judge.observe(second.into(), &block).unwrap();
        let gain = ruling.ln_e - before;
        assert!((gain - settings.limit() / 2.0).abs() < 1e-9, "{gain}");
        before = ruling.ln_e;
    }
}

#[test]
fn the_same_failures_on_both_sides_are_no_evidence() {
    let incident = block(arm(900, 450, &[]), arm(100, 50, &[]));
    assert_eq!(run(errors_only(), 600, &incident), None);
}

#[test]
fn a_slower_candidate_is_found_by_the_most_informative_boundary() {
    let settings = Settings { boundaries_ms: vec![100.0, 200.0, 400.0], ..Settings::default() };
    let block = block(arm(900, 0, &[90, 2, 0]), arm(100, 0, &[12, 30, 0]));
    let ruling = run(settings, 10, &block).unwrap();
    assert_eq!(ruling.verdict, Verdict::Harm(Cause::Worse(Sli::Latency { boundary: 1 })));
}

#[test]
fn requests_that_time_out_count_as_failed_rather_than_slow() {
    let settings = Settings { boundaries_ms: vec![1_000.0], ..Settings::default() };
    let block = block(arm(150, 0, &[0]), arm(150, 50, &[60]));
    assert_eq!(
        run(settings, 10, &block).unwrap().verdict,
        Verdict::Harm(Cause::Worse(Sli::Errors))
    );
}

#[test]
fn few_requests_are_gathered_into_blocks() {
    let mut judge = Judge::new(errors_only());
    let second = block(arm(99, 0, &[]), arm(1, 0, &[]));
    let numbers: Vec<_> =
        (1..=10).filter_map(|s| judge.observe(s.into(), &second)).map(|r| r.seconds).collect();
    assert_eq!(numbers, [5.0, 10.0]);
}

/// Otherwise the first block would only select the latency boundaries.
#[test]
fn a_known_baseline_is_bet_on_from_the_first_block() {
    let settings = Settings { boundaries_ms: vec![100.0, 200.0], ..Settings::default() };
    let baseline = arm(900, 0, &[9, 0]);
    let slow = block(baseline.clone(), arm(100, 0, &[100, 100]));
    let mut judge = Judge::new(settings);
    let learned = judge.learn(50.0, baseline);
    assert_eq!((learned.number, learned.verdict), (1, Verdict::Undecided));
    assert!(learned.ln_e.abs() < 1e-12, "{}", learned.ln_e);
    assert!(judge.observe(51.0, &slow).unwrap().ln_e_latency.unwrap() > 1.0);
}

/// Slots count only the time with bets.
#[test]
fn learning_passes_no_slot() {
    let [mut late, mut early] = [0, 1].map(|_| Judge::new(errors_only()));
    let block = block(arm(94, 1, &[]), arm(6, 1, &[]));
    late.learn(600.0, arm(1_000, 0, &[]));
    for second in 1..100 {
        let (late, early) =
            (late.observe((600 + second).into(), &block), early.observe(second.into(), &block));
        assert_eq!(late.unwrap().ln_e, early.unwrap().ln_e);
    }
}

/// Pending counts stay together: a slow caller leaves seconds without a request.
#[test]
fn a_replayed_block_without_the_candidate_is_learned_from_unless_counts_are_pending() {
    let mut judge = Judge::new(errors_only());
    let quiet = block(arm(99, 0, &[]), arm(0, 0, &[]));
    assert_eq!(judge.replay(1.0, &quiet, 0.0).unwrap().block, quiet);
    assert_eq!(judge.replay(2.0, &block(arm(99, 0, &[]), arm(4, 0, &[])), 0.0), None);
    assert_eq!(judge.replay(3.0, &quiet, 0.0), None);
    let whole = judge.replay(4.0, &block(arm(99, 0, &[]), arm(1, 0, &[])), 0.0).unwrap();
    assert_eq!((whole.block.baseline.requests, whole.block.candidate.requests), (297, 5));
}

#[test]
fn counts_from_before_a_change_of_the_split_are_not_mixed_with_those_after() {
    let mut judge = Judge::new(errors_only());
    let few = block(arm(99, 0, &[]), arm(4, 0, &[]));
    assert_eq!(judge.observe(1.0, &few), None);
    judge.split_changes(SplitContext::default());
    assert_eq!(judge.observe(2.0, &few), None);
}

#[test]
fn a_stored_judge_resumes_unchanged() {
    let mut judge = Judge::new(Settings {
        boundaries_ms: vec![0.1, 5.0],
        objectives: vec![objective()],
        confidence: Some(0.95),
        ..Settings::default()
    });
    let slice = Slice { share: Some((0.01, 0.5)), ..Slice::default() };
    judge.split_changes(SplitContext { slice, ..SplitContext::default() });
    let block = block(arm(94, 1, &[80, 3]), arm(6, 1, &[6, 0]));
    for second in 1..200 {
        let stored = serde_json::to_string(&judge).unwrap();
        let mut restored: Judge = serde_json::from_str(&stored).unwrap();
        assert_eq!(restored.observe(second.into(), &block), judge.observe(second.into(), &block));
    }
}

fn objective() -> Objective {
    Objective { sli: Sli::Errors, at_most: 0.01 }
}

fn with_objective() -> Judge {
    Judge::new(Settings { objectives: vec![objective()], ..errors_only() })
}

/// Judges this block each second from second `from` on; returns the last verdict.
fn verdict_after(judge: &mut Judge, from: u32, seconds: u32, block: &Block) -> Verdict {
    let rulings = (from..from + seconds).filter_map(|second| judge.observe(second.into(), block));
    rulings.last().unwrap().verdict
}

#[test]
fn an_objective_missed_by_both_versions_is_unhealthy_until_met_again() {
    let mut judge = with_objective();
    let (bad, good) =
        (block(arm(900, 45, &[]), arm(100, 5, &[])), block(arm(900, 1, &[]), arm(100, 0, &[])));
    assert_eq!(verdict_after(&mut judge, 1, 60, &bad), Verdict::Unhealthy(objective()));
    assert_eq!(judge.missed(), Some(objective()));
    assert_eq!(verdict_after(&mut judge, 61, 60, &good), Verdict::Undecided);
    assert_eq!(judge.missed(), None);
}

#[test]
fn an_objective_missed_without_a_baseline_is_harm() {
    let mut judge = with_objective();
    judge.split_changes(SplitContext { single_arm: true, ..SplitContext::default() });
    let good = block(arm(0, 0, &[]), arm(1_000, 2, &[]));
    assert_eq!(verdict_after(&mut judge, 1, 60, &good), Verdict::Undecided);
    let bad = block(arm(0, 0, &[]), arm(1_000, 50, &[]));
    let harm = Verdict::Harm(Cause::Misses(objective()));
    assert_eq!(verdict_after(&mut judge, 61, 10, &bad), harm);
}

#[test]
fn without_a_baseline_and_objectives_nothing_is_shown() {
    let mut judge = Judge::new(errors_only());
    judge.split_changes(SplitContext { single_arm: true, ..SplitContext::default() });
    let failing = block(arm(0, 0, &[]), arm(1_000, 1_000, &[]));
    assert_eq!(verdict_after(&mut judge, 1, 600, &failing), Verdict::Undecided);
    assert!(judge.ln_e() <= 0.0);
}

#[test]
fn non_inferiority_is_shown_for_each_split_and_by_every_sli() {
    let settings =
        Settings { boundaries_ms: vec![100.0], confidence: Some(0.95), ..Settings::default() };
    let mut judge = Judge::new(settings);
    let healthy = block(arm(900, 0, &[18]), arm(100, 0, &[2]));
    assert_eq!(verdict_after(&mut judge, 1, 120, &healthy), Verdict::Safe);
    judge.split_changes(SplitContext::default());
    assert_eq!(verdict_after(&mut judge, 121, 5, &healthy), Verdict::Undecided);
    let slower = block(arm(900, 0, &[18]), arm(100, 0, &[3]));
    assert_eq!(verdict_after(&mut judge, 126, 200, &slower), Verdict::Undecided);
}

#[test]
fn a_known_bias_of_the_slice_is_no_harm_and_hides_none() {
    let biased = block(arm(900, 9, &[]), arm(100, 3, &[]));
    let context = |errors| SplitContext {
        slice: Slice { bias: Bias { errors, latency: Vec::new() }, share: None },
        ..SplitContext::default()
    };
    for (bias, expected) in [(0.0, true), (0.02, false)] {
        let mut judge = Judge::new(errors_only());
        judge.split_changes(context(bias));
        let verdict = verdict_after(&mut judge, 1, 200, &biased);
        assert_eq!(matches!(verdict, Verdict::Harm(_)), expected, "bias {bias}");
    }
    let mut judge = Judge::new(errors_only());
    judge.split_changes(context(0.02));
    let worse = block(arm(900, 9, &[]), arm(100, 12, &[]));
    assert!(matches!(verdict_after(&mut judge, 1, 30, &worse), Verdict::Harm(_)));
}

#[test]
fn a_share_that_contradicts_the_weight_is_noticed() {
    let mut judge = Judge::new(errors_only());
    let slice = Slice { share: Some((0.05, 0.2)), ..Slice::default() };
    judge.split_changes(SplitContext { slice, ..SplitContext::default() });
    verdict_after(&mut judge, 1, 60, &block(arm(92, 0, &[]), arm(8, 0, &[])));
    assert!(!judge.share_mismatch());
    verdict_after(&mut judge, 61, 60, &block(arm(995, 0, &[]), arm(5, 0, &[])));
    assert!(judge.share_mismatch());
}
