//! The table of dialects in the documentation is made of the corpus.

use std::{collections::BTreeMap, env, fmt::Write, fs, path::Path};

use tower_throttle::signal::Profile;

use super::read::{self, Entry};

const FILE: &str = "src/signal/DIALECTS.md";
const BEGIN: &str = "<!-- Made by .ci/dialects of tests/corpus. -->";
const END: &str = "<!-- The end of what is made. -->";

fn table() -> String {
    let mut table = String::from("| Dialect | Profile | Answer | Reads as |\n|---|---|---|---|\n");
    let apis = read::all();
    let mut names = BTreeMap::new();
    for entry in apis.iter().flat_map(|api| &api.entries) {
        let Some(dialect) = &entry.dialect else {
            continue;
        };
        if let Some(other) = names.insert(dialect, &entry.place) {
            panic!("{dialect} is told twice: {other}, {}", entry.place);
        }
        let (place, usual) = (&entry.place, read::usual_time());
        assert_eq!(entry.now, usual, "{place}: the documentation shows no `at`");
        row(&mut table, dialect, entry);
    }
    assert!(names.len() >= 4 * 12, "the README promises dozens");
    table
}

fn row(table: &mut String, dialect: &str, entry: &Entry) {
    let mut answer = format!("`{}`", entry.status.as_u16());
    for (name, value) in &entry.headers {
        write!(answer, "<br>`{name}: {}`", value.to_str().unwrap()).unwrap();
    }
    if !entry.body.is_empty() {
        let lines = entry.body.lines().map(str::trim);
        let body = lines.collect::<Vec<_>>().join(" ");
        write!(answer, "<br>`{body}`").unwrap();
    }
    let profile = match entry.profile {
        Profile::Standard => String::new(),
        profile => format!("`{profile:?}`"),
    };
    let (source, reads) = (&entry.source, &entry.reads);
    let cells = [&*format!("[{dialect}]({source})"), &profile, &answer, reads];
    assert!(
        cells.iter().all(|cell| !cell.contains('|')),
        "{}",
        entry.place
    );
    writeln!(table, "| {} |", cells.join(" | ")).unwrap();
}

/// `.ci/dialects` sets the variable, which makes it write the table instead of checking it.
#[test]
fn the_documentation_has_the_table_that_the_corpus_makes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the table has a beginning");
    let (_, after) = rest.split_once(END).expect("the table has an end");
    let made = format!("{before}{BEGIN}\n\n{}\n{END}{after}", table());
    if env::var_os("WRITE_DIALECTS").is_some() {
        fs::write(&path, made).unwrap();
    } else {
        assert!(
            text == made,
            "{FILE} is not what the corpus makes: run .ci/dialects"
        );
    }
}
