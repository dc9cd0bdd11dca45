//! What holds for the answers of the corpus whatever becomes of them on their way.

use std::{
    sync::LazyLock,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use proptest::prelude::*;
use tower_throttle::signal::{Answer, Classify, MAX_RETRY_AFTER, Profile};

use super::{
    read::{self, Entry, PROFILES},
    tell,
};

/// An answer that may have been altered.
#[derive(Clone, Debug)]
struct Altered {
    profile: Profile,
    now: SystemTime,
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Vec<u8>,
}

impl Altered {
    fn new(entry: &Entry) -> Self {
        Self {
            profile: entry.profile,
            now: entry.now,
            status: entry.status,
            headers: entry.headers.clone(),
            body: entry.body.clone().into_bytes(),
        }
    }

    fn with<T>(&self, look: impl FnOnce(&Answer<'_>) -> T) -> T {
        let headers: HeaderMap = self.headers.iter().cloned().collect();
        let head = Answer::new(self.status, &headers, self.now);
        look(&tell::seen(self.profile, head, &self.body))
    }

    fn reading(&self) -> String {
        self.with(|answer| tell::tell(self.profile, answer))
    }
}

static ENTRIES: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let apis = read::all().into_iter();
    apis.flat_map(|api| api.entries).collect()
});

#[test]
fn the_order_of_headers_is_no_matter() {
    for entry in &*ENTRIES {
        let mut altered = Altered::new(entry);
        altered.headers.reverse();
        assert_eq!(altered.reading(), entry.reads, "{}", entry.place);
    }
}

#[test]
fn a_header_that_comes_twice_says_the_same() {
    for entry in &*ENTRIES {
        for at in 0..entry.headers.len() {
            let mut altered = Altered::new(entry);
            let again = altered.headers[at].clone();
            altered.headers.push(again);
            assert_eq!(
                altered.reading(),
                entry.reads,
                "{} {:?}",
                entry.place,
                entry.headers[at]
            );
        }
    }
}

#[test]
fn numbers_that_are_no_delay_are_not_read_as_one() {
    const HEADERS: [(&str, &str); 11] = [
        ("alt-svc", "h3=\":443\"; ma=86400"),
        ("cache-control", "private, max-age=60"),
        ("content-length", "300"),
        ("etag", "\"120\""),
        ("keep-alive", "timeout=600, max=100"),
        ("server-timing", "total;dur=120"),
        ("strict-transport-security", "max-age=31536000"),
        ("x-envoy-upstream-service-time", "30"),
        ("x-request-id", "1755780060"),
        ("x-response-time", "35ms"),
        ("x-runtime", "0.35"),
    ];
    const MEMBERS: &str = r#""request_id": "req_120", "took": 35, "port": 8080, "created": 1755780060, "attempts": 3, "#;
    for entry in &*ENTRIES {
        let mut altered = Altered::new(entry);
        for (name, value) in HEADERS {
            if !altered.headers.iter().any(|(of, _)| of == name) {
                let value = HeaderValue::from_static(value);
                altered
                    .headers
                    .insert(0, (HeaderName::from_static(name), value));
            }
        }
        if let Some(rest) = entry.body.strip_prefix('{') {
            altered.body = format!("{{{MEMBERS}{rest}").into_bytes();
        }
        assert_eq!(altered.reading(), entry.reads, "{}", entry.place);
    }
}

#[test]
fn json_says_the_same_however_it_is_laid_out() {
    for entry in &*ENTRIES {
        let Ok(value) = serde_json::from_str::<serde_json::Value>(&entry.body) else {
            continue;
        };
        let read = |body: String| {
            let mut altered = Altered::new(entry);
            altered.body = body.into_bytes();
            altered.reading()
        };
        let compact = read(value.to_string());
        assert_eq!(compact, read(format!("{value:#}")), "{}", entry.place);
    }
}

#[test]
fn an_ordinary_error_is_never_a_refusal() {
    let ordinary = (100..600)
        .filter(|status| ![401, 402, 403, 418, 420, 429, 430, 503, 509, 529].contains(status));
    for status in ordinary {
        for entry in ENTRIES.iter().step_by(7) {
            let mut altered = Altered::new(entry);
            altered.profile = Profile::Standard;
            altered.status = StatusCode::from_u16(status).unwrap();
            let signal = altered.with(|answer| Profile::Standard.classify(answer));
            assert_eq!(signal, None, "{} with a {status}", entry.place);
        }
    }
}

/// What may happen to an answer, or what another server would have sent.
#[derive(Clone, Debug)]
enum Edit {
    Drop(usize),
    Swap(usize, usize),
    /// A header of another answer.
    Graft(usize, usize),
    Truncate(usize),
    Flip(usize, u8),
    /// Another number in the place of one in a header.
    Number(usize, String),
    /// The same in the body.
    BodyNumber(usize, String),
    Status(u16),
    Profile(usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = || any::<usize>();
    let number = || "0|-1|[0-9]{1,22}|[0-9]{1,3}\\.[0-9]{1,9}|1e[0-9]{1,3}|NaN";
    let status = prop_oneof![
        Just(429_u16),
        Just(503),
        Just(403),
        Just(402),
        Just(200),
        100_u16..1000
    ];
    prop_oneof![
        at().prop_map(Edit::Drop),
        (at(), at()).prop_map(|(one, other)| Edit::Swap(one, other)),
        (at(), at()).prop_map(|(of, at)| Edit::Graft(of, at)),
        at().prop_map(Edit::Truncate),
        (at(), any::<u8>()).prop_map(|(at, byte)| Edit::Flip(at, byte)),
        (at(), number()).prop_map(|(at, number)| Edit::Number(at, number)),
        (at(), number()).prop_map(|(at, number)| Edit::BodyNumber(at, number)),
        status.prop_map(Edit::Status),
        at().prop_map(Edit::Profile),
    ]
}

fn apply(altered: &mut Altered, edit: &Edit) {
    let within = |at: usize, len: usize| at.checked_rem(len);
    let (headers, body) = (&mut altered.headers, &mut altered.body);
    match edit {
        Edit::Drop(at) => {
            if let Some(at) = within(*at, headers.len()) {
                headers.remove(at);
            }
        }
        Edit::Swap(one, other) => {
            let places = within(*one, headers.len()).zip(within(*other, headers.len()));
            if let Some((one, other)) = places {
                let value = headers[one].1.clone();
                headers[one].1 = std::mem::replace(&mut headers[other].1, value);
            }
        }
        Edit::Graft(of, at) => {
            let of = &ENTRIES[of % ENTRIES.len()].headers;
            headers.extend(within(*at, of.len()).map(|at| of[at].clone()));
        }
        Edit::Truncate(at) => body.truncate(at % (body.len() + 1)),
        Edit::Flip(at, byte) => {
            if let Some(at) = within(*at, body.len()) {
                body[at] ^= byte;
            }
        }
        Edit::Number(at, number) => {
            if let Some(at) = within(*at, headers.len()) {
                let value = String::from_utf8_lossy(headers[at].1.as_bytes()).into_owned();
                let value = with_number(&value, at, number);
                if let Ok(value) = HeaderValue::from_str(&value) {
                    headers[at].1 = value;
                }
            }
        }
        Edit::BodyNumber(at, number) => {
            let text = String::from_utf8_lossy(body).into_owned();
            *body = with_number(&text, *at, number).into_bytes();
        }
        Edit::Status(status) => altered.status = StatusCode::from_u16(*status).unwrap(),
        Edit::Profile(at) => altered.profile = PROFILES[at % PROFILES.len()],
    }
}

/// The text with another number in the place of one of its numbers.
fn with_number(text: &str, which: usize, number: &str) -> String {
    let is_digit = |at: usize| text.as_bytes()[at].is_ascii_digit();
    let starts = (0..text.len()).filter(|&at| is_digit(at) && (at == 0 || !is_digit(at - 1)));
    let starts: Vec<_> = starts.collect();
    let Some(at) = which.checked_rem(starts.len()).map(|at| starts[at]) else {
        return text.to_owned();
    };
    let end = (at..text.len())
        .find(|&end| !is_digit(end))
        .unwrap_or(text.len());
    format!("{}{number}{}", &text[..at], &text[end..])
}

fn is_a_delay(time: Option<Duration>) -> bool {
    time.is_none_or(|time| !time.is_zero() && time <= MAX_RETRY_AFTER)
}

/// What holds for every answer there is.
fn check(altered: &Altered) {
    let (profile, status) = (altered.profile, altered.status.as_u16());
    altered.with(|answer| {
        let signal = profile.classify(answer);
        // A profile may know that a 429 is about something else.
        let knows_more = matches!(profile, Profile::Stripe | Profile::Grpc);
        assert!(status != 429 || knows_more || signal.is_some());
        assert!(!answer.status().is_success() || profile == Profile::Grpc || signal.is_none());
        if let Some(signal) = signal {
            assert!(is_a_delay(signal.retry_after()), "{signal:?}");
            assert!(is_a_delay(signal.period()), "{signal:?}");
            assert_ne!(signal.rate_limit(), Some(0), "{signal:?}");
            assert_ne!(signal.concurrency_limit(), Some(0), "{signal:?}");
        }
        if let Some(report) = profile.quota(answer) {
            assert!(is_a_delay(report.reset()), "{report:?}");
            assert!(is_a_delay(report.period()), "{report:?}");
            assert!(is_a_delay(report.spacing()), "{report:?}");
            assert_ne!(report.maximum_concurrency(), Some(0), "{report:?}");
        }
    });
}

fn cases(n: u32) -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(n)
    }
}

/// Where the last of the values ends that a cut at `end` leaves whole: a word, a number or a string that is cut
/// through was never there.
fn last_whole(body: &[u8], end: usize) -> usize {
    let is_in_value = |byte: &u8| byte.is_ascii_alphanumeric() || b"-+._".contains(byte);
    let cut = body[..end]
        .iter()
        .rev()
        .take_while(|byte| is_in_value(byte));
    end - cut.count()
}

proptest! {
    #![proptest_config(cases(1_500))]

    #[test]
    fn whatever_becomes_of_an_answer_its_reading_is_in_bounds(
        of in any::<usize>(), edits in prop::collection::vec(edit(), 1..6),
    ) {
        let mut altered = Altered::new(&ENTRIES[of % ENTRIES.len()]);
        for edit in &edits {
            apply(&mut altered, edit);
        }
        check(&altered);
    }

    /// So a delay is never longer, and never another one, because its number or its unit was cut short.
    #[test]
    fn json_that_is_cut_within_a_value_reads_as_if_cut_before_it(
        of in any::<usize>(), at in any::<usize>(),
    ) {
        let is_json = |entry: &&Entry| entry.body.starts_with(['{', '[']);
        let json: Vec<_> = ENTRIES.iter().filter(is_json).collect();
        let entry = json[of % json.len()];
        let end = at % entry.body.len();
        let read = |end: usize| {
            let mut altered = Altered::new(entry);
            altered.body.truncate(end);
            altered.reading()
        };
        prop_assert_eq!(read(end), read(last_whole(entry.body.as_bytes(), end)));
    }

    #[test]
    fn another_retry_after_is_another_delay(of in any::<usize>(), seconds in 1_u64..86_400) {
        let is_seconds = |(name, value): &(HeaderName, HeaderValue)| {
            name == "retry-after" && value.as_bytes().iter().all(u8::is_ascii_digit)
        };
        let has_one = |entry: &&Entry| {
            let milliseconds = entry.headers.iter().any(|(name, _)| name.as_str().ends_with("-ms"));
            entry.headers.iter().any(is_seconds) && !milliseconds && !entry.status.is_success()
        };
        let some: Vec<_> = ENTRIES.iter().filter(has_one).collect();
        let mut altered = Altered::new(some[of % some.len()]);
        for header in altered.headers.iter_mut().filter(|header| is_seconds(header)) {
            header.1 = seconds.into();
        }
        let delay = altered.with(|answer| altered.profile.classify(answer)?.retry_after());
        prop_assert_eq!(delay, Some(Duration::from_secs(seconds)));
    }
}
