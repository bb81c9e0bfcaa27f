//! The maps of the house are those of the tree.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Every name that is linked in the documentation at the top of `file`.
fn map(file: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(file).unwrap();
    let top: String = text.lines().take_while(|line| line.starts_with("//!")).collect();
    top.split("[`").skip(1).map(|rest| rest.split_once("`]").unwrap().0.to_owned()).collect()
}

/// The modules in `dir`: its files, and its folders that have a `mod.rs`.
fn modules(dir: &str) -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let is_root = ["lib", "main", "mod"].contains(&name.as_str());
        if path.join("mod.rs").exists() || path.extension().is_some_and(|end| end == "rs") && !is_root {
            modules.insert(name);
        }
    }
    modules
}

#[test]
fn the_maps_of_the_house_and_of_its_large_rooms_show_every_module_and_no_other() {
    for file in ["src/lib.rs", "src/mx/mod.rs", "src/ledger/mod.rs"] {
        let dir = Path::new(file).parent().unwrap().to_str().unwrap();
        assert_eq!(map(file), modules(dir), "{file}");
    }
}

#[test]
fn the_design_names_every_room() {
    let design = fs::read_to_string("docs/design.md").unwrap();
    let (_, house) = design.split_once("## The house").unwrap();
    let (house, _) = house.split_once("\n## ").unwrap();
    for room in modules("src") {
        let is_named = [format!("{room}.rs"), format!("{room}/")].iter().any(|name| house.contains(name));
        assert!(is_named, "{room} is missing");
    }
    for file in modules("src/mx").iter().chain(&modules("src/relay")) {
        assert!(house.contains(&format!("`{file}`")), "{file} is missing");
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
