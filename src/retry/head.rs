use http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version,
    uri::{Authority, PathAndQuery, Scheme},
};
use tokio::time::Instant;

use super::policy::Facts;

/// A request without its body, copied before it is sent.
///
/// Every request pays for the copy and few need it, so that copying is what has to be cheap. Field by
/// field, since to take a request apart and put it together again, which is how a whole head can be
/// cloned, moves it four times.
pub(super) struct Head {
    method: Method,
    version: Version,
    text: Text,
    extensions: Extensions,
}

impl Head {
    #[inline]
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        Self {
            method: request.method().clone(),
            version: request.version(),
            text: Text::of(request.uri(), request.headers()),
            extensions: request.extensions().clone(),
        }
    }

    pub(super) fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// What a decision needs to know of the request, read where it is.
    pub(super) fn facts(&self, now: Instant) -> Facts {
        let has_header = |name: &HeaderName| self.text.has(name);
        Facts::of(&self.method, &self.extensions, has_header, now)
    }

    /// The same request again, with this body.
    pub(super) fn with<B>(&self, body: B) -> Request<B> {
        let mut request = Request::new(body);
        request.method_mut().clone_from(&self.method);
        *request.uri_mut() = self.text.uri();
        *request.version_mut() = self.version;
        self.text.append_to(request.headers_mut());
        request.extensions_mut().clone_from(&self.extensions);
        request
    }
}

/// How many bytes a header takes in [`Text`], of most: a credential or a user agent has about this many.
const TYPICAL: usize = 64;

/// The URI and the headers of a request, one after the other: see [`Lengths`].
///
/// One allocation, and no counters of shared bytes to go up now and down later, of which the clone of a map
/// has two for each name and value that is not static, and that of a URI two more.
struct Text {
    bytes: Vec<u8>,
    uri: UriLengths,
}

/// How many bytes at the beginning are the URI's; 0 where it lacks a part. `http` has no URIs of 2^16 bytes or more.
struct UriLengths {
    scheme: u16,
    authority: u16,
    path_and_query: u16,
}

impl Text {
    fn of(uri: &Uri, headers: &HeaderMap) -> Self {
        let scheme = uri.scheme_str().unwrap_or("");
        let authority = uri.authority().map_or("", Authority::as_str);
        let path_and_query = uri.path_and_query().map_or("", PathAndQuery::as_str);
        let of_uri = scheme.len() + authority.len() + path_and_query.len();
        let mut bytes = Vec::with_capacity(of_uri + headers.len() * TYPICAL);
        for part in [scheme, authority, path_and_query] {
            bytes.extend_from_slice(part.as_bytes());
        }
        for (name, value) in headers {
            let name = name.as_str().as_bytes();
            bytes.extend_from_slice(&Lengths::of(name, value).0.to_le_bytes());
            bytes.extend_from_slice(name);
            bytes.extend_from_slice(value.as_bytes());
        }
        let len = |part: &str| u16::try_from(part.len()).expect("a URI is shorter");
        let uri = UriLengths {
            scheme: len(scheme),
            authority: len(authority),
            path_and_query: len(path_and_query),
        };
        Self { bytes, uri }
    }

    fn uri(&self) -> Uri {
        fn part<'a, T>(rest: &mut &'a [u8], len: u16) -> Option<T>
        where
            T: TryFrom<&'a [u8], Error: std::fmt::Debug>,
        {
            let (part, tail) = rest.split_at(len.into());
            *rest = tail;
            (len != 0).then(|| T::try_from(part).expect(WRITTEN))
        }

        let mut rest = &*self.bytes;
        let mut parts = http::uri::Parts::default();
        parts.scheme = part::<Scheme>(&mut rest, self.uri.scheme);
        parts.authority = part::<Authority>(&mut rest, self.uri.authority);
        parts.path_and_query = part::<PathAndQuery>(&mut rest, self.uri.path_and_query);
        Uri::from_parts(parts).expect(WRITTEN)
    }

    fn append_to(&self, headers: &mut HeaderMap) {
        for Written {
            name,
            value,
            is_sensitive,
        } in self.headers()
        {
            let name = HeaderName::from_bytes(name).expect(WRITTEN);
            let mut value = HeaderValue::from_bytes(value).expect(WRITTEN);
            value.set_sensitive(is_sensitive);
            headers.append(name, value);
        }
    }

    fn has(&self, name: &HeaderName) -> bool {
        // `http` keeps names in lower case, so that equal names have equal bytes.
        let name = name.as_str().as_bytes();
        self.headers().any(|written| written.name == name)
    }

    fn headers(&self) -> impl Iterator<Item = Written<'_>> {
        let UriLengths {
            scheme,
            authority,
            path_and_query,
        } = self.uri;
        let of_uri = [scheme, authority, path_and_query].map(usize::from);
        let mut rest = &self.bytes[of_uri.iter().sum()..];
        std::iter::from_fn(move || {
            let (&lengths, tail) = rest.split_first_chunk()?;
            let lengths = Lengths(u64::from_le_bytes(lengths));
            let (name, tail) = tail.split_at(lengths.name());
            let (value, tail) = tail.split_at(lengths.value());
            rest = tail;
            Some(Written {
                name,
                value,
                is_sensitive: lengths.is_sensitive(),
            })
        })
    }
}

/// One header of [`Text`].
struct Written<'a> {
    name: &'a [u8],
    value: &'a [u8],
    is_sensitive: bool,
}

const WRITTEN: &str = "what was written from a request can be read again";

/// From the highest bit to the lowest: the length of a name, that of a value, and whether it is sensitive. The name
/// and the value follow.
#[derive(Clone, Copy)]
struct Lengths(u64);

impl Lengths {
    /// `http` has no names of 2^16 bytes or more.
    const NAME: u32 = 48;

    #[inline]
    fn of(name: &[u8], value: &HeaderValue) -> Self {
        let (name, len) = (name.len() as u64, value.len() as u64);
        Self(name << Self::NAME | len << 1 | u64::from(value.is_sensitive()))
    }

    fn name(self) -> usize {
        (self.0 >> Self::NAME) as usize
    }

    fn value(self) -> usize {
        ((self.0 & ((1 << Self::NAME) - 1)) >> 1) as usize
    }

    fn is_sensitive(self) -> bool {
        self.0 & 1 != 0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Deadline, Idempotent};

    fn copied<B>(request: &Request<B>) -> Request<()> {
        Head::of(request).with(())
    }

    #[test]
    fn a_copy_is_the_request_without_its_body() {
        let request = Request::put("https://api.example:8443/v1/a%20b?c=d&e")
            .version(Version::HTTP_2)
            .header("x-twice", "first")
            .header("accept", "*/*")
            .header("x-twice", "second")
            .header("x-empty", "")
            .extension(5_u8)
            .body("body")
            .unwrap();
        let copy = copied(&request);
        assert_eq!(copy.method(), request.method());
        assert_eq!(copy.uri(), request.uri());
        assert_eq!(copy.version(), request.version());
        assert_eq!(copy.headers(), request.headers());
        assert_eq!(copy.extensions().get(), Some(&5_u8));
        // Values of one name keep their order, and names theirs.
        let headers = |request: &Request<()>| -> Vec<_> {
            let headers = request.headers().iter();
            headers
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect()
        };
        assert_eq!(headers(&copy), headers(&request.map(drop)));
    }

    #[test]
    fn a_uri_of_any_form_is_copied() {
        for uri in [
            "*",
            "/",
            "/a%2Fb;c?d=e",
            "/?",
            "host.example:443",
            "[::1]:8080",
            "http://host.example",
            "http://host.example?only=query",
            "https://me:secret@host.example:8443/a?b",
            "HTTP://Host.Example/A",
            "coap+tcp://host.example/a",
            "/caf\u{e9}",
        ] {
            let request = Request::builder().uri(uri).body(()).unwrap();
            let copy = copied(&request);
            assert_eq!(copy.uri(), request.uri());
            assert_eq!(copy.uri().to_string(), request.uri().to_string());
            assert_eq!(copy.uri().scheme(), request.uri().scheme());
            assert_eq!(copy.uri().authority(), request.uri().authority());
        }
        // The longest that `http` takes.
        let long = format!("/{}", "a".repeat((1 << 16) - 3));
        let request = Request::get(long).body(()).unwrap();
        assert_eq!(copied(&request).uri(), request.uri());
    }

    #[test]
    fn values_stay_sensitive_and_need_not_be_text() {
        let mut request = Request::new(());
        let mut secret = HeaderValue::from_bytes(b"\xff\t\x80 ").unwrap();
        secret.set_sensitive(true);
        request.headers_mut().insert("xi-api-key", secret.clone());
        let open = HeaderValue::from_static("open");
        request.headers_mut().append("xi-api-key", open.clone());
        let copy = copied(&request);
        let values: Vec<_> = copy.headers().get_all("xi-api-key").iter().collect();
        assert_eq!(values, [&secret, &open]);
        assert!(values[0].is_sensitive());
        assert!(!values[1].is_sensitive());
    }

    fn facts<B>(request: &Request<B>) -> Facts {
        Head::of(request).facts(Instant::now())
    }

    #[test]
    fn a_request_is_repeatable_by_its_method_its_key_or_its_callers_word() {
        for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
            let request = Request::builder().method(method).body(()).unwrap();
            assert!(facts(&request).repeatable, "{method}");
        }
        for method in ["POST", "PATCH", "CONNECT", "get"] {
            let request = || Request::builder().method(method);
            let plain = request().header("accept", "*/*").body(()).unwrap();
            assert!(!facts(&plain).repeatable, "{method}");
            let keyed = request()
                .header("accept", "*/*")
                .header("Idempotency-Key", "")
                .header("user-agent", "x");
            assert!(facts(&keyed.body(()).unwrap()).repeatable, "{method}");
            let marked = request().extension(Idempotent).body(()).unwrap();
            assert!(facts(&marked).repeatable, "{method}");
        }
    }

    #[test]
    fn only_a_whole_name_is_a_key() {
        let request = Request::post("/")
            .header("idempotency-key-id", "1")
            .header("x-idempotency-key", "2")
            .header("x-names", "idempotency-key")
            .body(())
            .unwrap();
        assert!(!facts(&request).repeatable);
    }

    #[test]
    fn what_is_left_is_counted_from_now() {
        assert_eq!(facts(&Request::new(())).left, None);
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut request = Request::new(());
        request.extensions_mut().insert(Deadline(now + second));
        let head = Head::of(&request);
        assert_eq!(head.facts(now).left, Some(second));
        assert_eq!(head.facts(now + 2 * second).left, Some(Duration::ZERO));
    }

    #[test]
    fn long_names_and_values_are_copied_whole() {
        let mut request = Request::new(());
        // The longest name that `http` takes.
        let name = HeaderName::from_bytes(&vec![b'n'; (1 << 16) - 1]).unwrap();
        let value = HeaderValue::from_bytes(&vec![b'v'; 1 << 20]).unwrap();
        request.headers_mut().insert(name, value);
        request
            .headers_mut()
            .insert("x-after", HeaderValue::from_static("it"));
        assert_eq!(copied(&request).headers(), request.headers());
    }
}
