//! The normal form of a path: one spelling for all that a server may take for the same endpoint.
//!
//! A limiter on the client's side errs dangerously in one direction only: when two spellings of one
//! endpoint get a bucket each, the server sees twice the limit. So this goes a little further than
//! RFC 3986, section 6.2.2, asks for, as most servers do: empty segments and a trailing slash do
//! not count either.

use std::borrow::Cow;

use super::segment::{all_of, split};

/// The path in its normal form; borrowed if that is how it came.
///
/// `*`, the target of `OPTIONS *`, is not a path and stays as it is.
pub(super) fn path(path: &str) -> Cow<'_, str> {
    if is_plain(path.as_bytes()) || is_normal(path.as_bytes()) || path == "*" {
        Cow::Borrowed(path)
    } else {
        Cow::Owned(rewrite(path))
    }
}

/// Appends a segment (or a part of one, as long as it cuts no escape in two) with its escapes in
/// normal form.
///
/// Only unreserved characters are decoded, so a `/` can come out of neither `%2F` nor anything
/// else. What no URI may contain unescaped, but `http::Uri` lets through, is escaped, and so is a
/// `%` that begins no escape: kept as it is, it could begin one once what follows it is decoded
/// (`%4%31`), and the normal form would not be normal.
pub(super) fn push_segment(out: &mut String, segment: &str) {
    let mut rest = segment.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match CLASS[usize::from(*byte)] {
            Class::Unreserved | Class::Delimiter => out.push(char::from(*byte)),
            Class::Percent => match escaped_byte(tail) {
                Some(byte) => {
                    rest = &tail[2..];
                    if CLASS[usize::from(byte)] == Class::Unreserved {
                        out.push(char::from(byte));
                    } else {
                        push_escape(out, byte);
                    }
                }
                None => push_escape(out, b'%'),
            },
            Class::Forbidden => push_escape(out, *byte),
        }
    }
}

/// Whether `path` is in normal form and not long, and consists of what nearly all paths do.
fn is_plain(path: &[u8]) -> bool {
    let fits = |byte: u8, next: u8| {
        let is_plain = matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'-'..=b';');
        is_plain && !(byte == b'/' && matches!(next, b'/' | b'.'))
    };
    matches!(path, [b'/', .., last] if *last != b'/') && all_of::<64>(path, fits)
}

/// Whether `path` is in normal form already, found out without touching the heap.
fn is_normal(path: &[u8]) -> bool {
    path == b"/" || are_normal_segments(path)
}

/// Whether this is one or more segments in normal form, a slash before each.
pub(super) fn are_normal_segments(path: &[u8]) -> bool {
    let mut rest = path;
    while let [b'/', tail @ ..] = rest {
        let (segment, tail) = split(tail);
        if !is_normal_segment(segment) {
            return false;
        }
        rest = tail;
    }
    rest.is_empty() && !path.is_empty()
}

/// Whether a segment could be one that does not count, in any spelling: empty, or one or two dots.
#[inline]
pub(super) fn may_vanish(segment: &[u8]) -> bool {
    matches!(segment, [] | [b'.' | b'%', ..])
}

/// Whether a segment can stand in a path in normal form.
pub(super) fn is_normal_segment(segment: &[u8]) -> bool {
    // Most segments are of nothing else, which a loop that looks for nothing else is quick to tell.
    let plain = |&byte: &u8| {
        let class = CLASS[usize::from(byte)];
        matches!(class, Class::Unreserved | Class::Delimiter)
    };
    let special = segment.iter().position(|byte| !plain(byte));
    special.is_none_or(|at| are_normal_escapes(&segment[at..]))
        && !matches!(segment, b"" | b"." | b"..")
}

/// Whether what there is apart from plain characters is escaped, and is to be.
fn are_normal_escapes(segment: &[u8]) -> bool {
    let mut rest = segment;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match CLASS[usize::from(*byte)] {
            Class::Unreserved | Class::Delimiter => {}
            Class::Percent => match escaped_byte(tail) {
                Some(byte)
                    if CLASS[usize::from(byte)] != Class::Unreserved
                        && !tail[..2].iter().any(u8::is_ascii_lowercase) =>
                {
                    rest = &tail[2..];
                }
                _ => return false,
            },
            Class::Forbidden => return false,
        }
    }
    true
}

fn rewrite(path: &str) -> String {
    let mut out = String::with_capacity(path.len() + 1);
    for segment in path.split('/') {
        let start = out.len();
        out.push('/');
        push_segment(&mut out, segment);
        match &out[start + 1..] {
            "" | "." => out.truncate(start),
            ".." => {
                out.truncate(start);
                // Above the root there is only the root.
                out.truncate(out.rfind('/').unwrap_or(0));
            }
            _ => {}
        }
    }
    if out.is_empty() {
        out.push('/');
    }
    out
}

/// What the two characters after a `%` stand for, if they are an escape.
fn escaped_byte(after_percent: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*after_percent.get(at)?).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

fn push_escape(out: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(DIGITS[usize::from(byte >> 4)]));
    out.push(char::from(DIGITS[usize::from(byte & 15)]));
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Letters, digits, `-._~`: the same whether escaped or not.
    Unreserved,
    /// What else a segment may contain unescaped: not the same as its escape.
    Delimiter,
    Percent,
    /// Everything that a segment may contain in escaped form only.
    Forbidden,
}

const CLASS: [Class; 256] = {
    let mut class = [Class::Forbidden; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        class[byte as usize] = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                Class::Unreserved
            }
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':'
            | b'@' => Class::Delimiter,
            b'%' => Class::Percent,
            _ => Class::Forbidden,
        };
        byte += 1;
    }
    class
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn normal(from: &str, to: &str) {
        assert_eq!(path(from), to, "{from}");
    }

    #[track_caller]
    fn untouched(as_it_is: &str) {
        assert!(matches!(path(as_it_is), Cow::Borrowed(same) if same == as_it_is));
    }

    #[test]
    fn most_paths_are_plain() {
        for path in [
            "/a",
            "/v1/text-to-speech/21m00Tcm4TlvDq8ikWAM",
            "/v1beta/models/x_1.5:run",
        ] {
            assert!(is_plain(path.as_bytes()), "{path}");
        }
        let long = format!("/{}", "a".repeat(64));
        for path in [
            "", "/", "a", "/a/", "//a", "/a//b", "/.a", "/a%20", "/a~", &long,
        ] {
            assert!(!is_plain(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn a_normal_path_is_borrowed() {
        untouched("/");
        untouched("/v1/text-to-speech/21m00Tcm4TlvDq8ikWAM/stream");
        untouched("/a.b/.well-known/..c/...");
        untouched("/v1/files/a%2Fb/%20");
        untouched("/v1beta/models/gemini:generate!$&'()*+,;=@~_");
        untouched("*");
    }

    #[test]
    fn unreserved_escapes_are_decoded_and_others_written_in_upper_case() {
        normal("/%7Euser/%61%2d%2E%5f", "/~user/a-._");
        normal("/a%2fb%c3%a9%3a", "/a%2Fb%C3%A9%3A");
        normal("/caf\u{e9}", "/caf%C3%A9");
        normal("/{\"a\"}|\\", "/%7B%22a%22%7D%7C%5C");
    }

    #[test]
    fn a_percent_sign_that_begins_no_escape_is_one_itself() {
        normal("/100%", "/100%25");
        normal("/100%25", "/100%25");
        normal("/%zz/%4", "/%25zz/%254");
        normal("/%4%31", "/%2541");
        normal("/%%41", "/%25A");
    }

    #[test]
    fn slashes_and_dot_segments_do_not_make_a_new_path() {
        normal("", "/");
        normal("//", "/");
        normal("/a/", "/a");
        normal("//a///b//", "/a/b");
        normal("/./a/./b/.", "/a/b");
        normal("/a/b/../c", "/a/c");
        normal("/a/b/..", "/a");
        normal("/a//../b", "/b");
        normal("/%2e/a/%2E%2e/.%2e/b", "/b");
        normal("/../../a", "/a");
        normal("/..", "/");
        normal("a/b", "/a/b");
    }

    proptest! {
        #[test]
        fn what_is_taken_as_it_is_would_be_written_so(text in "/[a-z]{0,12}([A-Z0-9_:%]|[/.]|[ -~]|é){0,4}[a-z0-9]{0,12}([/.]|[ -~]){0,2}") {
            prop_assert_eq!(is_normal(text.as_bytes()), rewrite(&text) == text, "{}", text);
        }

        #[test]
        fn the_normal_form_is_normal(text in "[/.%a-cA-C0-9é{*:]{0,24}|(/|[.]|%2[eEfF]|%|4|a){0,16}|.*") {
            let once = path(&text).into_owned();
            prop_assert!(matches!(path(&once), Cow::Borrowed(_)), "{} is not normal", once);
            prop_assert!(once == "*" || once.starts_with('/'));
        }

        #[test]
        fn what_is_plain_is_normal(text in "/?([/.%:;,a-cA-Z0-9_é{*~-]{0,12}|[a-z/._]{0,70})") {
            if is_plain(text.as_bytes()) {
                prop_assert!(is_normal(text.as_bytes()), "{} is not normal", text);
            }
        }

        #[test]
        fn escaping_what_needs_no_escape_changes_nothing(text in "[a-c.~_/-]{0,16}") {
            let mut escaped = String::new();
            for byte in text.bytes() {
                if byte == b'/' {
                    escaped.push('/');
                } else {
                    push_escape(&mut escaped, byte);
                }
            }
            prop_assert_eq!(path(&text), path(&escaped));
        }
    }
}
