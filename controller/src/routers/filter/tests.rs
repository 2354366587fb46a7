use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use serin_filter::config::Config;

use super::*;

const SHIPPED: &str = include_str!("../../../../envoy/filter.json");

fn service(name: &str, authority: &str, candidate: &str) -> wire::Service {
    let version = |name| serde_json::json!({"name": name, "cluster": format!("shop-{name}")});
    let service = serde_json::json!({
        "name": name, "authorities": [authority], "sticky": [{"header": "x-user-id"}], "salt": "s",
        "versions": [version("v1"), version(candidate)]});
    serde_json::from_value(service).unwrap()
}

fn open(path: &Path, name: &str, candidate: &str) -> Result<FilterRouter, RouteError> {
    open_in(&ConfigSinks::default(), path, name, candidate)
}

fn open_in(
    sinks: &ConfigSinks,
    path: &Path,
    name: &str,
    candidate: &str,
) -> Result<FilterRouter, RouteError> {
    let authority = if name == "shop" { "*" } else { name };
    FilterRouter::open(
        sinks,
        &SinkLocation::File(path.to_owned()),
        &service(name, authority, candidate),
    )
}

fn split(generation: u64, ppm: u32) -> Split {
    let candidate = Weight::from_ppm(ppm).unwrap();
    Split { generation: Generation(generation), candidate, assignment: UserAssignment::ServiceSalt }
}

fn config(path: &Path) -> Config {
    let document: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let text = document.pointer("/resources/0/typed_config/config/configuration/value").unwrap();
    Config::parse(text.as_str().unwrap().as_bytes()).unwrap()
}

fn shipped() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("filter.json");
    std::fs::write(&path, SHIPPED).unwrap();
    (directory, path)
}

#[test]
fn the_filter_reads_the_written_split() {
    let (_directory, path) = shipped();
    let mut file = open(&path, "shop", "v2").unwrap();
    assert_eq!((file.filter(), file.generation), ("serin".to_owned(), Generation(0)));
    file.put(split(1, 10_000)).unwrap();
    file.put(split(2, 50_000)).unwrap();
    let config = config(&path);
    assert_eq!(config.generation, Generation(2));
    assert_eq!(config.services[0].table().unwrap().weight(1).ppm(), 50_000);
}

#[test]
fn other_services_and_the_users_fields_are_kept() {
    let (_directory, path) = shipped();
    let changed = SHIPPED.replace("0.05s", "0.07s");
    std::fs::write(&path, changed).unwrap();
    open(&path, "cart", "v9").unwrap().put(split(1, 5)).unwrap();
    open(&path, "shop", "v2").unwrap().put(split(2, 10_000)).unwrap();
    let config = config(&path);
    let names: Vec<_> = config.services.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["cart", "shop"]);
    assert_eq!(config.services[0].table().unwrap().weight(1).ppm(), 5);
    assert!(std::fs::read_to_string(&path).unwrap().contains("0.07s"));
}

#[test]
fn a_new_controller_continues_from_the_present_table() {
    let (_directory, path) = shipped();
    let mut first = open(&path, "shop", "v2").unwrap();
    for (generation, ppm) in [(1, 600_000), (2, 100_000), (3, 300_000)] {
        first.put(split(generation, ppm)).unwrap();
    }
    let table = first.table.clone();
    drop(first);
    let second = open(&path, "shop", "v2").unwrap();
    assert_eq!(
        (&second.table, second.present().candidate.ppm(), second.others_weight),
        (&table, 300_000, Weight::ZERO)
    );
    drop(second);
    // Another candidate: the old one's users count as the baseline's.
    let third = open(&path, "shop", "v3").unwrap();
    assert_eq!((third.table, third.others_weight.ppm()), (Table::all(0), 300_000));
}

#[test]
fn an_aa_test_runs_before_its_chosen_salt_assigns_users() {
    let (_directory, path) = shipped();
    let mut file = open(&path, "shop", "v2").unwrap();
    let salts = ["s".to_owned(), "t".to_owned()].to_vec();
    file.allow_aa_test(wire::AaTest { salts, slices: vec![10_000] }).unwrap();
    file.put(Split { assignment: UserAssignment::AaTest, ..split(1, 0) }).unwrap();
    assert_eq!(config(&path).services[0].aa_test.as_ref().unwrap().salts.len(), 2);
    file.put(Split { assignment: UserAssignment::TestedSalt(1), ..split(2, 10_000) }).unwrap();
    let salted = |path| {
        let service = config(path).services.remove(0);
        assert_eq!(service.aa_test, None);
        service.bucketing
    };
    let chosen = serin_filter::bucket::Bucketing::new("t");
    assert_eq!(salted(&path), chosen);
    // A new router keeps the salt while the candidate has users.
    drop(file);
    let mut next = open(&path, "shop", "v2").unwrap();
    next.put(split(3, 50_000)).unwrap();
    assert_eq!(salted(&path), chosen);
    next.put(split(4, 0)).unwrap();
    drop(next);
    open(&path, "shop", "v2").unwrap().put(split(5, 10_000)).unwrap();
    assert_eq!(salted(&path), serin_filter::bucket::Bucketing::new("s"));
}

#[test]
fn rollouts_share_a_file_and_lock_it_against_other_processes() {
    let (_directory, path) = shipped();
    let sinks = ConfigSinks::default();
    let mut shop = open_in(&sinks, &path, "shop", "v2").unwrap();
    let mut cart = open_in(&sinks, &path, "cart", "v2").unwrap();
    let other = open(&path, "third", "v2").unwrap_err().to_string();
    assert!(other.contains("another serin has a rollout under way in this file"), "{other}");
    shop.put(split(1, 10_000)).unwrap();
    // Each rollout counts its own generations; the file counts one for both.
    cart.put(split(1, 50_000)).unwrap();
    let weights = |path| {
        let config = config(path);
        let weight =
            |service: &serin_filter::config::Service| service.table().unwrap().weight(1).ppm();
        (config.generation.0, config.services.iter().map(weight).collect::<Vec<_>>())
    };
    assert_eq!(weights(&path), (2, vec![10_000, 50_000]));
    shop.put(split(2, 20_000)).unwrap();
    assert_eq!(weights(&path).0, 3);
    // A proxy at the file's generation 2 runs the cart's split, but not the shop's second one.
    // Generation 9 is unknown.
    let running =
        |router: &FilterRouter| [1, 2, 3, 9].map(|g| router.generation_at(Generation(g)).0);
    assert_eq!((running(&shop), running(&cart)), ([1, 1, 2, 9], [0, 1, 1, 9]));
    // A repeated split keeps the file's generation.
    cart.put(split(1, 50_000)).unwrap();
    assert_eq!(weights(&path).0, 3);
    drop((shop, cart));
    let shop = open_in(&sinks, &path, "shop", "v2").unwrap();
    assert_eq!((shop.generation, shop.present().candidate.ppm()), (Generation(2), 20_000));
    let cart = open_in(&sinks, &path, "cart", "v2").unwrap();
    assert_eq!((cart.generation, cart.sink_generation()), (Generation(1), Generation(3)));
}

#[test]
fn a_catch_all_service_does_not_hide_another_service() {
    let (_directory, path) = shipped();
    open(&path, "shop", "v2").unwrap().put(split(1, 5)).unwrap();
    open(&path, "cart", "v9").unwrap().put(split(2, 10_000)).unwrap();
    let config = config(&path);
    let owner = |authority: &'static [u8]| {
        config.services[config.service(|| Some(authority.to_vec())).unwrap()].name.as_str()
    };
    assert_eq!([owner(b"cart:80"), owner(b"anything")], ["cart", "shop"]);
    let error = FilterRouter::open(
        &ConfigSinks::default(),
        &SinkLocation::File(path),
        &service("other", "*", "v2"),
    )
    .unwrap_err()
    .to_string();
    assert!(error.contains("\"*\" belongs to service shop"), "{error}");
}

#[test]
fn a_write_keeps_owner_rights_and_links() {
    let (directory, path) = shipped();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    // Only root can give a file away.
    let chowned = std::os::unix::fs::chown(&path, Some(65_534), Some(65_534)).is_ok();
    let link = directory.path().join("link.json");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    open(&link, "shop", "v2").unwrap().put(split(1, 5)).unwrap();
    let metadata = std::fs::metadata(&path).unwrap();
    assert_eq!(metadata.mode() & 0o777, 0o640);
    assert_eq!(metadata.uid() == 65_534, chowned);
    assert!(link.is_symlink());
    assert_eq!(config(&path).generation, Generation(1));
}

#[test]
fn an_invalid_file_is_rejected_and_unchanged() {
    let (directory, path) = shipped();
    for (text, expected) in [
        ("", "not JSON"),
        ("{}", "no string at /resources/0/name"),
        (&SHIPPED.replace("\\\"schema\\\":1", "\\\"schema\\\":2"), "schema 2 is unsupported"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = open(&path, "shop", "v2").unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), *text);
    }
    let missing = open(&directory.path().join("none.json"), "shop", "v2").unwrap_err();
    assert!(missing.to_string().contains("No such file"), "{missing}");
}
