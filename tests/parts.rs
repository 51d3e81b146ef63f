//! The parts of the program use each other one way.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The Rust files in a folder and below.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => rust_files(&path),
            false => vec![path],
        })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

/// The parts that code names, without what stands in comments.
fn named_in(code: &str) -> BTreeSet<String> {
    let lines = code
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    lines
        .flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| {
            let is_name = |char: &char| char.is_ascii_lowercase() || *char == '_';
            let name: String = rest.chars().take_while(is_name).collect();
            assert!(!name.is_empty(), "`crate::{rest}` names no part");
            name
        })
        .collect()
}

/// For each part those that it uses, and in which order `lib.rs` has them.
fn uses() -> (BTreeMap<String, BTreeSet<String>>, Vec<String>) {
    let sources = Path::new(SOURCES);
    let mut uses = BTreeMap::<String, BTreeSet<String>>::new();
    for file in rust_files(sources) {
        let inside = file.strip_prefix(sources).expect("a file of the sources");
        let part = inside.iter().next().expect("a name").to_string_lossy();
        let part = part.trim_end_matches(".rs").to_owned();
        let used = uses.entry(part.clone()).or_default();
        used.extend(named_in(&read(&file)));
        used.remove(&part);
    }
    let lib = read(&sources.join("lib.rs"));
    let modules = lib.lines().filter_map(|line| {
        let name = line.trim_start_matches("pub ").strip_prefix("mod ")?;
        Some(name.trim_end_matches(';').to_owned())
    });
    (uses, modules.collect())
}

#[test]
fn each_part_uses_only_those_above_it() {
    let (uses, order) = uses();
    let place = |part: &str| order.iter().position(|known| known == part);
    for (part, used) in uses.iter().filter(|(part, _)| place(part).is_some()) {
        for other in used {
            assert!(
                place(other) < place(part) && place(other).is_some(),
                "{part} uses {other}, which stands below it in lib.rs"
            );
        }
    }
    assert!(uses["app"].contains("feed"), "{uses:?}");
}

/// They meet in Postgres: so what comes by REST is heard like what anybody else writes.
#[test]
fn rest_and_feed_use_nothing_of_each_other() {
    let (uses, _) = uses();
    assert!(!uses["rest"].contains("feed"), "{:?}", uses["rest"]);
    assert!(!uses["feed"].contains("rest"), "{:?}", uses["feed"]);
}
