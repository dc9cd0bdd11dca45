//! The fields `RateLimit` and `RateLimit-Policy` of the IETF drafts.
//!
//! Three grammars go by these names (draft-ietf-httpapi-ratelimit-headers):
//!
//! | drafts | `RateLimit` | `RateLimit-Policy` |
//! |---|---|---|
//! | -08 and later | `"default";r=50;t=30` | `"default";q=100;w=60` |
//! | -07 | `limit=100, remaining=50, reset=5` | `100;w=10` |
//! | -03 to -06 | `RateLimit-Limit` and others, see `x_ratelimit` | `100;w=10` |
//!
//! All are lists or dictionaries of structured fields (RFC 9651). A field that is malformed
//! anywhere, in any of its lines, is ignored as a whole, as the draft and the RFC demand.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

use crate::signal::{
    buckets::{Bucket, Buckets, Unit},
    dialect::Dialect,
    headers,
    known::Pattern,
    time,
};

pub(super) const RATELIMIT_FIELD: Dialect = Dialect {
    headers: &Pattern::all(["ratelimit"]),
    buckets: |answer| read(answer.headers()),
    ..Dialect::NONE
};

static RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
static POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// One member of a list or dictionary, with the parameters that the drafts define.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Member<'a> {
    /// A dictionary's key, or a list's item: a string without its quotes, a token, or a number.
    name: &'a str,
    /// Whether it is a dictionary's.
    keyed: bool,
    /// What a dictionary's key has, if that is a count.
    value: Option<u64>,
    quota: Option<u64>,
    window: Option<u64>,
    remaining: Option<u64>,
    reset: Option<u64>,
    unit: Unit,
}

/// What `RateLimit` says, with the limits and windows that `RateLimit-Policy` adds.
fn read(headers: &HeaderMap) -> Buckets<'_> {
    let mut buckets = Buckets::default();
    let mut dictionary = Bucket::default();
    let read = members(headers, &RATELIMIT, |member| {
        match (member.name, member.keyed) {
            ("limit", true) => dictionary.limit = member.value,
            ("remaining", true) => dictionary.remaining = member.value,
            ("reset", true) => dictionary.reset = member.value.and_then(seconds),
            (_, true) => {}
            (name, false) => {
                buckets.push(Bucket {
                    name,
                    remaining: member.remaining,
                    reset: member.reset.and_then(seconds),
                    ..Bucket::default()
                });
            }
        }
    });
    if read.is_none() {
        return Buckets::default();
    }
    if dictionary != Bucket::default() {
        buckets.push(dictionary);
    }
    describe(headers, &mut buckets);
    buckets
}

/// Adds what `RateLimit-Policy` says of the buckets: by name, or in the older grammars, which have no
/// names, by the limit. Buckets of every dialect profit.
pub(super) fn describe(headers: &HeaderMap, buckets: &mut Buckets<'_>) {
    if buckets.iter().next().is_none() || !headers.contains_key(&POLICY) {
        return;
    }
    if members(headers, &POLICY, |_| ()).is_none() {
        return;
    }
    let _ = members(headers, &POLICY, |policy| {
        let unnamed = policy.quota.is_none();
        let quota = policy.quota.or_else(|| policy.name.parse().ok());
        for bucket in buckets.iter_mut() {
            let meant = if unnamed {
                bucket.limit.is_some() && bucket.limit == quota
            } else {
                bucket.name == policy.name
            };
            if meant {
                bucket.limit = quota;
                if policy.unit != Unit::Requests {
                    bucket.unit = policy.unit;
                }
                bucket.period = bucket.period.or(policy.window.and_then(seconds));
            }
        }
    });
}

fn seconds(seconds: u64) -> Option<Duration> {
    time::wait(Duration::from_secs(seconds))
}

/// Passes each member of a field to `each`; `None` as soon as something is malformed.
fn members<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    mut each: impl FnMut(Member<'a>),
) -> Option<()> {
    for value in headers.get_all(name) {
        // A line is a list of its own: a string cannot go on in the next.
        let mut rest = headers::text(value)?.trim_matches([' ', '\t']);
        if rest.is_empty() {
            continue;
        }
        loop {
            each(member(&mut rest)?);
            rest = rest.trim_start_matches([' ', '\t']);
            if rest.is_empty() {
                break;
            }
            // A comma that nothing follows is malformed, which `member` finds.
            rest = rest.strip_prefix(',')?.trim_start_matches([' ', '\t']);
        }
    }
    Some(())
}

fn member<'a>(rest: &mut &'a str) -> Option<Member<'a>> {
    let mut member = Member {
        name: item(rest)?.text(),
        ..Member::default()
    };
    if let Some(tail) = rest.strip_prefix('=') {
        *rest = tail;
        member.keyed = true;
        member.value = item(rest)?.count();
        if member.value.is_none() && matches!(member.name, "limit" | "remaining" | "reset") {
            return None;
        }
    }
    while let Some(tail) = rest.strip_prefix(';') {
        *rest = tail.trim_start_matches(' ');
        let Item::Token(key) = item(rest)? else {
            return None;
        };
        let value = match rest.strip_prefix('=') {
            Some(tail) => {
                *rest = tail;
                Some(item(rest)?)
            }
            None => None,
        };
        let count = match value {
            Some(Item::Number(text)) => Some(text.parse().ok()),
            _ => None,
        };
        match key {
            // The drafts demand non-negative integers here; anything else is malformed.
            "q" => member.quota = Some(count??),
            "w" => member.window = Some(count??),
            "r" => member.remaining = Some(count??),
            "t" => member.reset = Some(count??),
            "qu" => {
                member.unit = match value?.text() {
                    "requests" => Unit::Requests,
                    "concurrent-requests" => Unit::InFlight,
                    _ => Unit::Other,
                }
            }
            // `pk` and what later drafts may add.
            _ => {}
        }
    }
    Some(member)
}

/// A bare item of a structured field, as far as it occurs here.
enum Item<'a> {
    /// The content of a string or byte sequence, escapes not decoded.
    Quoted(&'a str),
    Number(&'a str),
    Token(&'a str),
}

impl<'a> Item<'a> {
    fn text(self) -> &'a str {
        match self {
            Self::Quoted(text) | Self::Number(text) | Self::Token(text) => text,
        }
    }

    fn count(self) -> Option<u64> {
        match self {
            Self::Number(text) => text.parse().ok(),
            Self::Quoted(_) | Self::Token(_) => None,
        }
    }
}

fn item<'a>(rest: &mut &'a str) -> Option<Item<'a>> {
    let text = *rest;
    let (item, length) = match text.bytes().next()? {
        b'"' => {
            let mut escaped = false;
            let end = 1 + text[1..].bytes().position(|byte| {
                let closes = byte == b'"' && !escaped;
                escaped = byte == b'\\' && !escaped;
                closes
            })?;
            (Item::Quoted(&text[1..end]), end + 1)
        }
        // A byte sequence.
        b':' => {
            let end = 1 + text[1..].find(':')?;
            (Item::Quoted(&text[1..end]), end + 1)
        }
        b'0'..=b'9' | b'-' => {
            let end = 1 + span(&text[1..], |byte| byte.is_ascii_digit() || byte == b'.');
            (Item::Number(&text[..end]), end)
        }
        // A boolean.
        b'?' => (Item::Token(text.get(..2)?), 2),
        b'a'..=b'z' | b'A'..=b'Z' | b'*' => {
            let end = span(text, |byte| {
                byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte)
            });
            (Item::Token(&text[..end]), end)
        }
        _ => return None,
    };
    *rest = &text[length..];
    Some(item)
}

/// How many bytes from the start satisfy `belongs`, which only ASCII may.
fn span(text: &str, belongs: impl Fn(u8) -> bool) -> usize {
    text.bytes().take_while(|&byte| belongs(byte)).count()
}
