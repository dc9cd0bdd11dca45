//! The table of laws in CONTRIBUTING.md names the tests that prove them. They have to exist.

use std::{collections::BTreeMap, fs, path::Path};

/// The rows of the table: a law, and its tests as (file, name).
fn laws(text: &str) -> BTreeMap<&str, Vec<(&str, &str)>> {
    let mut laws = BTreeMap::new();
    for row in text.lines().filter(|line| line.starts_with("| L")) {
        let law = row.split('|').nth(1).expect("a table has cells").trim();
        // What stands between backticks is every other part.
        let quoted = row.split('`').skip(1).step_by(2);
        let tests = quoted.filter_map(|quoted| quoted.split_once("::"));
        let before = laws.insert(law, tests.collect());
        assert!(before.is_none(), "{law} has two rows");
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
    let laws = laws(&text);
    assert_eq!(laws.len(), 12, "{:?}", laws.keys());
    let mut missing = Vec::new();
    for number in 1..=12 {
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
