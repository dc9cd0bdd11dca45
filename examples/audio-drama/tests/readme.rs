//! What the README names is there.

use std::fs;

#[test]
fn each_test_that_the_readme_names_exists() {
    let root = env!("CARGO_MANIFEST_DIR");
    let readme = fs::read_to_string(format!("{root}/README.md")).unwrap();
    let mut tests = 0;
    let mut file = String::new();
    // Everything in backticks.
    for code in readme.split('`').skip(1).step_by(2) {
        let (path, test) = code.split_once("::").unwrap_or((code, ""));
        let is_test_name = !code.contains(['/', '.', ' ']) && code.matches('_').count() > 2;
        if path.starts_with("src/") || path.starts_with("tests/") {
            file =
                fs::read_to_string(format!("{root}/{path}")).unwrap_or_else(|_| panic!("{path}"));
        }
        let name = if is_test_name && test.is_empty() {
            code
        } else {
            test
        };
        if path.starts_with("tests/") && !test.is_empty() || is_test_name {
            assert!(file.contains(&format!("fn {name}()")), "{code}");
            tests += 1;
        }
    }
    assert!(tests >= 10, "only {tests}");
}
