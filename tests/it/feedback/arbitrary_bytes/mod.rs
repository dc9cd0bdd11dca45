//! Arbitrary bytes at every door: templates and routing, the answers of servers, requests to the mock.
//!
//! The same functions are fuzzed by `.ci/fuzz`, with the same corpus to begin with.

#![allow(unreachable_pub)]

mod entry;

use std::{collections::BTreeMap, env, fs, path::Path, sync::LazyLock};

use proptest::{collection::vec, prelude::*};

/// What real APIs answer; here it is only something to begin with.
use super::corpus::read as answers;

/// The inputs that are known to lead somewhere. Of answers those are here that no API gave.
fn read_corpus(entry: &str) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root
        .join("tests/it/feedback/arbitrary_bytes/corpus")
        .join(entry);
    let folder = path.display();
    let mut files: Vec<_> = fs::read_dir(&path)
        .unwrap_or_else(|error| panic!("{folder}: {error}"))
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{folder} is empty");
    let mut inputs: Vec<_> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    if entry == "answers" {
        let apis = answers::all();
        let real = apis.iter().flat_map(|api| &api.entries);
        inputs.extend(real.map(as_text));
    }
    inputs
}

/// As `entry::answers` reads it.
fn as_text(answer: &answers::Entry) -> Vec<u8> {
    let mut text = answer.status.as_str().as_bytes().to_vec();
    for (name, value) in &answer.headers {
        text.extend([b"\n", name.as_str().as_bytes(), b": ", value.as_bytes()].concat());
    }
    text.extend_from_slice(b"\n\n");
    text.extend_from_slice(answer.body.as_bytes());
    text
}

fn corpus(entry: &str) -> &'static [Vec<u8>] {
    type Corpora = BTreeMap<&'static str, Vec<Vec<u8>>>;
    static CORPORA: LazyLock<Corpora> = LazyLock::new(|| {
        let names = entry::ALL.into_iter().map(|(name, _)| name);
        names.map(|name| (name, read_corpus(name))).collect()
    });
    &CORPORA[entry]
}

#[test]
fn the_corpus_leads_nowhere_bad() {
    for (name, entry) in entry::ALL {
        for text in corpus(name) {
            entry(text);
        }
    }
}

/// `.ci/fuzz` names a folder, into which the corpus is written as a fuzzer reads it: an input a file.
#[test]
fn the_corpus_is_written_for_a_fuzzer_that_asks_for_it() {
    let Some(folder) = env::var_os("FUZZ_SEEDS") else {
        return;
    };
    for (name, _) in entry::ALL {
        let folder = Path::new(&folder).join(name);
        fs::create_dir_all(&folder).unwrap();
        for (number, input) in corpus(name).iter().enumerate() {
            fs::write(folder.join(number.to_string()), input).unwrap();
        }
    }
}

/// What is done to a text to make another one.
#[derive(Clone, Debug)]
enum Edit {
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    Replace(usize, u8),
    /// A part of it, or of another one, somewhere else.
    Copy(usize, usize, usize, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    // Marks of all the languages that are read here.
    let token = prop_oneof![
        vec(any::<u8>(), 1..6),
        "[-:;,=/{}*. \"\\[\\]\r\n%?#@0-9]{1,4}".prop_map(String::into_bytes),
        "[0-9]{1,25}|-1|1e9|NaN|inf|0x1|[0-9]{1,3}\\.[0-9]{1,9}".prop_map(String::into_bytes),
    ];
    let at = || any::<usize>();
    prop_oneof![
        (at(), token).prop_map(|(at, token)| Edit::Insert(at, token)),
        (at(), 1usize..20).prop_map(|(at, length)| Edit::Remove(at, length)),
        (at(), any::<u8>()).prop_map(|(at, byte)| Edit::Replace(at, byte)),
        (at(), at(), 1usize..40, at())
            .prop_map(|(of, from, length, to)| { Edit::Copy(of, from, length, to) }),
    ]
}

fn edited(corpus: &[Vec<u8>], of: usize, edits: &[Edit]) -> Vec<u8> {
    let mut text = corpus[of % corpus.len()].clone();
    for edit in edits {
        let place = |at: usize| at % (text.len() + 1);
        match edit {
            Edit::Insert(at, token) => {
                let at = place(*at);
                text.splice(at..at, token.iter().copied());
            }
            Edit::Remove(at, length) => {
                let at = place(*at);
                let end = (at + length).min(text.len());
                text.drain(at..end);
            }
            Edit::Replace(at, byte) => {
                let at = place(*at);
                if let Some(old) = text.get_mut(at) {
                    *old = *byte;
                }
            }
            Edit::Copy(of, from, length, to) => {
                let to = place(*to);
                let other = &corpus[of % corpus.len()];
                let from = from % (other.len() + 1);
                let end = (from + length).min(other.len());
                text.splice(to..to, other[from..end].iter().copied());
            }
        }
    }
    text
}

fn cases(n: u32) -> ProptestConfig {
    ProptestConfig {
        cases: std::env::var("PROPTEST_CASES")
            .ok()
            .and_then(|cases| cases.parse().ok())
            .unwrap_or(n),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn any_templates_and_any_request_find_their_endpoints(
        bytes in vec(any::<u8>(), 0..200), of in any::<usize>(), edits in vec(edit(), 0..8),
    ) {
        entry::templates(&bytes);
        entry::templates(&edited(corpus("templates"), of, &edits));
    }

    #[test]
    fn any_answer_is_understood_or_ignored(
        bytes in vec(any::<u8>(), 0..200), of in any::<usize>(), edits in vec(edit(), 0..8),
    ) {
        entry::answers(&bytes);
        entry::answers(&edited(corpus("answers"), of, &edits));
    }

    #[test]
    fn any_request_is_answered_by_the_mock(
        bytes in vec(any::<u8>(), 0..200), of in any::<usize>(), edits in vec(edit(), 0..8),
    ) {
        entry::mock(&bytes);
        entry::mock(&edited(corpus("mock"), of, &edits));
    }
}
