//! Hooks: commands of `serin run`, webhooks of `serin serve`.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serin_tests::{Fault, RolloutProcess, Server, Spec, until};

use crate::world::World;

/// A program that records the points of its calls, and fails at gates until a file called `open`
/// exists.
fn program(world: &World) -> String {
    let path = world.envoy.dir().join("hook.sh");
    let text = "#!/bin/sh
cd \"$(dirname \"$0\")\"
echo \"$SERIN_POINT $SERIN_ID\" >> called
[ \"$SERIN_POINT\" != gate ] || [ -e open ] || { echo 'not open yet' >&2; exit 1; }
";
    std::fs::write(&path, text).expect("a file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("rights");
    path.display().to_string()
}

/// The hook calls by point and id, without the id of the run.
fn called(world: &World) -> Vec<String> {
    let text = std::fs::read_to_string(world.envoy.dir().join("called")).unwrap_or_default();
    let without_run = |line: &str| {
        let (rollout, rest) = line.split_once('/').expect("an id");
        let (run, place) = rest.split_once('/').expect("a run");
        assert!(run.parse::<u64>().is_ok_and(|run| run > 0), "{line}");
        format!("{rollout}/{place}")
    };
    text.lines().map(without_run).collect()
}

fn hooked(world: &World) -> Spec {
    let hooks = ["before", "gate", "after", "rollback"]
        .map(|point| format!("{point}: [{{ command: [\"{}\"], retries: 0 }}]", program(world)));
    let second = Duration::from_secs(1);
    let spec = Spec::new(&world.envoy).step("20%", second, 20).step("100%", second, 20);
    let spec = spec.interval(Duration::from_millis(300)).without_tripwire();
    spec.field(&format!("hooks: {{ {} }}", hooks.join(", ")))
}

#[tokio::test(flavor = "multi_thread")]
async fn command_hooks_run_at_each_point() {
    let world = World::new().await;
    let load = world.load();
    let rollout = RolloutProcess::start(&world.envoy, &hooked(&world), &[]);
    let (_, no) = rollout.until("the hook fails", |event| event["event"] == "hookFailed").await;
    assert_eq!(no["reason"], "it ended with exit status: 1: not open yet");
    rollout.until("blocked", |event| event["event"] == "blocked").await;
    assert_eq!(world.envoy.weight_of_v2(), 200_000);
    std::fs::write(world.envoy.dir().join("open"), "").expect("a file");
    let ended = rollout.end().await;
    assert_eq!((ended.code, load.stop().await.total().failures), (Some(0), 0));
    let mut calls = called(&world);
    calls.dedup();
    let expected = [
        "before shop-v2/before/0",
        "gate shop-v2/step-1/gate/0",
        "gate shop-v2/step-2/gate/0",
        "after shop-v2/after/0",
    ];
    assert_eq!(calls, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_calls_its_hook() {
    let world = World::new().await;
    let load = world.load();
    world.v2.set_faults([Fault::errors(0.5)]);
    let ended = RolloutProcess::start(&world.envoy, &hooked(&world), &[]).end().await;
    load.stop().await;
    assert_eq!((ended.code, world.envoy.weight_of_v2()), (Some(3), 0));
    assert_eq!(called(&world).last().map(String::as_str), Some("rollback shop-v2/rollback/0"));
}

/// Each client with the token could run any command.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_runs_commands_only_if_allowed() {
    let world = World::new().await;
    let load = world.load();
    let server = Server::start(world.envoy.dir()).await;
    let path = world.envoy.dir().join("spec.yaml");
    std::fs::write(&path, hooked(&world).yaml()).expect("a file");
    std::fs::write(world.envoy.dir().join("open"), "").expect("a file");
    let path = path.display().to_string();
    let refused = server.refused(&["apply", &path]).await;
    assert!(refused.contains("only with --allow-commands"), "{refused}");
    assert_eq!((called(&world).len(), server.ok(&["status"]).await.len()), (0, 0));
    assert_eq!(server.stop().await, Some(0));
    let server = Server::started_with(world.envoy.dir(), &["--allow-commands"]).await;
    server.ok(&["apply", &path]).await;
    assert_eq!(server.watch("shop").await.0, Some(0));
    until(Duration::from_secs(20), "four calls", async || match called(&world).len() {
        4 => Ok(()),
        calls => Err(calls),
    })
    .await;
    load.stop().await;
}

/// Each client with the token could have any file sent anywhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_reads_the_files_of_rollouts_from_one_directory_only() {
    let world = World::new().await;
    let directory = world.envoy.dir().join("secrets");
    std::fs::create_dir(&directory).expect("a directory");
    let path = world.envoy.dir().join("spec.yaml");
    let named = |file: String| {
        let hooks =
            format!("hooks: {{ after: [{{ url: 'http://127.0.0.1:1/', secretFile: '{file}' }}] }}");
        let spec = Spec::new(&world.envoy).step("100%", Duration::from_secs(1), 1).field(&hooks);
        std::fs::write(&path, spec.yaml()).expect("a file");
        path.display().to_string()
    };
    let within = format!("{}/key", directory.display());
    let server = Server::start(world.envoy.dir()).await;
    let refused = server.refused(&["apply", &named(within.clone())]).await;
    assert!(
        refused.contains("spec.hooks: ") && refused.contains("set --secrets, the directory"),
        "{refused}"
    );
    assert_eq!(server.stop().await, Some(0));
    let secrets = directory.display().to_string();
    let server = Server::started_with(world.envoy.dir(), &["--secrets", &secrets]).await;
    let without = format!("{secrets}/../key");
    let refused = server.refused(&["apply", &named(without)]).await;
    assert!(refused.contains(&format!("is outside of {secrets}")), "{refused}");
    assert_eq!(server.ok(&["status"]).await.len(), 0);
    server.ok(&["apply", &named(within)]).await;
}
