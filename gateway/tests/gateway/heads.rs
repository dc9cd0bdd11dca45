//! What is done to heads, without a connection.

use http::{HeaderMap, Request, Response, Version, request};

use crate::{
    head::{Way, downwards, upwards},
    upstream::Upstream,
};

fn head(version: Version, headers: &[(&str, &str)]) -> request::Parts {
    let mut request = Request::get("/a").version(version);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn lines(headers: &HeaderMap) -> Vec<String> {
    let lines = headers.iter();
    let lines = lines.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
    let mut lines: Vec<_> = lines.collect();
    lines.sort();
    lines
}

/// What goes up of a request with these headers, without `Via`.
fn up(http2: bool, headers: &[(&str, &str)]) -> Vec<String> {
    let mut head = head(Version::HTTP_11, headers);
    let way = Way {
        http2,
        caller: None,
    };
    upwards(&mut head, way);
    assert_eq!(head.headers.remove("via").unwrap(), "1.1 tower-throttle");
    lines(&head.headers)
}

#[test]
fn what_connection_names_goes_with_it() {
    let headers = [
        ("connection", "close , X-One"),
        ("connection", "x-two,, not a name"),
        ("x-one", "1"),
        ("x-two", "2"),
        ("x-three", "3"),
    ];
    assert_eq!(up(false, &headers), ["x-three: 3"]);
}

#[test]
fn trailers_are_asked_for_if_the_caller_does() {
    let headers = [("te", "deflate, Trailers"), ("connection", "te")];
    assert_eq!(up(false, &headers), ["connection: te", "te: trailers"]);
    assert_eq!(up(true, &headers), ["te: trailers"]);
    assert!(up(false, &[("te", "deflate")]).is_empty());
}

#[test]
fn an_expectation_that_is_not_met_here_is_passed_on() {
    assert!(up(false, &[("expect", "100-Continue")]).is_empty());
    assert_eq!(up(false, &[("expect", "tea")]), ["expect: tea"]);
}

#[test]
fn only_websockets_are_asked_for() {
    let ask = |protocol| up(false, &[("connection", "Upgrade"), ("upgrade", protocol)]);
    assert_eq!(
        ask("WebSocket"),
        ["connection: upgrade", "upgrade: websocket"]
    );
    assert!(ask("h2c").is_empty());
    // An offer that is not of this connection is none.
    assert!(up(false, &[("upgrade", "websocket")]).is_empty());
}

#[test]
fn via_grows() {
    let mut head = head(Version::HTTP_2, &[("via", "1.0 one"), ("via", "1.1 two")]);
    let way = Way {
        http2: false,
        caller: None,
    };
    upwards(&mut head, way);
    assert_eq!(
        lines(&head.headers),
        ["via: 1.0 one, 1.1 two, 2 tower-throttle"]
    );
}

#[test]
fn who_called_is_added_to_who_called_before() {
    let before = [
        ("host", "gateway:8080"),
        ("forwarded", "for=192.0.2.1"),
        ("x-forwarded-host", "front"),
        ("x-forwarded-proto", "https"),
    ];
    let mut head = head(Version::HTTP_11, &before);
    let way = Way {
        http2: false,
        caller: Some("[::1]:5".parse().unwrap()),
    };
    upwards(&mut head, way);
    assert_eq!(
        lines(&head.headers),
        [
            "forwarded: for=192.0.2.1, for=\"[::1]\";host=\"gateway:8080\";proto=http",
            "via: 1.1 tower-throttle",
            "x-forwarded-for: ::1",
            "x-forwarded-host: front",
            "x-forwarded-proto: https",
        ]
    );
}

#[test]
fn a_host_that_is_none_is_not_repeated() {
    let mut head = head(Version::HTTP_11, &[("host", "a\";for=evil")]);
    let way = Way {
        http2: false,
        caller: Some("127.0.0.1:5".parse().unwrap()),
    };
    upwards(&mut head, way);
    assert_eq!(head.headers["forwarded"], "for=127.0.0.1;proto=http");
    assert!(!head.headers.contains_key("x-forwarded-host"));
}

#[test]
fn locations_at_the_upstream_become_paths() {
    let upstream: Upstream = "https://api.example:8443".parse().unwrap();
    for (location, passed) in [
        ("https://api.example:8443/a?b#c", "/a?b#c"),
        ("https://API.example:8443", "/"),
        ("https://api.example:8443?b", "/?b"),
        ("https://api.example/a", "https://api.example/a"),
        ("http://api.example:8443/a", "http://api.example:8443/a"),
        (
            "https://api.example:8443.evil/a",
            "https://api.example:8443.evil/a",
        ),
        ("//api.example:8443/a", "//api.example:8443/a"),
        ("../a", "../a"),
    ] {
        let answer = Response::builder().header("location", location);
        let (mut head, ()) = answer.body(()).unwrap().into_parts();
        downwards(&mut head, &upstream);
        assert_eq!(lines(&head.headers), [format!("location: {passed}")]);
    }
}
