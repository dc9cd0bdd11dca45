//! Reads the corpus: what real APIs answer, one file each, as one would write it down.
//!
//! ```text
//! # Name of the API
//! source: https://where.it/can/be/seen
//!
//! ### name of the answer
//! reads: rate; wait 41s
//!
//! 429
//! content-type: application/json
//!
//! {"retry_after": 41}
//! ```
//!
//! Beside `reads` there may be `source` (else that of the file counts), `profile` (else `Standard`), `at`
//! (what the client's clock shows; it matters only where there is no `date` header) and `dialect` (what the
//! documentation calls it; without one it is not shown there). The parser is strict, since what it passed
//! over would not be tested.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tower_throttle::signal::Profile;

/// 2025-08-21T12:40:00Z.
const NOW: Duration = Duration::from_secs(1_755_780_000);

const ENTRY: &str = "### ";

pub const PROFILES: [Profile; 12] = [
    Profile::Standard,
    Profile::Anthropic,
    Profile::OpenAi,
    Profile::GitHub,
    Profile::Discord,
    Profile::Riot,
    Profile::Shopify,
    Profile::Google,
    Profile::Aws,
    Profile::Grpc,
    Profile::Stripe,
    Profile::Salesforce,
];

/// What one API answered, and what it says.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The file and the line at which it begins.
    pub place: String,
    pub name: String,
    pub source: String,
    /// What the documentation calls it, if it is shown there.
    pub dialect: Option<String>,
    pub profile: Profile,
    pub now: SystemTime,
    pub status: StatusCode,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: String,
    /// In the words of `tell`.
    pub reads: String,
}

impl Entry {
    pub fn header_map(&self) -> HeaderMap {
        self.headers.iter().cloned().collect()
    }
}

/// One file: an API and its answers.
#[derive(Debug)]
pub struct Api {
    pub name: String,
    pub entries: Vec<Entry>,
}

/// The whole corpus, by the names of the files.
pub fn all() -> Vec<Api> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/feedback/corpus/apis");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    let read = |path: &Path| {
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        let is_http = path.extension().is_some_and(|end| end == "http");
        assert!(is_http, "{file} does not end in .http");
        let text = fs::read_to_string(path).unwrap();
        api(&file, &text).unwrap_or_else(|error| panic!("tests/it/feedback/corpus/apis/{error}"))
    };
    files.iter().map(|path| read(path)).collect()
}

/// The lines of a file, and where they are.
struct Lines<'a> {
    file: &'a str,
    all: Vec<&'a str>,
    next: usize,
}

impl<'a> Lines<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.all.get(self.next).copied()
    }

    fn next(&mut self) -> Option<&'a str> {
        let line = self.peek()?;
        self.next += 1;
        Some(line)
    }

    fn skip_empty(&mut self) {
        while self.peek() == Some("") {
            self.next += 1;
        }
    }

    /// An error about the line that was read last.
    fn error(&self, expected: &str) -> String {
        let found = self.all.get(self.next.max(1) - 1).unwrap_or(&"");
        let (file, line) = (self.file, self.next.max(1));
        format!("{file}:{line}: expected {expected}, found {found:?}")
    }

    /// Lines `key: value` up to an empty one.
    fn notes(&mut self, known: &[&str]) -> Result<Vec<(&'a str, &'a str)>, String> {
        let mut notes = Vec::new();
        let mut seen = BTreeSet::new();
        while let Some(line) = self.next().filter(|line| !line.is_empty()) {
            let (key, value) = line
                .split_once(": ")
                .filter(|(key, value)| known.contains(key) && !value.trim().is_empty())
                .ok_or_else(|| self.error(&format!("one of {known:?}, with a value")))?;
            if !seen.insert(key) {
                return Err(self.error(&format!("`{key}` only once")));
            }
            if key == "source" && !value.starts_with("https://") {
                return Err(self.error("a source that is an https address"));
            }
            notes.push((key, value.trim()));
        }
        Ok(notes)
    }
}

fn find<'a>(notes: &[(&str, &'a str)], key: &str) -> Option<&'a str> {
    notes
        .iter()
        .find(|(of, _)| *of == key)
        .map(|(_, value)| *value)
}

/// Reads one file. An error names the file, the line, and what was expected.
pub fn api(file: &str, text: &str) -> Result<Api, String> {
    let mut lines = Lines {
        file,
        all: text.lines().collect(),
        next: 0,
    };
    let title = lines.next().and_then(|line| line.strip_prefix("# "));
    let name = title.ok_or_else(|| lines.error("`# name of the API`"))?;
    let notes = lines.notes(&["source"])?;
    let source = find(&notes, "source");
    let mut entries: Vec<Entry> = Vec::new();
    lines.skip_empty();
    while lines.peek().is_some() {
        let entry = entry(&mut lines, source)?;
        if entries.iter().any(|of| of.name == entry.name) {
            return Err(lines.error(&format!("a name other than {:?} before", entry.name)));
        }
        entries.push(entry);
    }
    if entries.is_empty() {
        return Err(lines.error("an answer"));
    }
    let name = name.to_owned();
    Ok(Api { name, entries })
}

fn entry(lines: &mut Lines<'_>, source: Option<&str>) -> Result<Entry, String> {
    let name = lines.next().and_then(|line| line.strip_prefix(ENTRY));
    let name = name.ok_or_else(|| lines.error("`### name of the answer`"))?;
    let place = format!("{}:{}", lines.file, lines.next);
    let notes = lines.notes(&["source", "dialect", "profile", "at", "reads"])?;
    let reads = find(&notes, "reads").ok_or_else(|| lines.error("`reads:` above"))?;
    let source = find(&notes, "source").or(source);
    let source = source.ok_or_else(|| lines.error("`source:` above, or in the file's head"))?;
    let profile = profile(find(&notes, "profile").unwrap_or("Standard"));
    let now = match find(&notes, "at") {
        None => Some(usual_time()),
        Some(at) => httpdate::parse_http_date(at).ok(),
    };
    let status = lines.next().and_then(|line| line.parse().ok());
    let status = status.ok_or_else(|| lines.error("a status"))?;
    let mut headers = Vec::new();
    while let Some(line) = lines.next().filter(|line| !line.is_empty()) {
        let header = line.split_once(": ").and_then(|(name, value)| {
            let is_plain = !name.chars().any(|c| c.is_ascii_uppercase());
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            Some((name, HeaderValue::from_str(value).ok()?)).filter(|_| is_plain)
        });
        headers.push(header.ok_or_else(|| lines.error("a header, its name in lower case"))?);
    }
    let mut body = Vec::new();
    while let Some(line) = lines.peek().filter(|line| !line.starts_with(ENTRY)) {
        body.push(line);
        lines.next += 1;
    }
    Ok(Entry {
        name: name.to_owned(),
        source: source.to_owned(),
        dialect: find(&notes, "dialect").map(str::to_owned),
        profile: profile.ok_or_else(|| format!("{place}: expected the name of a profile"))?,
        now: now.ok_or_else(|| format!("{place}: expected `at:` as an HTTP date"))?,
        status,
        headers,
        body: body.join("\n").trim().to_owned(),
        reads: reads.to_owned(),
        place,
    })
}

/// What the client's clock shows if nothing else is said.
pub fn usual_time() -> SystemTime {
    SystemTime::UNIX_EPOCH + NOW
}

fn profile(name: &str) -> Option<Profile> {
    let mut profiles = PROFILES.into_iter();
    profiles.find(|profile| format!("{profile:?}") == name)
}
