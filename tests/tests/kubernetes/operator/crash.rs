//! The operator killed right before and right after every write of a rollout's status: the next
//! operator ends the rollout as without the kill.

use std::time::Duration;

use serde_json::{Value, json};
use serin_tests::Fault;
use serin_tests::kube::relay::{HeldWrite, HoldPoint};

use super::objects::by_weights;
use super::world::{ROLLOUT, World, kill, phase, wall, weights_in};

/// Of each step.
const BAKE: Duration = Duration::from_secs(1);

/// An undisturbed rollout.
struct Course {
    phase: &'static str,
    verdict: &'static str,
    steps: &'static [&'static str],
    /// The weights written into the routes, in order.
    weights: &'static [[u64; 2]],
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_candidate_is_promoted_despite_kills_at_every_write() {
    let Some((world, routes)) = World::weighted().await else { return };
    let course = Course {
        phase: "Stable",
        verdict: "Promoted",
        steps: &["1/2", "2/2"],
        weights: &[[80, 20], [0, 100]],
    };
    killed_at_every_write(&world, &routes, &course).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_candidate_is_rolled_back_despite_kills_at_every_write() {
    let Some((world, routes)) = World::weighted().await else { return };
    world.bookinfo.version("v2").set_faults([Fault::errors(0.5)]);
    let course = Course {
        phase: "RolledBack",
        verdict: "RolledBack",
        steps: &["1/2"],
        weights: &[[80, 20], [100, 0]],
    };
    killed_at_every_write(&world, &routes, &course).await;
}

/// Repeats for each write, until a rollout ends before it reaches that write.
async fn killed_at_every_write(world: &World, routes: &Value, course: &Course) {
    let _load = world.load(150);
    let mut killed = [0, 0];
    for (moment, killed) in [HoldPoint::Before, HoldPoint::After].into_iter().zip(&mut killed) {
        while disturbed(world, routes, course, HeldWrite { write: *killed + 1, moment }).await {
            *killed += 1;
        }
    }
    println!("{}: killed before {} and after {} writes", course.verdict, killed[0], killed[1]);
    // Each step is requested and live, and the rollout ends.
    let least = 2 * course.steps.len() + 1;
    assert!(killed.iter().all(|killed| *killed >= least), "{killed:?}");
}

/// One rollout, whose operator is killed at this write. Returns whether it reached the write.
async fn disturbed(world: &World, routes: &Value, course: &Course, hold: HeldWrite) -> bool {
    let relay = world.relay(Some(hold)).await;
    let first = world.operator_with("first", &relay.login());
    let object = world.server().create(&short()).await;
    tokio::select! {
        () = relay.held() => {}
        _ = world.until(ROLLOUT, "the rollout ends", &object, phase(course.phase)) => {}
    }
    let reached = relay.reached();
    if reached {
        relay.held().await;
    }
    kill(first).await;
    // The lease would expire soon: another test covers the wait for it.
    world.delete(&lease()).await;
    let second = world.operator_with("second", &relay.login());
    let over =
        |object: &Value| phase(course.phase)(object) && object["status"]["checkpoint"].is_null();
    let ended =
        world.until(ROLLOUT, &format!("the rollout ends after {hold:?}"), &object, over).await;
    let weights = world.weights(routes).await;
    course.check(&relay.written(), &ended, weights, hold);
    begin_anew(world, routes, &object).await;
    kill(second).await;
    world.delete(&lease()).await;
    reached
}

impl Course {
    /// The writes of all operators are those of an operator that is not killed.
    fn check(&self, written: &[Value], ended: &Value, weights: [u64; 2], hold: HeldWrite) {
        let status = &ended["status"];
        let history = status["history"].as_array().expect("a history");
        assert_eq!(history.len(), 1, "{hold:?}: {status}");
        assert_eq!(history[0]["verdict"], self.verdict, "{hold:?}: {status}");
        assert_eq!(weights, shares(status), "{hold:?}: {status}");

        let kind = |kind: &'static str| written.iter().filter(move |object| object["kind"] == kind);
        let mut asked: Vec<_> = kind("VirtualService").map(weights_in).collect();
        asked.dedup();
        assert_eq!(asked, self.weights, "{hold:?}");
        let statuses: Vec<_> = kind("ServiceRollout")
            .map(|object| &object["status"])
            .filter(|s| s.is_object())
            .collect();
        let generations = statuses.iter().map(|status| status["generation"].as_u64());
        assert!(generations.is_sorted(), "{hold:?}: {statuses:?}");
        let steps = statuses.iter().filter_map(|status| status["step"].as_str());
        let mut steps: Vec<_> = steps.filter(|step| !step.is_empty()).collect();
        steps.dedup();
        assert_eq!(steps, self.steps, "{hold:?}");
        for pair in self.steps.windows(2) {
            let live = |status: &&&Value| {
                status["step"] == pair[0] && status["conditions"].to_string().contains("StepLive")
            };
            let live = statuses.iter().find(live).expect("each step is live once");
            let next = statuses.iter().find(|status| status["step"] == pair[1]);
            let baked = wall(next.expect("the next step")).duration_since(wall(live));
            assert!(baked.unsigned_abs() >= BAKE, "{hold:?}: {} baked for {baked:#}", pair[0]);
        }
    }
}

/// The requested weights in a status: those of v1 and v2.
fn shares(status: &Value) -> [u64; 2] {
    ["v1", "v2"].map(|version| {
        let share = status["weights"][version].as_str().expect("a weight");
        share.trim_end_matches(['%', ' ']).parse().expect("a percentage")
    })
}

/// The state before the rollout.
async fn begin_anew(world: &World, routes: &Value, object: &Value) {
    world.delete(object).await;
    world.until_gone(object).await;
    world.set_weights(routes, [100, 0]).await;
    world.bookinfo.until_split(0..=0).await;
}

/// A ServiceRollout of two steps, each as short as possible.
fn short() -> Value {
    let mut object = by_weights("v2");
    object["spec"]["strategy"]["trafficShifting"] = json!({
        "bake": { "time": format!("{}s", BAKE.as_secs()), "requests": 10 },
        "steps": [{ "weight": "20%" }, { "weight": "100%" }],
    });
    object
}

fn lease() -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": "serin-operator", "namespace": "serin-system" },
    })
}
