//! Answers that real APIs gave, each with a public source, and what a careful person reads off them.

#![allow(unreachable_pub)]

mod laws;
pub(super) mod read;
mod table;
mod tell;

use std::collections::BTreeMap;

/// What has to stay, so that nobody empties it by mistake.
const FEWEST_APIS: usize = 40;

#[test]
fn each_answer_reads_as_a_careful_person_would() {
    let apis = read::all();
    assert!(apis.len() >= FEWEST_APIS, "only {} APIs", apis.len());
    let entries = apis.iter().flat_map(|api| &api.entries);
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in entries {
        count += 1;
        let found = tell::reading(entry);
        if found != entry.reads {
            let (place, name, reads) = (&entry.place, &entry.name, &entry.reads);
            wrong.push(format!(
                "{place} ({name})\n  says  {reads}\n  read  {found}"
            ));
        }
    }
    println!("{count} answers of {} APIs", apis.len());
    let all = wrong.join("\n");
    assert!(
        wrong.is_empty(),
        "{} of {count} are misread:\n{all}",
        wrong.len()
    );
}

#[test]
fn each_api_has_one_file() {
    let mut names = BTreeMap::new();
    for api in read::all() {
        let place = api.entries[0].place.clone();
        if let Some(other) = names.insert(api.name.to_lowercase(), place.clone()) {
            panic!("{} is the name of two APIs: {other}, {place}", api.name);
        }
    }
}

#[test]
fn a_file_that_is_wrong_is_refused_with_its_line() {
    let head = "# An API\nsource: https://example.com\n\n";
    let wrong = |text: &str| read::api("a.http", text).unwrap_err();
    for (text, error) in [
        (
            "An API\n",
            "a.http:1: expected `# name of the API`, found \"An API\"",
        ),
        (
            "# An API\n",
            "a.http:1: expected an answer, found \"# An API\"",
        ),
        (
            "# An API\nsource: example\n",
            "a.http:2: expected a source that is an https address, found \"source: example\"",
        ),
        (
            &format!("{head}429\n"),
            "a.http:4: expected `### name of the answer`, found \"429\"",
        ),
        (
            &format!("{head}### a\nred: rate\n"),
            "a.http:5: expected one of [\"source\", \"dialect\", \"profile\", \"at\", \"reads\"], with a value, found \"red: rate\"",
        ),
        (
            &format!("{head}### a\nreads: rate\nreads: rate\n"),
            "a.http:6: expected `reads` only once, found \"reads: rate\"",
        ),
        (
            &format!("{head}### a\n\n429\n"),
            "a.http:5: expected `reads:` above, found \"\"",
        ),
        (
            "# An API\n\n### a\nreads: rate\n\n429\n",
            "a.http:5: expected `source:` above, or in the file's head, found \"\"",
        ),
        (
            &format!("{head}### a\nreads: rate\n\nx-a: b\n"),
            "a.http:7: expected a status, found \"x-a: b\"",
        ),
        (
            &format!("{head}### a\nreads: rate\n\n429\nX-A: b\n"),
            "a.http:8: expected a header, its name in lower case, found \"X-A: b\"",
        ),
        (
            &format!("{head}### a\nreads: rate\nprofile: Me\n\n429\n"),
            "a.http:4: expected the name of a profile",
        ),
        (
            &format!("{head}### a\nreads: rate\nat: noon\n\n429\n"),
            "a.http:4: expected `at:` as an HTTP date",
        ),
        (
            &format!("{head}### a\nreads: rate\n\n429\n\n### a\nreads: rate\n\n429\n"),
            "a.http:12: expected a name other than \"a\" before, found \"429\"",
        ),
    ] {
        assert_eq!(wrong(text), error);
    }
}
