//! Which of several templates that match is chosen.

use super::*;

#[test]
fn a_literal_beats_a_parameter_beats_a_catch_all() {
    let routes = routes(&["/v1/voices", "/v1/{id}", "/v1/{*rest}"]);
    assert_found(&routes, "/v1/voices", "/v1/voices");
    assert_found(&routes, "/v1/models", "/v1/{id}");
    assert_found(&routes, "/v1/voices/add", "/v1/{*rest}");
    assert_found(&routes, "/v2", Endpoints::UNMATCHED);
}

#[test]
fn the_leftmost_segment_decides() {
    let routes = routes(&["/{a}/x/y", "/a/{b}/{c}", "/a/{*rest}"]);
    assert_found(&routes, "/a/x/y", "/a/{b}/{c}");
    assert_found(&routes, "/b/x/y", "/{a}/x/y");
    assert_found(&routes, "/a/x", "/a/{*rest}");
}

#[test]
fn the_search_returns_from_a_dead_end() {
    let routes = routes(&["/a/b/c", "/a/{x}/d", "/{y}/b/e", "/{*rest}"]);
    assert_found(&routes, "/a/b/c", "/a/b/c");
    assert_found(&routes, "/a/b/d", "/a/{x}/d");
    assert_found(&routes, "/a/b/e", "/{y}/b/e");
    assert_found(&routes, "/a/b/f", "/{*rest}");
}

#[test]
fn the_search_goes_on_after_another_method() {
    let routes = routes(&["GET /v1/{x}", "POST /v1/models", "/{*rest}"]);
    assert_found(&routes, "GET /v1/models", "GET /v1/{x}");
    assert_found(&routes, "POST /v1/models", "POST /v1/models");
    assert_found(&routes, "DELETE /v1/models", "/{*rest}");
}

#[test]
fn a_method_beats_none_but_only_on_the_same_path() {
    let routes = routes(&["/v1/{x}", "GET /v1/{x}", "GET /{*rest}", "/v1/a"]);
    assert_found(&routes, "GET /v1/b", "GET /v1/{x}");
    assert_found(&routes, "PUT /v1/b", "/v1/{x}");
    assert_found(&routes, "GET /v1/a", "/v1/a");
    assert_found(&routes, "get /v1/b", "/v1/{x}");
}

#[test]
fn a_host_beats_every_path_and_a_port_beats_a_host() {
    let routes = routes(&[
        "/a",
        "api.example/{*rest}",
        "api.example:8443/{x}",
        "POST api.example:8443/a",
    ]);
    assert_found(&routes, "http://other.example/a", "/a");
    assert_found(&routes, "http://api.example/a", "api.example/{*rest}");
    assert_found(&routes, "http://api.example:8443/a", "api.example:8443/{x}");
    assert_found(
        &routes,
        "POST http://api.example:8443/a",
        "POST api.example:8443/a",
    );
    assert_found(
        &routes,
        "http://api.example:8443/a/b",
        "api.example/{*rest}",
    );
    assert_found(&routes, "http://api.example/", Endpoints::UNMATCHED);
}

#[test]
fn an_absent_port_is_that_of_the_scheme() {
    let routes = routes(&["a:443/", "a:80/", "b:80/"]);
    assert_found(&routes, "https://a/", "a:443/");
    assert_found(&routes, "http://a/", "a:80/");
    assert_found(&routes, "http://a:443/", "a:443/");
    assert_found(&routes, "https://b/", Endpoints::UNMATCHED);
    let from_header = |host: &str| {
        let request = Request::get("/").header("host", host).body(()).unwrap();
        found(&routes, &request)
    };
    assert_eq!(from_header("a"), "a:443/");
    assert_eq!(from_header("a:80"), "a:80/");
    assert_eq!(from_header("b"), "b:80/");
    assert_eq!(from_header("b:81"), Endpoints::UNMATCHED);
}

/// Few templates side by side are searched in another way than many.
#[test]
fn each_of_many_templates_side_by_side_is_found() {
    for siblings in [1, 7, 8, 9, 10, 200] {
        let own = |index| format!("/v1/thing-{index}");
        // What goes on below comes first for some and last for others.
        let (early, late): (Vec<_>, Vec<_>) = (0..siblings).partition(|index| index % 2 == 0);
        let mut templates: Vec<_> = early.iter().map(|&index| own(index) + "/{id}/a").collect();
        templates.extend((0..siblings).map(own));
        templates.extend(late.iter().map(|&index| own(index) + "/{id}/a"));
        templates.push("/v1/{other}".to_owned());
        let templates: Vec<_> = templates.iter().map(String::as_str).collect();
        let routes = routes(&templates);
        for index in 0..siblings {
            assert_found(&routes, &own(index), &own(index));
            let below = own(index) + "/{id}/a";
            assert_found(&routes, &below.replace("{id}", "7"), &below);
            assert_found(&routes, &(own(index) + "/7/b"), Endpoints::UNMATCHED);
        }
        assert_found(&routes, &own(siblings), "/v1/{other}");
        assert_found(&routes, "/v1/thing-", "/v1/{other}");
    }
}
