use super::*;

const MARGIN: Margin = Margin { relative: 1.2, absolute: 0.001 };

/// One block: n_b, k_b, n_c, k_c.
type Counts = (u32, u32, u32, u32);

fn add(test: &mut CoinFlip, direction: Direction, margin: Margin, (n_b, k_b, n_c, k_c): Counts) {
    let Some(odds) = Odds::new(direction, margin.relative, n_b.into(), n_c.into()) else { return };
    let bad = BadCounts { baseline: k_b.into(), candidate: k_c.into() };
    test.add(&odds, bad, margin.absolute, 1.0);
}

const WORKED: [Counts; 5] =
    [(950, 1, 50, 0), (940, 0, 60, 2), (955, 2, 45, 1), (0, 0, 3, 1), (950, 0, 50, 4)];

fn assert_vector(seen: &[f64], expected: &[f64]) {
    assert_eq!(seen.len(), expected.len());
    for (seen, expected) in seen.iter().zip(expected) {
        assert!((seen - expected).abs() < 1e-9, "{seen} is not {expected}");
    }
}

#[test]
fn worked_example() {
    let mut test = CoinFlip::restarting(30);
    let mut seen = Vec::new();
    for (index, block) in WORKED.into_iter().enumerate() {
        if index == 2 {
            test.wealth.pass_slot();
        }
        add(&mut test, Direction::Harm, MARGIN, block);
        seen.push(test.ln_e());
    }
    assert_vector(
        &seen,
        &[-0.272444026101, 1.430205908665, 1.943863757074, 1.943863757074, 9.637331232538],
    );
}

/// Values computed independently, in Python, from the formula.
#[test]
fn golden_vectors_of_both_directions() {
    for (direction, expected) in [
        (
            Direction::Harm,
            [-0.648112428637, 1.995940281802, 2.561513042196, 2.561513042196, 10.327477809819],
        ),
        (
            Direction::Safe,
            [0.065020961145, -1.269309413790, -1.585181829912, -1.585181829912, -2.492259211134],
        ),
    ] {
        let mut test = CoinFlip::fully_invested();
        let seen = WORKED.map(|block| {
            add(&mut test, direction, MARGIN, block);
            test.ln_e()
        });
        assert_vector(&seen, &expected);
    }
}

/// P(k of n are bad), each with probability p.
fn binomial(n: u32, k: u32, p: f64) -> f64 {
    let ways = (0..k).fold(1.0, |ways, i| ways * f64::from(n - i) / f64::from(i + 1));
    ways * p.powi(k as i32) * (1.0 - p).powi((n - k) as i32)
}

/// The property behind the guarantee, by enumeration of all outcomes of two blocks on the boundary
/// of the null, with another split and another rate of the baseline in each.
#[test]
fn expectation_never_exceeds_one_on_the_boundary() {
    let splits = [(12, 3, 0.1), (5, 5, 0.4), (4, 9, 0.02)];
    let margins =
        [MARGIN, Margin { relative: 1.0, absolute: 0.0 }, Margin { relative: 1.5, absolute: 0.05 }];
    let outcomes = |(n_b, n_c, p_b): (u32, u32, f64), margin: Margin| {
        let p_c = margin.relative * p_b + margin.absolute;
        let all = (0..=n_b).flat_map(move |k_b| (0..=n_c).map(move |k_c| (k_b, k_c)));
        all.map(move |(k_b, k_c)| {
            let chance = binomial(n_b, k_b, p_b) * binomial(n_c, k_c, p_c);
            (chance, (n_b, k_b, n_c, k_c))
        })
        .collect::<Vec<(f64, Counts)>>()
    };
    for direction in [Direction::Harm, Direction::Safe] {
        for margin in margins {
            for (first, second) in [(0, 1), (1, 2), (2, 0)] {
                let mut expectation = 0.0;
                for (first_chance, first) in outcomes(splits[first], margin) {
                    let mut test = CoinFlip::restarting(3);
                    add(&mut test, direction, margin, first);
                    test.wealth.pass_slot();
                    for (second_chance, second) in outcomes(splits[second], margin) {
                        let mut test = test.clone();
                        add(&mut test, direction, margin, second);
                        expectation += first_chance * second_chance * test.ln_e().exp();
                    }
                }
                assert!(expectation <= 1.0 + 1e-12, "{direction:?} {margin:?}: {expectation}");
                assert!(expectation > 0.5, "{direction:?} hardly bets: {expectation}");
            }
        }
    }
}

/// Beyond the boundary each test gains on average: it tests the right hypothesis.
#[test]
fn beyond_the_boundary_each_direction_gains() {
    let expected = |direction, p_c: f64| {
        let odds = Odds::new(direction, 1.2, 9_500.0, 500.0).unwrap();
        let mut test = CoinFlip::fully_invested();
        test.add(&odds, BadCounts { baseline: 95.0, candidate: 500.0 * p_c }, 0.005, 1.0);
        test.ln_e()
    };
    assert!(expected(Direction::Harm, 0.1) > 5.0);
    assert!(expected(Direction::Safe, 0.1) < 0.0);
    assert!(expected(Direction::Harm, 0.0) < 0.0);
    assert!(expected(Direction::Safe, 0.0) > 3.0);
}

#[test]
fn bursts_weaken_the_evidence_as_much_as_they_add_variance() {
    let odds = Odds::new(Direction::Harm, 1.0, 100.0, 100.0).unwrap();
    let gain = |dispersion| {
        let mut test = CoinFlip::fully_invested();
        test.add(&odds, BadCounts { baseline: 0.0, candidate: 40.0 }, 0.0, dispersion);
        test.ln_e()
    };
    let (plain, dispersed) = (gain(1.0), gain(4.0));
    assert!(dispersed > 0.0 && dispersed < plain / 2.0, "{plain} {dispersed}");
}
