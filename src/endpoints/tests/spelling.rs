//! What is the same endpoint in another spelling.

use super::*;

#[test]
fn the_spelling_of_a_path_does_not_matter() {
    let routes = routes(&["/v1/voices/{id}", "/caf\u{e9}/%7e", "/"]);
    for path in [
        "/v1/voices/1",
        "/v1/voices/1/",
        "//v1///voices/1?q=/x",
        "/v1/./voices/x/../1",
        "/%76%31/voices/1",
        "/v1/voices/a%2Fb",
        "/../v1/%2e%2E/v1/voices/1",
    ] {
        assert_found(&routes, path, "/v1/voices/{id}");
    }
    assert_found(&routes, "/caf%c3%a9/~", "/caf\u{e9}/%7e");
    assert_found(&routes, "/V1/voices/1", Endpoints::UNMATCHED);
    for root in ["/", "//", "/.", "/..", "/?", "http://a", "http://a?b", "a"] {
        assert_found(&routes, root, "/");
    }
}

#[test]
fn a_literal_in_another_spelling_comes_before_a_parameter() {
    let routes = routes(&["/{x}/{y}", "/at/by", "/{x}/{y}/c"]);
    for path in ["/at/by", "/at/b%79", "/a%74/by", "/a%74/%62y", "/at/b%79/"] {
        assert_found(&routes, path, "/at/by");
    }
    assert_found(&routes, "/at/b%78", "/{x}/{y}");
    assert_found(&routes, "/at/~%2F/c", "/{x}/{y}/c");
}

#[test]
fn a_host_s_literal_in_another_spelling_comes_before_a_parameter() {
    let routes = routes(&["/{x}/{y}", "h/{x}/by", "h:80/at/{x}"]);
    assert_found(&routes, "http://h/a%74/by", "h:80/at/{x}");
    assert_found(&routes, "http://h/c/b%79", "h/{x}/by");
    assert_found(&routes, "http://h/c/b%78", "/{x}/{y}");
}

#[test]
fn a_catch_all_needs_something_to_catch() {
    let routes = routes(&["/v1/{*rest}", "/{*rest}"]);
    assert_found(&routes, "/v1/a/b", "/v1/{*rest}");
    for path in ["/v1", "/v1/", "/v1//", "/v1/."] {
        assert_found(&routes, path, "/{*rest}");
    }
    assert_found(&routes, "/", Endpoints::UNMATCHED);
}

#[test]
fn what_is_no_path_matches_nothing() {
    let routes = routes(&["/{*rest}", "/", "a/", "a:443/{*rest}"]);
    assert_found(&routes, "OPTIONS *", Endpoints::UNMATCHED);
    assert_found(&routes, "CONNECT a:443", Endpoints::UNMATCHED);
}

#[test]
fn the_host_header_is_asked_only_where_the_uri_is_silent() {
    let routes = routes(&["API.example/a", "[0:0::1]:80/a"]);
    let with_header = |uri: &str| {
        let request = Request::get(uri).header("host", "Api.Example.:9");
        found(&routes, &request.body(()).unwrap())
    };
    assert_eq!(with_header("/a"), "API.example/a");
    assert_eq!(with_header("http://b/a"), Endpoints::UNMATCHED);
    assert_found(&routes, "http://u:p@API.EXAMPLE.:9/a", "API.example/a");
    assert_found(&routes, "http://[::1]/a", "[0:0::1]:80/a");
}
