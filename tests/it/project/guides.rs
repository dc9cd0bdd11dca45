//! The guides, the README, DESIGN and its parts: no link leads nowhere, and what they list is all there is.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Where the links of the guides lead in the crate's documentation.
const IN_RUSTDOC: &str = include_str!("../../../src/guide_links.md");
/// The crate's documentation, at the address at which it is published.
const PUBLISHED: &str = "https://docs.rs/tower-throttle/latest/tower_throttle/#";

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The pages in a folder.
fn pages_in(folder: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
        .collect()
}

fn guides() -> Vec<PathBuf> {
    pages_in("docs")
}

fn pages() -> Vec<PathBuf> {
    let others = ["README.md", "DESIGN.md", "CONTRIBUTING.md"];
    others
        .into_iter()
        .map(PathBuf::from)
        .chain(guides())
        .chain(pages_in("docs/design"))
        .collect()
}

/// The lines that are not code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    })
}

/// What a heading is called in an address.
fn anchor(heading: &str) -> String {
    let kept = heading
        .trim()
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.flat_map(char::to_lowercase)
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// The anchors of a text's headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter(|line| line.starts_with('#'));
    headings
        .map(|line| anchor(line.trim_start_matches('#')))
        .collect()
}

/// The definitions of a text's links: label and target.
fn definitions(text: &str) -> Vec<(&str, &str)> {
    let definition = |line| str::strip_prefix(line, "[")?.split_once("]: ");
    prose(text).filter_map(definition).collect()
}

/// The text of a page without its code, in one line.
fn running(text: &str) -> String {
    let lines: Vec<_> = prose(text).collect();
    let text = lines.join(" ");
    let mut parts = text.split('`').enumerate();
    let mut kept = String::new();
    parts.by_ref().for_each(|(index, part)| {
        if index % 2 == 0 {
            kept.push_str(part);
        }
    });
    kept
}

/// What stands between `open` and the next `close`, each time.
fn between<'a>(text: &'a str, open: &str, close: char) -> Vec<&'a str> {
    let parts = text.split(open).skip(1);
    parts
        .filter_map(|part| Some(part.split_once(close)?.0))
        .collect()
}

/// Everything that a page's links lead to.
fn targets(text: &str) -> Vec<String> {
    let inline = running(text);
    let defined = definitions(text).into_iter().map(|(_, target)| target);
    between(&inline, "](", ')')
        .into_iter()
        .chain(defined)
        .map(str::to_owned)
        .collect()
}

#[test]
fn each_link_leads_to_a_file_and_to_a_heading_of_it() {
    let crate_docs: String = read(Path::new("src/lib.rs"))
        .lines()
        .filter_map(|line| line.strip_prefix("//! "))
        .chain(read(Path::new("src/COMPOSITION.md")).lines())
        .flat_map(|line| [line, "\n"])
        .collect();
    let mut seen = 0;
    for page in pages() {
        let text = read(&page);
        for target in targets(&text) {
            seen += 1;
            let nowhere = || panic!("{}: {target} leads nowhere", page.display());
            if let Some(heading) = target.strip_prefix(PUBLISHED) {
                if !anchors(&crate_docs).contains(heading) {
                    nowhere();
                }
                continue;
            }
            if target.starts_with("http") {
                continue;
            }
            let (path, heading) = target.split_once('#').unwrap_or((&target, ""));
            let file = match path {
                "" => page.clone(),
                path => page.parent().unwrap().join(path),
            };
            if !file.exists() || !(heading.is_empty() || anchors(&read(&file)).contains(heading)) {
                nowhere();
            }
        }
    }
    assert!(seen > 100, "only {seen} links were found");
}

#[test]
fn each_label_of_a_guide_is_defined_for_its_file_and_for_the_documentation() {
    let here: BTreeSet<_> = definitions(IN_RUSTDOC)
        .into_iter()
        .map(|(label, _)| label.to_owned())
        .collect();
    let mut used = BTreeSet::new();
    for guide in guides() {
        let text = read(&guide);
        let defined = definitions(&text).into_iter().map(|(label, _)| label);
        let defined: BTreeSet<_> = defined.map(str::to_owned).collect();
        let running = running(&text);
        let labels = between(&running, "][", ']').into_iter().map(str::to_owned);
        let labels: BTreeSet<_> = labels.collect();
        assert_eq!(labels, defined, "{}", guide.display());
        used.extend(labels);
    }
    let undefined: Vec<_> = used.difference(&here).collect();
    assert!(undefined.is_empty(), "not in guide_links.md: {undefined:?}");
}

#[test]
fn the_readme_leads_to_each_guide() {
    let readme = targets(&read(Path::new("README.md")));
    for guide in guides() {
        let name = guide.display().to_string();
        assert!(readme.contains(&name), "{name}");
    }
}

#[test]
fn the_design_leads_to_each_of_its_parts() {
    let design = targets(&read(Path::new("DESIGN.md")));
    let parts = pages_in("docs/design");
    assert!(!parts.is_empty());
    for part in parts {
        let name = part.display().to_string();
        let leads_there = |target: &String| target.split('#').next() == Some(&name);
        assert!(design.iter().any(leads_there), "{name}");
    }
}

/// The documentation knows every reason for which a request is refused.
#[test]
fn the_page_on_symptoms_has_each_reason_of_a_refusal() {
    let source = read(Path::new("src/error.rs"));
    let (_, reasons) = source.split_once("pub enum RefusedReason {").unwrap();
    let (reasons, _) = reasons.split_once("\n}").unwrap();
    let reasons = reasons
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with(char::is_uppercase));
    let reasons: BTreeSet<_> = reasons.map(|line| line.trim_end_matches(',')).collect();
    let page = read(Path::new("docs/troubleshooting.md"));
    let (_, table) = page.split_once("| reason | why | what to do |").unwrap();
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let named: BTreeSet<_> = rows.map(|row| row.split('`').nth(1).unwrap()).collect();
    assert_eq!(named, reasons);
    assert!(reasons.len() > 5);
}
