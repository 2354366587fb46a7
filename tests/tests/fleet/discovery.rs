//! Envoys listed in a file that changes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serin_tests::{RolloutProcess, Spec};

use crate::world::{World, kind, message, stop};

const SECOND: Duration = Duration::from_secs(1);

/// The file that lists the first Envoys.
fn list(world: &World, proxies: usize) -> PathBuf {
    let group = |(index, admin)| {
        format!("{{\"targets\": [\"{admin}\"], \"labels\": {{\"instance\": \"edge-{index}\"}}}}")
    };
    let groups: Vec<_> = world.admins().into_iter().enumerate().take(proxies).map(group).collect();
    replace(world, &format!("[{}]", groups.join(", ")))
}

fn replace(world: &World, text: &str) -> PathBuf {
    let (next, path) = ("next-proxies", "proxies.json");
    let [next, path] = [next, path].map(|name| world.envoys[0].dir().join(name));
    std::fs::write(&next, text).expect("a file");
    std::fs::rename(next, &path).expect("a file");
    path
}

fn spec(world: &World, file: &Path) -> Spec {
    let spec = Spec::new(&world.envoys[0]);
    spec.evidence(format!("proxies: {{ file: {} }}", file.display()))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_added_proxy_takes_part() {
    let mut world = World::new(3).await;
    let loads = world.load();
    let file = list(&world, 2);
    let spec = spec(&world, &file).step("50%", 4 * SECOND, 50).step("100%", SECOND, 10);
    let rollout = RolloutProcess::start(&world.envoys[0], &spec, &[]);
    rollout.until_live(1).await;
    list(&world, 3);
    world.envoys[2].kill().await;
    let (_, blocked) = rollout.until("proxies are unreachable", kind("proxiesUnreachable")).await;
    let message = message(&blocked);
    assert!(message.starts_with("1 of 3 proxies can't be read"), "{message}");
    assert!(message.contains("edge-2 ("), "{message}");
    world.envoys[2].restart().await;
    let ended = rollout.end().await;
    stop(loads).await;
    assert_eq!(ended.code, Some(0), "{:?}", ended.events.last());
    world.assert_all_follow(&ended).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_list_of_proxies_is_reported_and_a_removed_proxy_is_forgotten() {
    let mut world = World::new(3).await;
    let loads = world.load();
    let file = list(&world, 3);
    let spec = spec(&world, &file).step("50%", 3 * SECOND, 50).step("100%", SECOND, 10);
    let rollout = RolloutProcess::start(&world.envoys[0], &spec, &[]);
    rollout.until_live(1).await;
    replace(&world, "[{");
    let (_, warned) = rollout.until("a warning", |event| event["event"] == "warning").await;
    assert!(message(&warned).contains("its last list stays in force"), "{warned}");
    world.envoys[2].kill().await;
    rollout.until("proxies are unreachable", kind("proxiesUnreachable")).await;
    list(&world, 2);
    let ended = rollout.end().await;
    stop(loads).await;
    assert_eq!(ended.code, Some(0), "{:?}", ended.events.last());
}
