//! The pages of the repository lead to what is there: their links, and the files and tests
//! that they name.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::repository::{ROOT, files, read};

/// The pages that say where things are.
const GUIDES: [&str; 3] = ["ARCHITECTURE.md", "CONTRIBUTING.md", "tests/README.md"];

/// A page without its examples.
fn prose(page: &Path) -> String {
    let text = read(page);
    let parts = text.split("\n```");
    parts.step_by(2).collect()
}

/// The anchors of a page, as forges make them from its headings.
fn anchors(page: &Path) -> BTreeSet<String> {
    let text = prose(page);
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            let kept = |char: &char| char.is_alphanumeric() || matches!(char, ' ' | '-' | '_');
            let kept: String = heading.chars().filter(kept).collect();
            kept.replace(' ', "-")
        })
        .collect()
}

/// What stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn each_link_of_a_page_leads_somewhere() {
    let root = Path::new(ROOT);
    let mut links = 0;
    for page in files(root, "md") {
        let text = prose(&page);
        for link in text.split("](").skip(1) {
            let link = link.split(')').next().unwrap_or_default();
            if link.contains(':') {
                continue;
            }
            links += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => page.clone(),
                file => page.parent().expect("its folder").join(file),
            };
            assert!(
                target.exists(),
                "{}: the link `{link}` leads nowhere",
                page.display()
            );
            assert!(
                anchor.is_empty() || anchors(&target).contains(anchor),
                "{}: the link `{link}` leads to no heading",
                page.display()
            );
        }
    }
    assert!(links > 50, "{links}");
}

#[test]
fn the_files_and_tests_that_a_guide_names_are_there() {
    let root = Path::new(ROOT);
    let tests = files(&root.join("tests"), "rs");
    let code: String = tests.iter().map(read).collect();
    let mut named = 0;
    for guide in GUIDES {
        let text = prose(&root.join(guide));
        for name in quoted(&text) {
            let is_path = name.contains('/') && !name.contains([' ', '…']);
            if is_path {
                let is_there = root.join(name).exists() || root.join("src").join(name).exists();
                assert!(is_there, "{guide}: there is no `{name}`");
            } else if let Some((module, test)) = name.rsplit_once("::")
                && module.starts_with(|char: char| char.is_ascii_lowercase())
                && !module.contains(' ')
            {
                let is_there = code.contains(&format!("fn {test}("))
                    || tests
                        .iter()
                        .any(|file| file.ends_with(format!("{test}.rs")));
                assert!(is_there, "{guide}: there is no test `{name}`");
            } else {
                continue;
            }
            named += 1;
        }
    }
    assert!(named > 50, "{named}");
}
