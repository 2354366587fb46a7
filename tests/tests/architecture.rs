//! The architecture of the folders: the allowed dependencies of the core, and no import cycles
//! between modules.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree};

/// Crates that do I/O or need a runtime. The core depends on none of them.
const ADAPTERS: [&str; 10] =
    ["tokio", "hyper", "reqwest", "kube", "rusqlite", "tonic", "axum", "rustls", "mio", "socket2"];

/// The crates of the workspace, by the folder of their sources.
const CRATES: [&str; 5] = [
    "controller/core/src",
    "controller/simulator/src",
    "controller/src",
    "filter/src",
    "tests/src",
];

fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

#[test]
fn the_core_depends_on_no_io() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["tree", "--offline", "--locked", "-p", "serin-core", "-e", "normal"])
        .args(["--prefix", "none", "--format", "{lib}"])
        .current_dir(workspace())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).expect("names of crates");
    assert!(tree.lines().any(|name| name == "serin_filter"), "not a tree of the core: {tree}");
    let adapters: Vec<_> = tree.lines().filter(|name| ADAPTERS.contains(name)).collect();
    assert!(adapters.is_empty(), "serin-core depends on {adapters:?}");
}

#[test]
fn modules_import_each_other_in_one_direction() {
    let circles: Vec<_> = CRATES
        .iter()
        .flat_map(|source| {
            let crate_ = Crate::read(&workspace().join(source));
            crate_.circles().into_iter().map(move |circle| format!("{source}: {circle}"))
        })
        .collect();
    assert!(circles.is_empty(), "import cycles:\n{}", circles.join("\n"));
}

#[test]
fn a_circle_is_found_through_a_reexport() {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        std::fs::write(directory.path().join(name), text).expect("a file");
    };
    write("lib.rs", "mod a; mod b; mod c; pub use b::Thing;");
    write("a.rs", "use crate::Thing;");
    write("b.rs", "pub struct Thing; fn f() { crate::a::g() }");
    write("c.rs", "use super::b; #[cfg(test)] mod tests { use crate::a; }");
    let circles = Crate::read(directory.path()).circles();
    assert_eq!(circles.len(), 1, "{circles:?}");
    assert!(circles[0].contains("a -> b -> a"), "{circles:?}");
}

/// A module's path, from the root of its crate.
type ModulePath = Vec<String>;

/// The modules of a crate, without tests, and the paths that each names.
#[derive(Default)]
struct Crate {
    modules: BTreeMap<ModulePath, Module>,
}

#[derive(Default)]
struct Module {
    /// Names that `use` brings in, with their absolute paths.
    imports: BTreeMap<String, Vec<String>>,
    /// Absolute paths that the module names.
    paths: BTreeSet<Vec<String>>,
}

impl Crate {
    fn read(source: &Path) -> Self {
        let mut crate_ = Self::default();
        let root = ["lib.rs", "main.rs"].map(|name| source.join(name));
        let root = root.iter().find(|path| path.exists()).expect("a root");
        crate_.read_file(root, source, Vec::new());
        crate_
    }

    fn read_file(&mut self, file: &Path, folder: &Path, path: ModulePath) {
        let text =
            std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{file:?}: {error}"));
        let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{file:?}: {error}"));
        self.read_items(&parsed.items, folder, path);
    }

    fn read_items(&mut self, items: &[Item], folder: &Path, path: ModulePath) {
        let children: Vec<_> = items
            .iter()
            .filter_map(|item| match item {
                Item::Mod(module) if !is_test(&module.attrs) => Some(module),
                _ => None,
            })
            .collect();
        let mut collector = Collector {
            path: &path,
            children: children.iter().map(|child| child.ident.to_string()).collect(),
            module: Module::default(),
        };
        items.iter().for_each(|item| collector.visit_item(item));
        let module = collector.module;
        self.modules.insert(path.clone(), module);
        for child in children {
            let name = child.ident.to_string();
            let child_path = [path.clone(), vec![name.clone()]].concat();
            let child_folder = folder.join(&name);
            match &child.content {
                Some((_, items)) => self.read_items(items, &child_folder, child_path),
                None => {
                    let files = [folder.join(format!("{name}.rs")), child_folder.join("mod.rs")];
                    let file: &PathBuf = files.iter().find(|file| file.exists()).expect(&name);
                    self.read_file(file, &child_folder, child_path);
                }
            }
        }
    }

    /// The module that defines the item of this path, according to imports.
    fn module_of(&self, path: &[String], depth: usize) -> ModulePath {
        let known = (0..=path.len()).rev().find(|len| self.modules.contains_key(&path[..*len]));
        let (module, rest) = path.split_at(known.unwrap_or(0));
        let import = rest.first().and_then(|name| self.modules.get(module)?.imports.get(name));
        match import {
            Some(import) if depth < 8 => {
                self.module_of(&[import.as_slice(), &rest[1..]].concat(), depth + 1)
            }
            _ => module.to_vec(),
        }
    }

    /// Cycles between modules of one parent, each as a line.
    fn circles(&self) -> Vec<String> {
        // parent -> child -> child -> an example
        let mut graphs: BTreeMap<ModulePath, BTreeMap<&str, BTreeMap<String, String>>> =
            BTreeMap::new();
        for (from, module) in &self.modules {
            for path in &module.paths {
                let to = self.module_of(path, 0);
                let common = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
                if let (Some(one), Some(other)) = (from.get(common), to.get(common)) {
                    let example = format!("{} names {}", from.join("::"), path.join("::"));
                    let graph = graphs.entry(from[..common].to_vec()).or_default();
                    graph.entry(one).or_default().entry(other.clone()).or_insert(example);
                }
            }
        }
        graphs
            .iter()
            .flat_map(|(parent, graph)| {
                let circle = |start: &&str| shortest_circle(graph, start);
                let circles: Vec<_> = graph.keys().filter_map(circle).collect();
                let mut seen = BTreeSet::new();
                let new = |circle: &Vec<String>| {
                    seen.insert(circle.iter().cloned().collect::<BTreeSet<_>>())
                };
                let circles: Vec<_> = circles.into_iter().filter(new).collect();
                circles.into_iter().map(|circle| describe(parent, graph, &circle))
            })
            .collect()
    }
}

fn describe(
    parent: &[String],
    graph: &BTreeMap<&str, BTreeMap<String, String>>,
    circle: &[String],
) -> String {
    let edge = |pair: &[String]| graph[pair[0].as_str()][&pair[1]].clone();
    let edges: Vec<_> = circle.windows(2).map(edge).collect();
    format!("in {}: {} ({})", parent.join("::"), circle.join(" -> "), edges.join("; "))
}

/// The shortest way from a module back to itself.
fn shortest_circle(
    graph: &BTreeMap<&str, BTreeMap<String, String>>,
    start: &str,
) -> Option<Vec<String>> {
    let mut ways = std::collections::VecDeque::from([vec![start.to_owned()]]);
    let mut visited = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        let last = way.last().expect("a way has a start");
        for next in graph.get(last.as_str()).into_iter().flat_map(BTreeMap::keys) {
            let longer = [way.clone(), vec![next.clone()]].concat();
            if next == start {
                return Some(longer);
            }
            if visited.insert(next.clone()) {
                ways.push_back(longer);
            }
        }
    }
    None
}

/// Collects the paths of one module, without its child modules.
struct Collector<'m> {
    path: &'m [String],
    children: BTreeSet<String>,
    module: Module,
}

impl Collector<'_> {
    /// The absolute form of a path into this crate.
    fn absolute(&self, path: &[String]) -> Option<Vec<String>> {
        let first = path.first()?;
        let supers = path.iter().take_while(|part| *part == "super").count();
        match first.as_str() {
            "crate" => Some(path[1..].to_vec()),
            "self" => Some([self.path, &path[1..]].concat()),
            "super" => {
                let parent = self.path.len().checked_sub(supers)?;
                Some([&self.path[..parent], &path[supers..]].concat())
            }
            child if self.children.contains(child) => Some([self.path, path].concat()),
            _ => None,
        }
    }

    fn import(&mut self, tree: &UseTree, prefix: &[String]) {
        let joined = |name: &syn::Ident| [prefix, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.import(&path.tree, &joined(&path.ident)),
            UseTree::Name(name) if name.ident == "self" => self.import_as(prefix, None),
            UseTree::Name(name) => self.import_as(&joined(&name.ident), Some(&name.ident)),
            UseTree::Rename(rename) => self.import_as(&joined(&rename.ident), Some(&rename.rename)),
            UseTree::Glob(_) => self.import_as(prefix, None),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.import(tree, prefix)),
        }
    }

    fn import_as(&mut self, path: &[String], name: Option<&syn::Ident>) {
        let Some(absolute) = self.absolute(path) else { return };
        if let Some(name) = name {
            self.module.imports.insert(name.to_string(), absolute.clone());
        }
        self.module.paths.insert(absolute);
    }
}

impl<'ast> Visit<'ast> for Collector<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        match item {
            Item::Mod(_) => {}
            Item::Use(item) if !is_test(&item.attrs) => self.import(&item.tree, &[]),
            _ => visit::visit_item(self, item),
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<_> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        self.module.paths.extend(self.absolute(&parts).filter(|_| parts.len() > 1));
        visit::visit_path(self, path);
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    let text = |attribute: &Attribute| match &attribute.meta {
        syn::Meta::List(list) if list.path.is_ident("cfg") => list.tokens.to_string(),
        _ => String::new(),
    };
    attributes.iter().any(|attribute| text(attribute) == "test")
}
