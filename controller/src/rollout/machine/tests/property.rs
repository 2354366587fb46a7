//! What holds whatever the plan and the world.

use proptest::prelude::*;

use super::*;
use crate::rollout::order::{Order, Verb};
use crate::rollout::plan::{Limit, Overrun};

#[derive(Debug, Clone)]
enum Act {
    Trouble(Vec<Trouble>),
    Restart,
    Interrupt,
    Order(Verb),
    Delay(Duration),
}

fn acts() -> impl Strategy<Value = Vec<(Act, usize)>> {
    let trouble = prop_oneof![
        Just(Trouble::Unreachable),
        Just(Trouble::Unwritable),
        Just(Trouble::NoFilter),
        Just(Trouble::Rejects),
        Just(Trouble::Lags),
        Just(Trouble::Silent),
        (0..2_usize).prop_map(Trouble::Misroutes),
        Just(Trouble::CandidateFails),
        Just(Trouble::BothFail),
        Just(Trouble::BaselineHangs),
    ];
    let act = prop_oneof![
        4 => Just(Act::Trouble(Vec::new())),
        8 => prop::collection::vec(trouble, 1..3).prop_map(Act::Trouble),
        2 => Just(Act::Restart),
        1 => Just(Act::Interrupt),
        4 => prop::sample::select(Verb::ALL.to_vec()).prop_map(Act::Order),
        2 => (0..4_000_u64).prop_map(|ms| Act::Delay(Duration::from_millis(ms))),
    ];
    prop::collection::vec((act, 1..40_usize), 1..12)
}

fn plans() -> impl Strategy<Value = Plan> {
    let step = (0..8_000_u64, 1..200_u64);
    let interval = prop::sample::select(vec![100, 300, 1_000, 2_000]);
    let steps = prop::collection::btree_map(1..1_000_000_u32, step.clone(), 0..4);
    let watch = prop::option::of((0..5_000_u64, 1..2_000_u64));
    let overrun = prop::sample::select(vec![Overrun::Pause, Overrun::RollBack, Overrun::Advance]);
    let limit = prop::option::of((8_000..40_000_u64, overrun));
    let costs = (limit, 0..20_000_u64, prop::option::of(0..5_000_u64));
    (steps, step, interval, watch, costs).prop_map(|(steps, last, interval, watch, costs)| {
        let (limit, window, budget) = costs;
        let limit = limit.map(|(ms, then)| Limit { at_most: Duration::from_millis(ms), then });
        let steps = steps.into_iter().chain([(1_000_000, last)]);
        let steps = steps.map(|(ppm, (bake, requests))| Step {
            weight: Weight::from_ppm(ppm).unwrap(),
            bake: Duration::from_millis(bake),
            requests,
            gate: Gate::Bake,
            slice: None,
            limit,
            approval: ppm % 5 == 0,
        });
        let steps: Vec<_> = steps.collect();
        let watch = watch.filter(|_| steps.len() > 1).map(|(time, requests)| {
            let salts = watching(&[]).watch.map(|watch| watch.salts).unwrap_or_default();
            Watch { time: Duration::from_millis(time), requests, salts, miss: 0.002 }
        });
        let (interval, window) = (Duration::from_millis(interval), Duration::from_millis(window));
        Plan { steps, interval, window, budget, watch, ..plan(&[]) }
    })
}

fn play(plan: &Plan, acts: &[(Act, usize)], killed: bool) -> World {
    let mut world = World::new(plan.clone());
    world.killed = killed;
    for (act, looks) in acts {
        match act {
            Act::Trouble(trouble) => world.trouble.clone_from(trouble),
            Act::Restart => world.proxy.restart(),
            Act::Interrupt => world.input(Input::Interrupt),
            Act::Order(verb) => {
                let before = world.rollout.clone();
                let (by, why) = ("ada".to_owned(), None);
                let order = Order { verb: *verb, by, why, step: None, force: false };
                let refused = world.order(order.clone()).is_err();
                assert!(!refused || world.rollout == before, "refused, but not without trace");
            }
            Act::Delay(delay) => world.proxy.delay = *delay,
        }
        for _ in 0..*looks {
            let (gates, before) = (told!(world, Event::GateOpened { .. }), world.rollout.clone());
            let before_overruns = told!(world, Event::Overrun { .. });
            world.look();
            let overruns = told!(world, Event::Overrun { .. });
            let opened = told!(world, Event::GateOpened { .. }) > gates;
            assert!(!opened || !before.paused, "a paused rollout moves");
            if opened && overruns == before_overruns && !before.promote {
                let bake = before.status().bake;
                assert!(world.sound_at_gate >= bake, "{:?} < {bake:?}", world.sound_at_gate);
            }
        }
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_world_does(plan in plans(), acts in acts()) {
        let world = play(&plan, &acts, false);
        let splits: Vec<Split> = world.applied.iter().map(|(_, split)| *split).collect();
        for pair in splits.windows(2) {
            let what = |split: &Split| (split.candidate, split.users);
            let new = what(&pair[0]) != what(&pair[1]);
            prop_assert!(pair[0].generation < pair[1].generation || !new && pair[0] == pair[1]);
        }
        // Users are watched before anything else, and not again.
        let before = splits.iter().take_while(|split| split.users == Users::Watched).count();
        let (before, splits) = splits.split_at(before);
        prop_assert_eq!(before.is_empty(), plan.watch.is_none());
        prop_assert!(before.iter().all(|split| split.candidate == Weight::ZERO));
        prop_assert!(splits.iter().all(|split| split.users != Users::Watched));
        let mut weights: Vec<_> = splits.iter().map(|split| split.candidate).collect();
        weights.dedup();
        let planned: Vec<_> = plan.steps.iter().map(|step| step.weight).collect();
        let forward = weights.strip_suffix(&[Weight::ZERO]).unwrap_or(&weights);
        // Whoever promotes skips some.
        let mut left = planned.iter();
        prop_assert!(forward.iter().all(|weight| left.any(|other| other == weight)), "{weights:?}");
        let rushed = |event: &Event| matches!(event, Event::Ordered(o) if o.verb == Verb::Promote);
        prop_assert!(planned.starts_with(forward) || world.told.iter().any(rushed));

        let back = told!(world, Event::RollingBack { .. });
        prop_assert_eq!(back, usize::from(forward.len() < weights.len()));
        let ended = world.told.iter().position(|event| matches!(event, Event::Ended(_)));
        prop_assert_eq!(ended.is_some(), world.rollout.ended());
        prop_assert!(ended.is_none_or(|ended| ended + 1 == world.told.len()));

        let killed = play(&plan, &acts, true);
        prop_assert_eq!((killed.told, killed.applied), (world.told, world.applied));
    }
}
