//! Who may use whom. The table at the top of `src/lib.rs` is the order of the crate's modules, and this test
//! holds the sources against it:
//!
//! - A module uses only modules in rows below its own; modules in one row do not use each other.
//! - Files in one directory do not use each other in a circle. A parent (`mx/mod.rs` for `mx/*.rs`) may use
//!   its children and they may use what it defines; a name that it only passes on counts as the child's.
//!
//! Tests inside the sources may use what they want.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A module by its path from the crate's root: `["mx", "session"]`.
type Module = Vec<String>;

/// What the sources say.
struct Tree {
    /// Every module of the crate, with its code: no comments, no tests.
    code: BTreeMap<Module, String>,
}

impl Tree {
    fn read() -> Self {
        let mut code = BTreeMap::new();
        for file in files(Path::new("src")) {
            let mut module: Module = file
                .with_extension("")
                .iter()
                .skip(1)
                .map(|part| part.to_str().unwrap().to_owned())
                .collect();
            match module.last().map(String::as_str) {
                Some("main") => continue,
                Some("lib" | "mod") => drop(module.pop()),
                _ => {}
            }
            let text = fs::read_to_string(&file).unwrap();
            let text = text.split("#[cfg(test)]\nmod ").next().unwrap();
            let lines = text.lines().map(|line| line.split("//").next().unwrap());
            code.insert(module, lines.collect::<Vec<_>>().join("\n"));
        }
        Tree { code }
    }

    /// The module where `path` ends: what a module passes on from a child is the child's.
    fn home(&self, path: &[String]) -> Module {
        let mut module = Module::new();
        for name in path {
            let child = [module.as_slice(), std::slice::from_ref(name)].concat();
            if self.code.contains_key(&child) {
                module = child;
                continue;
            }
            let passed_on =
                paths(&self.code[&module], "use ").into_iter().find(|path| path.last() == Some(name));
            let from = passed_on.map(|path| [module.as_slice(), &path[..1]].concat());
            return from.filter(|child| self.code.contains_key(child)).unwrap_or(module);
        }
        module
    }

    /// The modules that `module` names.
    fn used_by(&self, module: &Module) -> BTreeSet<Module> {
        let code = &self.code[module];
        let mut used = BTreeSet::new();
        for path in paths(code, "crate::") {
            used.insert(self.home(&path));
        }
        for path in paths(code, "super::") {
            let up = 1 + path.iter().take_while(|name| *name == "super").count();
            let parent = module.len().checked_sub(up).map(|length| &module[..length]).unwrap();
            used.insert(self.home(&[parent, &path[up - 1..]].concat()));
        }
        used
    }

    /// For each directory (by its module), which of its children use which others.
    fn neighbours(&self) -> BTreeMap<Module, BTreeMap<String, BTreeSet<String>>> {
        let mut all: BTreeMap<Module, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
        for module in self.code.keys() {
            for used in self.used_by(module) {
                let common = module.iter().zip(&used).take_while(|(one, other)| one == other).count();
                if let (Some(from), Some(to)) = (module.get(common), used.get(common)) {
                    let edges = all.entry(module[..common].to_vec()).or_default();
                    edges.entry(from.clone()).or_default().insert(to.clone());
                }
            }
        }
        all
    }
}

/// Every `.rs` file below `directory`.
fn files(directory: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let (directories, mut found): (Vec<_>, Vec<_>) = paths.partition(|path| path.is_dir());
    found.retain(|path| path.extension().is_some_and(|end| end == "rs"));
    found.extend(directories.iter().flat_map(|directory| files(directory)));
    found
}

/// All that is named behind each `start` in `code`, one path each: `super::{a, b::C}` are `a` and `b::C`.
fn paths(code: &str, start: &str) -> Vec<Module> {
    let mut paths = Vec::new();
    for (at, _) in code.match_indices(start) {
        let is_word = code[..at].ends_with(|before: char| before.is_alphanumeric() || "_:".contains(before));
        if !is_word {
            expand(&[], &mut &code[at + start.len()..], &mut paths);
        }
    }
    paths
}

/// Reads one path or one group of them from the start of `code`.
fn expand(prefix: &[String], code: &mut &str, paths: &mut Vec<Module>) {
    let mut path = prefix.to_vec();
    loop {
        *code = code.trim_start();
        if let Some(group) = code.strip_prefix('{') {
            *code = group;
            while !code.trim_start().starts_with('}') {
                expand(&path, code, paths);
                *code = code.trim_start().trim_start_matches(',');
            }
            *code = &code.trim_start()[1..];
            return;
        }
        let end = code.find(|c: char| !c.is_alphanumeric() && !"_*".contains(c)).unwrap_or(code.len());
        path.push(code[..end].to_owned());
        *code = &code[end..];
        let Some(rest) = code.strip_prefix("::") else { break };
        *code = rest;
    }
    if let Some(alias) = code.strip_prefix(" as ") {
        *code = alias.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
    }
    paths.push(path);
}

/// The table at the top of `file`: the modules that each row links in its first cell.
fn map(file: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(file).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! | ")?.split(" |").next());
    let links = |cell: &str| {
        let links = cell.split("[`").skip(1);
        links.map(|link| link.split_once("`]").unwrap().0.to_owned()).collect::<Vec<_>>()
    };
    rows.map(links).filter(|row| !row.is_empty()).collect()
}

/// A way from `at` back to `at`.
fn circle(edges: &BTreeMap<String, BTreeSet<String>>, at: &str) -> Option<Vec<String>> {
    let mut ways: Vec<Vec<String>> = vec![vec![at.to_owned()]];
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop() {
        for next in edges.get(way.last().unwrap()).into_iter().flatten() {
            let longer = [way.as_slice(), std::slice::from_ref(next)].concat();
            if next == at {
                return Some(longer);
            }
            if seen.insert(next) {
                ways.insert(0, longer);
            }
        }
    }
    None
}

#[test]
fn a_module_uses_only_those_below_it() {
    let rows = map("src/lib.rs");
    let row = |module: &str| rows.iter().position(|row| row.iter().any(|name| name == module));
    let mut wrong = Vec::new();
    for (module, used) in &Tree::read().neighbours()[&Module::new()] {
        let up = used.iter().filter(|used| row(used) <= row(module));
        wrong.extend(up.map(|used| format!("{module} uses {used}")));
    }
    assert!(wrong.is_empty(), "against the order in src/lib.rs: {wrong:#?}");
}

#[test]
fn files_of_a_module_do_not_use_each_other_in_a_circle() {
    let mut circles = BTreeMap::new();
    for (directory, edges) in Tree::read().neighbours() {
        for way in edges.keys().filter_map(|file| circle(&edges, file)) {
            let members: BTreeSet<_> = way.iter().cloned().collect();
            circles.entry(members).or_insert(format!("{}: {}", directory.join("/"), way.join(" → ")));
        }
    }
    assert!(circles.is_empty(), "{:#?}", circles.values());
}

#[test]
fn the_maps_show_every_module_and_no_other() {
    let tree = Tree::read();
    for file in ["src/lib.rs", "src/mx/mod.rs", "src/ledger/mod.rs"] {
        let parent: Module =
            file.split('/').skip(1).filter(|part| !part.ends_with(".rs")).map(String::from).collect();
        let children =
            tree.code.keys().filter(|module| module.split_last().is_some_and(|(_, up)| up == parent));
        let children: BTreeSet<_> = children.map(|child| child.last().unwrap()).collect();
        let map = map(file);
        assert_eq!(map.iter().flatten().collect::<BTreeSet<_>>(), children, "{file}");
    }
}

#[test]
fn the_contributors_find_every_test() {
    let guide = fs::read_to_string("CONTRIBUTING.md").unwrap();
    for entry in fs::read_dir("tests").unwrap() {
        let path = entry.unwrap().path();
        let path = format!("{}{}", path.display(), if path.is_dir() { "/" } else { "" });
        assert!(guide.contains(&path), "{path} is missing");
    }
    for named in guide.split("`tests/").skip(1) {
        let path = named.split(['`', '*']).next().unwrap();
        assert!(Path::new("tests").join(path).exists(), "tests/{path} does not exist");
    }
}

#[test]
fn paths_are_read_out_of_groups() {
    let code = "use crate::net::{self, tls::{Tls as T, Door}};\nfn f() { crate::clock::now() }";
    let paths = paths(code, "crate::").into_iter().map(|path| path.join("::"));
    assert_eq!(paths.collect::<Vec<_>>(), ["net::self", "net::tls::Tls", "net::tls::Door", "clock::now"]);
}
