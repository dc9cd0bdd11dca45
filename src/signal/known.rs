//! [`Pattern`]: which headers a dialect reads. [`Known`]: a quick look at whether any dialect of a profile does.

use std::str;

use http::{HeaderName, header};

/// Names of headers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pattern {
    Exactly(&'static str),
    StartsWith(&'static str),
    Around(&'static str, &'static str),
}

impl Pattern {
    /// What ends in a hyphen is the beginning of names, and an asterisk stands for anything.
    pub(super) const fn new(text: &'static str) -> Self {
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            if bytes[at] == b'*' {
                let (start, rest) = bytes.split_at(at);
                let (_, end) = rest.split_at(1);
                return match (str::from_utf8(start), str::from_utf8(end)) {
                    (Ok(start), Ok(end)) => Self::Around(start, end),
                    _ => panic!("an asterisk is a character"),
                };
            }
            at += 1;
        }
        match bytes.last() {
            Some(b'-') => Self::StartsWith(text),
            _ => Self::Exactly(text),
        }
    }

    pub(super) const fn all<const N: usize>(texts: [&'static str; N]) -> [Self; N] {
        let mut all = [Self::Exactly(""); N];
        let mut at = 0;
        while at < N {
            all[at] = Self::new(texts[at]);
            at += 1;
        }
        all
    }

    pub(super) fn matches(self, name: &str) -> bool {
        match self {
            Self::Exactly(text) => name == text,
            Self::StartsWith(start) => name.starts_with(start),
            Self::Around(start, end) => name.starts_with(start) && name.ends_with(end),
        }
    }
}

/// The beginnings and ends of the names that some patterns match. Every answer pays for each of its
/// headers, and few have one of these: so names that `http` has a constant for are told by that, most others by their
/// first letter, and nearly all of the rest by their first four. A name that passes need not match.
pub(super) struct Known {
    /// The first letters of all names, a bit each.
    letters: u32,
    /// The hashes of the first four letters of names that begin as a pattern does, a bit each.
    starts: u64,
    /// The last letters of names of which a pattern leaves the middle open, a bit each.
    ends: u32,
}

/// How many letters of a name are looked at; no pattern that fixes the beginning fixes less of it.
const START: usize = 4;

impl Known {
    pub(super) const NONE: Self = Self {
        letters: 0,
        starts: 0,
        ends: 0,
    };

    pub(super) const fn and(mut self, patterns: &[Pattern]) -> Self {
        let mut at = 0;
        while at < patterns.len() {
            let (Pattern::Exactly(start) | Pattern::StartsWith(start) | Pattern::Around(start, _)) =
                patterns[at];
            let start = start.as_bytes();
            self.letters |= bit(start[0]);
            match patterns[at] {
                Pattern::Exactly(_) | Pattern::StartsWith(_) => {
                    self.starts |=
                        place(u32::from_le_bytes([start[0], start[1], start[2], start[3]]));
                }
                Pattern::Around(_, end) => {
                    assert!(end.len() >= START, "names are longer");
                    self.ends |= bit(end.as_bytes()[end.len() - 1]);
                }
            }
            at += 1;
        }
        self
    }

    /// Whether a pattern may match a name. None does if not.
    #[inline]
    pub(super) fn may_match(&self, name: &HeaderName) -> bool {
        if is_constant(name) {
            return false;
        }
        let name = name.as_str().as_bytes();
        let (Some(&start), Some(&last)) = (name.first_chunk::<START>(), name.last()) else {
            return false;
        };
        let start = u32::from_le_bytes(start);
        self.letters & 1 << (start & 31) != 0
            && (self.starts & place(start) != 0 || self.ends & bit(last) != 0)
    }
}

macro_rules! constants {
    ($($known:ident)+) => {
        /// Whether `http` has a constant of this name. No pattern matches one of these.
        #[inline]
        fn is_constant(name: &HeaderName) -> bool {
            // One by one, so that the compiler makes one comparison of it. With all of them that is a look whether
            // the name is a constant; without some, one more into a table.
            false $(|| *name == header::$known)+
        }

        #[cfg(test)]
        pub(super) const CONSTANTS: &[HeaderName] = &[$(header::$known),+];
    };
}

constants! {
    ACCEPT ACCEPT_CHARSET ACCEPT_ENCODING ACCEPT_LANGUAGE ACCEPT_RANGES ACCESS_CONTROL_ALLOW_CREDENTIALS
    ACCESS_CONTROL_ALLOW_HEADERS ACCESS_CONTROL_ALLOW_METHODS ACCESS_CONTROL_ALLOW_ORIGIN
    ACCESS_CONTROL_EXPOSE_HEADERS ACCESS_CONTROL_MAX_AGE ACCESS_CONTROL_REQUEST_HEADERS
    ACCESS_CONTROL_REQUEST_METHOD AGE ALLOW ALT_SVC AUTHORIZATION CACHE_CONTROL CACHE_STATUS
    CDN_CACHE_CONTROL CONNECTION CONTENT_DISPOSITION CONTENT_ENCODING CONTENT_LANGUAGE CONTENT_LENGTH
    CONTENT_LOCATION CONTENT_RANGE CONTENT_SECURITY_POLICY CONTENT_SECURITY_POLICY_REPORT_ONLY
    CONTENT_TYPE COOKIE DNT DATE ETAG EXPECT EXPIRES FORWARDED FROM HOST IF_MATCH IF_MODIFIED_SINCE
    IF_NONE_MATCH IF_RANGE IF_UNMODIFIED_SINCE LAST_MODIFIED LINK LOCATION MAX_FORWARDS ORIGIN PRAGMA
    PROXY_AUTHENTICATE PROXY_AUTHORIZATION PUBLIC_KEY_PINS PUBLIC_KEY_PINS_REPORT_ONLY RANGE REFERER
    REFERRER_POLICY REFRESH RETRY_AFTER SEC_WEBSOCKET_ACCEPT SEC_WEBSOCKET_EXTENSIONS SEC_WEBSOCKET_KEY
    SEC_WEBSOCKET_PROTOCOL SEC_WEBSOCKET_VERSION SERVER SET_COOKIE STRICT_TRANSPORT_SECURITY TE TRAILER
    TRANSFER_ENCODING USER_AGENT UPGRADE UPGRADE_INSECURE_REQUESTS VARY VIA WARNING WWW_AUTHENTICATE
    X_CONTENT_TYPE_OPTIONS X_DNS_PREFETCH_CONTROL X_FRAME_OPTIONS X_XSS_PROTECTION
}

/// A bit for a letter. Others share it, since there are more than 32.
const fn bit(letter: u8) -> u32 {
    1 << (letter & 31)
}

/// A bit for the beginning of a name. Others share it.
const fn place(start: u32) -> u64 {
    // An odd number with which none of the names that are met most often shares a bit with a pattern.
    1 << (start.wrapping_mul(0x0AF7_BD1D) >> 26)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATTERNS: [Pattern; 4] =
        Pattern::all(["ratelimit", "x-ratelimit-", "x-app-", "x-*-remaining"]);
    const KNOWN: Known = Known::NONE.and(&PATTERNS);

    fn may_match(name: &str) -> bool {
        KNOWN.may_match(&HeaderName::from_bytes(name.as_bytes()).unwrap())
    }

    #[test]
    fn patterns() {
        let matching = |name: &str| {
            let matches = PATTERNS.map(|pattern| pattern.matches(name));
            matches.iter().position(|&matches| matches)
        };
        assert_eq!(matching("ratelimit"), Some(0));
        assert_eq!(matching("ratelimit-policy"), None);
        assert_eq!(matching("x-ratelimit-"), Some(1));
        assert_eq!(matching("x-app-limit-24hour-remaining"), Some(2));
        assert_eq!(matching("x-calls-remaining"), Some(3));
        assert_eq!(matching("x-calls-remaining-2"), None);
        assert_eq!(matching("calls-remaining"), None);
    }

    #[test]
    fn a_name_that_matches_passes() {
        for name in [
            "ratelimit",
            "x-ratelimit-limit",
            "x-app-",
            "x-remaining",
            "x-calls-remaining",
        ] {
            assert!(may_match(name), "{name}");
        }
    }

    #[test]
    fn frequent_names_do_not_pass() {
        for name in [
            "a",
            "abc",
            "x-a",
            "date",
            "content-type",
            "content-security-policy",
            "cache-control",
            "cf-ray",
            "cf-cache-status",
            "character-cost",
            "referrer-policy",
            "request-id",
            "retry-after",
            "x-amzn-requestid",
            "x-cache",
            "x-content-type-options",
            "x-envoy-upstream-service-time",
            "x-frame-options",
            "x-goog-api-version",
            "x-request-id",
        ] {
            assert!(!may_match(name), "{name}");
        }
    }
}
