//! The parts of the program use each other one way, and as ARCHITECTURE.md says.

use std::collections::BTreeMap;
use std::path::Path;

use crate::support::repository::{ROOT, files, read};

/// Each use of one part by another, and a file that has it.
type Arrows = BTreeMap<(String, String), String>;

/// The parts that code names, without what stands in comments.
fn named_in(file: &str, code: &str) -> Vec<String> {
    let lines = code
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    lines
        .flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| {
            let is_name = |char: &char| char.is_ascii_lowercase() || *char == '_';
            let name: String = rest.chars().take_while(is_name).collect();
            assert!(
                !name.is_empty(),
                "{file}: write one `use` for each part instead of `crate::{rest}`"
            );
            name
        })
        .collect()
}

/// The arrows of the code, unit tests too.
fn arrows() -> Arrows {
    let sources = Path::new(ROOT).join("src");
    let mut arrows = Arrows::new();
    for path in files(&sources, "rs") {
        let inside = path.strip_prefix(&sources).expect("a file of the sources");
        let part = inside.iter().next().expect("a name").to_string_lossy();
        let part = part.trim_end_matches(".rs");
        let file = format!("src/{}", inside.display());
        for other in named_in(&file, &read(&path)) {
            if other != part {
                arrows.insert((part.to_owned(), other), file.clone());
            }
        }
    }
    arrows
}

/// The parts in the order of `lib.rs`.
fn parts() -> Vec<String> {
    let lib = read("src/lib.rs");
    let modules = lib.lines().filter_map(|line| {
        let name = line.trim_start_matches("pub ").strip_prefix("mod ")?;
        Some(name.trim_end_matches(';').to_owned())
    });
    modules.collect()
}

/// The arrows of ARCHITECTURE.md, which has a line `feed → store, journal` for each part
/// that uses others.
fn drawn() -> Vec<(String, String)> {
    let text = read("ARCHITECTURE.md");
    let lines = text.lines().filter_map(|line| line.split_once(" → "));
    let mut drawn = Vec::new();
    for (part, others) in lines {
        for other in others.split(", ") {
            drawn.push((part.to_owned(), other.to_owned()));
        }
    }
    assert!(!drawn.is_empty(), "ARCHITECTURE.md has no arrows any more");
    drawn
}

#[test]
fn each_part_uses_only_those_above_it() {
    let order = parts();
    let place = |part: &str| order.iter().position(|known| known == part);
    for ((part, other), file) in arrows() {
        assert!(
            place(&part).is_none() || place(&other) < place(&part) && place(&other).is_some(),
            "{file} uses `{other}`, which stands below `{part}` in src/lib.rs: move what it \
             needs to a part that both may use"
        );
    }
}

/// They meet in Postgres: so what comes by REST is heard like what anybody else writes.
#[test]
fn rest_and_feed_use_nothing_of_each_other() {
    let arrows = arrows();
    for (part, other) in [("rest", "feed"), ("feed", "rest")] {
        if let Some(file) = arrows.get(&(part.to_owned(), other.to_owned())) {
            panic!("{file} uses `{other}`: `rest` and `feed` meet in Postgres alone");
        }
    }
}

#[test]
fn architecture_has_every_use_of_one_part_by_another_and_no_other() {
    let arrows = arrows();
    let drawn = drawn();
    for (arrow, file) in &arrows {
        let (part, other) = arrow;
        assert!(
            drawn.contains(arrow),
            "{file} uses `{other}`, and ARCHITECTURE.md does not say so: do without, or add \
             `{other}` to its line `{part} → …`"
        );
    }
    for arrow in &drawn {
        let (part, other) = arrow;
        assert!(
            arrows.contains_key(arrow),
            "ARCHITECTURE.md says that `{part}` uses `{other}`, and nothing in it does any \
             more: take `{other}` out of its line `{part} → …`"
        );
    }
    assert!(arrows.len() > 20, "{arrows:?}");
}
