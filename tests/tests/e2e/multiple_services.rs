//! Rollouts of several services at once, behind one Envoy and in one file.

use std::time::Duration;

use serde_json::Value;
use serin_tests::{Load, LoadPlan, Server, Spec};

use crate::world::World;

/// Requests of the cart, which has the same instances as the shop.
fn cart(world: &World) -> Load {
    Load::start(LoadPlan { host: Some("cart.example"), ..world.plan() })
}

fn quick(world: &World) -> Spec {
    let (bake, second) = (Duration::from_secs(4), Duration::from_secs(1));
    let spec = Spec::new(&world.envoy).interval(Duration::from_millis(300)).without_tripwire();
    spec.step("20%", bake, 100).step("100%", second, 20)
}

fn generations(events: &[Value]) -> Vec<u64> {
    let shifting = events.iter().filter(|event| event["event"] == "shifting");
    shifting.filter_map(|event| event["generation"].as_u64()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rollouts_of_one_file_are_independent() {
    let world = World::new().await;
    let (shop, others) = (world.load(), cart(&world));
    let server = Server::start(world.envoy.dir()).await;
    server.apply(&quick(&world)).await;
    let second = quick(&world).name("cart-v2").service("cart", "cart.example");
    assert_eq!(server.apply(&second).await["phase"], "running");
    // The server is killed with both under way, and resumes both.
    server.kill().await;
    let server = Server::start(world.envoy.dir()).await;
    let (first, second) = tokio::join!(server.watch("shop"), server.watch("cart"));
    assert_eq!((first.0, second.0), (Some(0), Some(0)), "{first:?}\n{second:?}");
    assert_eq!(world.envoy.generation(), 4, "two splits of each");
    assert_eq!(generations(&first.1).len(), 2);
    let failed = shop.stop().await.total().failures + others.stop().await.total().failures;
    assert_eq!(failed, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_leaves_the_other_rollout_alone() {
    let world = World::new().await;
    let (shop, others) = (world.load(), cart(&world));
    let server = Server::start(world.envoy.dir()).await;
    server.apply(&quick(&world)).await;
    server.apply(&quick(&world).name("cart-v2").service("cart", "cart.example")).await;
    server.ok(&["abort", "cart"]).await;
    let (first, second) = tokio::join!(server.watch("shop"), server.watch("cart"));
    assert_eq!((first.0, second.0), (Some(0), Some(4)), "{first:?}\n{second:?}");
    let failed = shop.stop().await.total().failures + others.stop().await.total().failures;
    assert_eq!(failed, 0);
}
