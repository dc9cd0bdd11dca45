//! Where a request goes, in normal form: its host and port, without who asks.

use std::{
    borrow::Cow,
    fmt::{self, Write},
    net::Ipv6Addr,
};

use http::{header, uri::Scheme};

use super::segment::all_of;
use crate::request_head::RequestHead;

const HTTP: u16 = 80;
const HTTPS: u16 = 443;

/// A request's host and port.
#[derive(Clone, Debug)]
pub(super) struct Authority<'a> {
    /// The host and port as they were written, from which [`Authority::key`] borrows.
    text: &'a str,
    host: Cow<'a, str>,
    port: Option<u16>,
    /// The ports that an absent one can stand for.
    defaults: &'static [u16],
}

impl<'a> Authority<'a> {
    /// The URI's authority, otherwise the `Host` header's, otherwise none.
    pub(super) fn of(head: &RequestHead<'a>) -> Option<Self> {
        Self::new(written(head)?, head.uri().scheme())
    }

    /// The [`key`](Self::key) of a request's authority, empty if there is none.
    pub(super) fn key_of(head: &RequestHead<'a>) -> Cow<'a, str> {
        match written(head) {
            Some(text) if is_plain(text) => Cow::Borrowed(text),
            _ => Self::of(head).map_or(Cow::Borrowed(""), Self::key),
        }
    }

    fn new(text: &'a str, scheme: Option<&Scheme>) -> Option<Self> {
        let defaults: &[u16] = match scheme.map(Scheme::as_str) {
            Some("http" | "ws") => &[HTTP],
            Some("https" | "wss") => &[HTTPS],
            _ => &[HTTPS, HTTP],
        };
        let authority = |text, host, port| Self {
            text,
            host,
            port,
            defaults,
        };
        if is_plain(text) {
            return Some(authority(text, Cow::Borrowed(text), None));
        }
        let text = text.rsplit_once('@').map_or(text, |(_, text)| text);
        let (host, port) = split_port(text);
        let host = normal_host(host);
        // A colon that is left outside of brackets belongs to something that is no port.
        let valid = match host.strip_prefix('[') {
            Some(address) => address.ends_with(']'),
            None => !host.is_empty() && !host.contains(':'),
        };
        valid.then(|| authority(text, host, port))
    }

    /// The host, without a port; in normal form.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// The ports this can mean: the one it names, or else those its scheme stands for.
    pub(super) fn ports(&self) -> impl Iterator<Item = u16> {
        let defaults = if self.port.is_some() {
            &[]
        } else {
            self.defaults
        };
        self.port.into_iter().chain(defaults.iter().copied())
    }

    /// The host, and the port unless the scheme implies it. Contains no `/`.
    pub(super) fn key(self) -> Cow<'a, str> {
        let Some(port) = self.port.filter(|port| !self.defaults.contains(port)) else {
            return self.host;
        };
        // Borrowed if the text is the normal form itself. It starts with the host (if that is
        // borrowed) and ends in the port, so only the length between is left to compare.
        let digits = port.checked_ilog10().unwrap_or(0) as usize + 1;
        match self.host {
            Cow::Borrowed(host) if self.text.len() == host.len() + ":".len() + digits => {
                Cow::Borrowed(self.text)
            }
            host => Cow::Owned(format!("{host}:{port}")),
        }
    }
}

/// What is written where a request names its host.
fn written<'a>(head: &RequestHead<'a>) -> Option<&'a str> {
    match head.uri().authority() {
        Some(authority) => Some(authority.as_str()),
        None => from_host_header(head),
    }
}

/// Whether this is a host in normal form and nothing else, and not long, which is how most are written.
fn is_plain(text: &str) -> bool {
    let fits = |byte: u8, _| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
    !text.is_empty() && !text.ends_with('.') && all_of::<32>(text.as_bytes(), fits)
}

/// The host in lower case, without the dot at its end that makes it absolute, and an IPv6 address
/// in its shortest form.
pub(super) fn normal_host(host: &str) -> Cow<'_, str> {
    let host = host.trim_end_matches('.');
    let address = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .and_then(|host| host.parse::<Ipv6Addr>().ok());
    if let Some(address) = address {
        return if is_written(format_args!("[{address}]"), host) {
            Cow::Borrowed(host)
        } else {
            Cow::Owned(format!("[{address}]"))
        };
    }
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

/// `host`, `host:`, `host:port` or `[::1]:port`. What is no port is left to the host, and so is what
/// follows the last colon of an address: the bracket at its end is no digit.
pub(super) fn split_port(text: &str) -> (&str, Option<u16>) {
    match text.rsplit_once(':') {
        Some((host, "")) => (host, None),
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            port.parse().map_or((text, None), |port| (host, Some(port)))
        }
        _ => (text, None),
    }
}

/// A `Host` header can hold any bytes; one that could not be an authority is as good as none.
fn from_host_header<'a>(head: &RequestHead<'a>) -> Option<&'a str> {
    let host = head.headers().get(header::HOST)?.to_str().ok()?;
    host.bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"/\\?#@*".contains(&byte))
        .then_some(host)
}

/// Whether `value` is written as `text`, found out without writing it to the heap.
fn is_written(value: fmt::Arguments<'_>, text: &str) -> bool {
    struct Rest<'a>(&'a str);

    impl Write for Rest<'_> {
        fn write_str(&mut self, written: &str) -> fmt::Result {
            self.0 = self.0.strip_prefix(written).ok_or(fmt::Error)?;
            Ok(())
        }
    }

    let mut rest = Rest(text);
    rest.write_fmt(value).is_ok() && rest.0.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use proptest::prelude::*;

    #[track_caller]
    fn key(uri: &str, host: Option<&str>) -> String {
        let mut request = Request::get(uri);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let request = request.body(()).unwrap();
        let head = RequestHead::from(&request);
        let found = Authority::of(&head).map(Authority::key);
        assert_eq!(Authority::key_of(&head), found.clone().unwrap_or_default());
        found.map_or_else(|| "none".to_owned(), Cow::into_owned)
    }

    #[test]
    fn the_uri_speaks_before_the_host_header() {
        assert_eq!(key("http://a.example/", Some("b.example")), "a.example");
        assert_eq!(key("/", Some("b.example")), "b.example");
        assert_eq!(key("/", None), "none");
    }

    #[test]
    fn a_host_header_that_is_no_authority_is_none() {
        for host in ["", " ", "a/b", "a b", "u@a", "a?", "a#", "*", "\\", "."] {
            assert_eq!(key("/", Some(host)), "none", "{host}");
        }
    }

    #[test]
    fn letter_case_userinfo_and_the_final_dot_do_not_count() {
        assert_eq!(key("http://API.Example/", None), "api.example");
        assert_eq!(key("http://user:pa%40ss@api.example/", None), "api.example");
        assert_eq!(key("http://api.example./", None), "api.example");
        assert_eq!(key("http://API.example.:8080/", None), "api.example:8080");
    }

    #[test]
    fn only_the_default_port_of_the_scheme_goes() {
        assert_eq!(key("http://a:80/", None), "a");
        assert_eq!(key("http://a:443/", None), "a:443");
        assert_eq!(key("https://a:443/", None), "a");
        assert_eq!(key("https://a:80/", None), "a:80");
        assert_eq!(key("wss://a:443/", None), "a");
        assert_eq!(key("other://a:80/", None), "a");
        assert_eq!(key("/", Some("a:443")), "a");
        assert_eq!(key("/", Some("a:80")), "a");
        assert_eq!(key("/", Some("a:8080")), "a:8080");
    }

    #[test]
    fn odd_ports_make_no_new_key() {
        assert_eq!(key("/", Some("a:")), "a");
        assert_eq!(key("/", Some("a:08080")), "a:8080");
        assert_eq!(key("/", Some("a:080")), "a");
        assert_eq!(key("/", Some("a:0")), "a:0");
    }

    #[test]
    fn what_has_no_good_port_is_no_host() {
        for host in [
            "a:+80", "a:65536", "a:b", "a:80.", "a::80", ":80:80", "[::1]:x", "[::1",
        ] {
            assert_eq!(key("/", Some(host)), "none", "{host}");
        }
    }

    #[test]
    fn an_ipv6_address_has_one_spelling() {
        assert_eq!(key("http://[::1]/", None), "[::1]");
        assert_eq!(key("http://[::1]:80/", None), "[::1]");
        assert_eq!(key("http://[0:0:0:0:0:0:0:1]:8080/", None), "[::1]:8080");
        assert_eq!(key("http://[FE80::A]/", None), "[fe80::a]");
    }

    #[test]
    fn a_normal_key_is_borrowed() {
        for text in ["api.example", "api.example:8080", "[::1]", "[::1]:9", "a:0"] {
            let key = Authority::new(text, Some(&Scheme::HTTP)).unwrap().key();
            assert!(matches!(key, Cow::Borrowed(key) if key == text), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]

        #[test]
        fn the_key_of_a_key_is_itself(text in "[a-cA-C.:0-9@\\[\\]]{0,12}|\\[[0-9A-Fa-f:]{2,12}\\](:[0-9]{0,6})?") {
            for scheme in [None, Some(&Scheme::HTTP), Some(&Scheme::HTTPS)] {
                if let Some(authority) = Authority::new(&text, scheme) {
                    let key = authority.key();
                    let again = Authority::new(&key, scheme).map(Authority::key);
                    prop_assert_eq!(again.as_ref(), Some(&key));
                }
            }
        }
    }
}
