//! The tables of laws in CONTRIBUTING.md name the tests that prove them, and changes that break them. They
//! have to exist.

use std::{collections::BTreeMap, fs, path::Path};

/// What begins the second table.
const BROKEN: &str = "### Broken on purpose";

/// A row of a table: a law, the files that are named, and the tests, as (file, name).
struct Row<'a> {
    law: &'a str,
    files: Vec<&'a str>,
    tests: Vec<(&'a str, &'a str)>,
}

fn rows(text: &str) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    for row in text.lines().filter(|line| line.starts_with("| L")) {
        let law = row.split('|').nth(1).expect("a table has cells").trim();
        // What stands between backticks is every other part.
        let quoted = || row.split('`').skip(1).step_by(2);
        rows.push(Row {
            law,
            files: quoted().filter(|quoted| !quoted.contains("::")).collect(),
            tests: quoted()
                .filter_map(|quoted| quoted.split_once("::"))
                .collect(),
        });
    }
    rows
}

/// What proves each law.
fn laws(text: &str) -> BTreeMap<&str, Vec<(&str, &str)>> {
    let mut laws = BTreeMap::new();
    for row in rows(text) {
        let before = laws.insert(row.law, row.tests);
        assert!(before.is_none(), "{} has two rows", row.law);
    }
    laws
}

/// Whether `source` has a function of that name with an attribute that makes it a test.
fn has_test(source: &str, name: &str) -> bool {
    let lines: Vec<_> = source.lines().map(str::trim_start).collect();
    let is_it = |line: &str| {
        let line = line.strip_prefix("async ").unwrap_or(line);
        line.strip_prefix("fn ")
            .and_then(|line| line.strip_prefix(name))
            .is_some_and(|rest| rest.starts_with('('))
    };
    lines.iter().enumerate().any(|(index, line)| {
        let mut above = lines[..index].iter().rev();
        is_it(line)
            && above
                .by_ref()
                .take_while(|line| line.starts_with("#[") || line.starts_with("//"))
                .any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
    })
}

#[test]
fn each_law_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("CONTRIBUTING.md")).unwrap();
    let (text, _) = text.split_once(BROKEN).unwrap();
    let laws = laws(text);
    let numbers = 1..=20;
    assert_eq!(laws.len(), numbers.clone().count(), "{:?}", laws.keys());
    let mut missing = Vec::new();
    for number in numbers {
        let law = format!("L{number}");
        let tests = &laws[&*law];
        assert!(!tests.is_empty(), "nothing proves {law}");
        for &(file, name) in tests {
            let source = fs::read_to_string(root.join(file)).unwrap_or_default();
            if !has_test(&source, name) {
                missing.push(format!("{law}: {file}::{name}"));
            }
        }
    }
    assert!(missing.is_empty(), "no such tests: {missing:#?}");
}

#[test]
fn each_law_is_broken_by_a_patch_that_its_test_notices() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join(".ci/mutations.d");
    if !folder.exists() {
        // The published package comes without it.
        return;
    }
    let text = fs::read_to_string(root.join("CONTRIBUTING.md")).unwrap();
    let (proofs, broken) = text.split_once(BROKEN).unwrap();
    let (proofs, broken) = (laws(proofs), rows(broken));
    let mut patches = Vec::new();
    for file in fs::read_dir(folder).unwrap() {
        let patch = fs::read_to_string(file.unwrap().path()).unwrap();
        let field = |name: &str| {
            let mut lines = patch.lines();
            let found = lines.find_map(|line| line.strip_prefix(name));
            found
                .unwrap_or_else(|| panic!("no {name} in {patch}"))
                .to_owned()
        };
        patches.push([field("Law: "), field("--- a/"), field("Noticed-by: ")]);
    }
    let mut told = Vec::new();
    for row in &broken {
        let Row { law, files, tests } = row;
        let [noticing] = tests[..] else {
            panic!("{law}: one test notices, and not {tests:?}")
        };
        assert!(
            proofs[law].contains(&noticing),
            "{noticing:?} does not prove {law}"
        );
        let file = files.first().expect("a file is broken");
        assert!(root.join(file).exists(), "{law}: {file}");
        let noticed_by = format!("{}::{}", noticing.0, noticing.1);
        told.push([(*law).to_owned(), (*file).to_owned(), noticed_by]);
    }
    patches.sort_unstable();
    told.sort_unstable();
    assert_eq!(patches, told);
    let is_broken = |law: &&str| broken.iter().any(|row| row.law == *law);
    assert!(proofs.keys().all(is_broken), "{:?}", proofs.keys());
}

#[test]
fn a_test_is_told_from_what_only_looks_like_one() {
    let source = "
        #[test]
        fn one() {}

        /// Says what it is.
        #[tokio::test(start_paused = true)]
        // And why.
        async fn two() {}

        fn helper() {}
    ";
    assert!(has_test(source, "one") && has_test(source, "two"));
    assert!(!has_test(source, "helper") && !has_test(source, "on") && !has_test(source, "three"));
}
