//! The A/A test before the first step.

use super::*;

#[test]
fn the_test_runs_first_and_its_best_salt_assigns_users() {
    let mut world = World::new(with_aa_test(&[10, 50, 100]));
    world.until("a step", |world| world.rollout.status().step.is_some());
    assert!(world.now >= 20 * SECOND && world.now < 23 * SECOND, "{:?}", world.now);
    assert_eq!(world.rulings, [], "no arm was judged");
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
    let splits: Vec<_> =
        world.applied.iter().map(|(_, split)| (split.candidate.ppm(), split.assignment)).collect();
    let chosen = UserAssignment::TestedSalt(BALANCED as usize);
    let expected =
        [(0, UserAssignment::AaTest), (100_000, chosen), (500_000, chosen), (1_000_000, chosen)];
    assert_eq!(splits, expected);
    let chosen_salt = world.events.iter().find_map(|event| match event {
        Event::SaltChosen { salt, bias } => Some((salt.as_str(), bias.clone())),
        _ => None,
    });
    let Some(("shop/2", bias)) = chosen_salt else { panic!("{chosen_salt:?}") };
    assert!(bias.len() == 2 && bias.iter().all(|bias| *bias > 0.0 && *bias < 0.02), "{bias:?}");
    let allowed = |step: usize| world.rollout.split_context(step).slice.bias.errors;
    assert_eq!([allowed(0), allowed(1), allowed(2)], [bias[0], bias[1], 0.0]);
    assert_eq!(world.rollout.status().caveat, None);
}

#[test]
fn the_test_lasts_until_time_and_requests_suffice() {
    let mut world = World::new(with_aa_test(&[10, 100]));
    world.proxy.rate = 100.0;
    world.until("a step", |world| world.rollout.status().step.is_some());
    assert!(world.now >= 50 * SECOND, "5000 requests at 100 a second");

    let mut world = World::new(with_aa_test(&[10, 100]));
    world.run(5.0);
    world.trouble = vec![TestFault::Silent];
    world.run(60.0);
    assert_eq!(world.weights(), [0.0], "time without observations does not count");
    world.trouble.clear();
    let now = world.now;
    world.until("a step", |world| world.rollout.status().step.is_some());
    assert!(world.now - now > 10 * SECOND);
}

#[test]
fn a_test_without_sampled_users_blocks_the_rollout() {
    let mut world = World::new(with_aa_test(&[10, 100]));
    world.proxy.rate = 0.0;
    world.run(60.0);
    assert!(matches!(world.obstacle(), Some(Blocker::NoUsersSampled { .. })));
    world.proxy.rate = 1_000.0;
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Promoted);
}

#[test]
fn an_interrupt_ends_the_test() {
    let mut world = World::new(with_aa_test(&[10, 100]));
    world.run(5.0);
    world.input(Input::Interrupt);
    assert_eq!(world.until_ended().verdict, RolloutVerdict::Interrupted);
    let last = world.applied.last().map(|(_, split)| (split.candidate, split.assignment));
    assert_eq!(last, Some((Weight::ZERO, UserAssignment::ServiceSalt)));
}

#[test]
fn the_caveat_is_reported() {
    let mut world = World::new(Plan { sticky: true, ..plan(&[10, 100]) });
    world.until_live(1);
    assert!(world.rollout.status().caveat.unwrap().contains("users were not watched"));
}
