//! What a proxy does to heads on their way (RFC 9110, section 7).

use std::net::{IpAddr, SocketAddr};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version,
    header::{
        CONNECTION, CONTENT_LENGTH, EXPECT, FORWARDED, HOST, LOCATION, PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE, VIA,
    },
    request, response,
    uri::Authority,
};

use super::upstream::Upstream;

/// By which proxies know each other in `Via`.
pub(crate) const PSEUDONYM: &str = "tower-throttle";

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// About one connection, and not about the message (sections 7.6.1 and 11.7).
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// What the way up depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    /// The upstream is spoken to in HTTP/2.
    pub(crate) http2: bool,
    /// The caller's address, if the upstream is to be told.
    pub(crate) caller: Option<SocketAddr>,
}

/// Whether a head says clearly to whom it goes, and how its body is framed (RFC 9112, sections 3.2 and 6.1). What is not
/// clear is refused: the next server could understand it in another way.
///
/// # Errors
///
/// What is wrong, and what was expected.
pub(crate) fn check(head: &request::Parts) -> Result<(), String> {
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).into_iter();
    if let Some(coding) = codings.next() {
        // hyper undoes no other, and would hide that there was one.
        let is_chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
        if !is_chunked || codings.next().is_some() {
            return Err("transfer-encoding: expected chunked, and only once".into());
        }
    }
    let mut hosts = head.headers.get_all(HOST).into_iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err("host: expected only once".into());
    }
    let target = head.uri.authority();
    if let Some(target) = target.filter(|target| target.as_str().contains('@')) {
        let host = target.host();
        return Err(format!("the target: expected no user before {host}"));
    }
    let Some(host) = host else {
        return match head.version {
            Version::HTTP_11 => Err("host: it is missing".into()),
            _ => Ok(()),
        };
    };
    let wrong = |what: &str| format!("host: expected {what}, not {host:?}");
    if host.is_empty() && target.is_none() {
        return Ok(());
    }
    let named = host.to_str().ok();
    let named: Option<Authority> = named.and_then(|host| host.parse().ok());
    let named = named.filter(|named| {
        let has_port = named.port_u16().is_some() || named.as_str() == named.host();
        has_port && !named.as_str().contains('@')
    });
    let named = named.ok_or_else(|| wrong("HOST[:PORT]"))?;
    match target {
        Some(target) if !is_same(target, &named) => {
            Err(wrong(&format!("{target}, as the target has it")))
        }
        _ => Ok(()),
    }
}

/// A port that one of them leaves out is the usual one.
fn is_same(one: &Authority, other: &Authority) -> bool {
    let ports = one.port_u16().zip(other.port_u16());
    one.host().eq_ignore_ascii_case(other.host()) && ports.is_none_or(|(one, other)| one == other)
}

/// Makes a caller's head one of our own.
pub(crate) fn upwards(head: &mut request::Parts, way: Way) {
    let websocket = wants_websocket(head);
    let trailers = lists(&head.headers, &TE, "trailers");
    let host = head.headers.remove(HOST);
    let authority = head.uri.authority().cloned();
    let asked = authority.or_else(|| host?.to_str().ok()?.parse().ok());
    let headers = &mut head.headers;
    strip(headers);
    let expects = headers.get(EXPECT).map(HeaderValue::as_bytes);
    if expects.is_some_and(|what| what.eq_ignore_ascii_case(b"100-continue")) {
        // Met here: the server that we are for the caller says `100 Continue` when the body is read.
        headers.remove(EXPECT);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        if !way.http2 {
            headers.insert(CONNECTION, HeaderValue::from_static("te"));
        }
    }
    if websocket {
        switch(headers);
    }
    let received = match head.version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    };
    append(headers, VIA, &format!("{received} {PSEUDONYM}"));
    if let Some(caller) = way.caller {
        forwarded(headers, caller.ip(), asked.as_ref().map(Authority::as_str));
    }
    // What the client below speaks is its own affair, and so is what hyper has left for us.
    head.version = Version::HTTP_11;
    head.extensions.clear();
}

/// Makes the upstream's head one of our own.
pub(crate) fn downwards(head: &mut response::Parts, upstream: &Upstream) {
    strip(&mut head.headers);
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        switch(&mut head.headers);
    }
    head.version = Version::HTTP_11;
    // A caller that followed an absolute one would be past the limits.
    let location = head.headers.get(LOCATION).and_then(|url| url.to_str().ok());
    if let Some(path) = location.and_then(|url| upstream.path_of(url)) {
        let slash = if path.starts_with('/') { "" } else { "/" };
        if let Ok(path) = HeaderValue::try_from(format!("{slash}{path}")) {
            head.headers.insert(LOCATION, path);
        }
    }
}

/// Whether the caller asks for a websocket. Other upgrades are not taken up, which a server may do: a
/// tunnel for `h2c` would lead past the limits.
pub(crate) fn wants_websocket(head: &request::Parts) -> bool {
    head.method == Method::GET
        && head.version == Version::HTTP_11
        && lists(&head.headers, &CONNECTION, "upgrade")
        && lists(&head.headers, &UPGRADE, "websocket")
}

fn switch(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

fn strip(headers: &mut HeaderMap) {
    if headers.contains_key(TRANSFER_ENCODING) {
        // It overrides a length (RFC 9112, section 6.3), which then is wrong or a trap for the next.
        headers.remove(CONTENT_LENGTH);
    }
    let named: Vec<HeaderName> = tokens(headers, &CONNECTION)
        .filter_map(|name| name.parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

fn lists(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|listed| listed.eq_ignore_ascii_case(token))
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter();
    let lists = values.filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim)
}

/// RFC 7239, and what was there before it. What others have said before us stays.
fn forwarded(headers: &mut HeaderMap, caller: IpAddr, asked: Option<&str>) {
    let node = match caller {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("\"[{address}]\""),
    };
    let host = asked.map_or_else(String::new, |host| format!(";host=\"{host}\""));
    append(headers, FORWARDED, &format!("for={node}{host};proto=http"));
    append(headers, X_FORWARDED_FOR, &caller.to_string());
    let first = [(X_FORWARDED_HOST, asked), (X_FORWARDED_PROTO, Some("http"))];
    for (name, value) in first {
        let value = value.and_then(|value| HeaderValue::from_str(value).ok());
        if let (Some(value), false) = (value, headers.contains_key(&name)) {
            headers.insert(name, value);
        }
    }
}

/// Adds to a list, in one line: not all who read it look for a second.
fn append(headers: &mut HeaderMap, name: HeaderName, item: &str) {
    let mut list: Vec<u8> = Vec::new();
    for before in headers.get_all(&name) {
        list.extend_from_slice(before.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(item.as_bytes());
    if let Ok(list) = HeaderValue::from_bytes(&list) {
        headers.insert(name, list);
    }
}
