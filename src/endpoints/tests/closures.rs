//! How often a request is shown to the user's closures.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use super::*;

/// Routes that count the calls of `name_by` and of `partition_by`; the header `x-kind` is the name.
fn counted() -> (Routes, impl Fn() -> (usize, usize)) {
    let calls = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let (by_name, by_partition) = (Arc::clone(&calls), Arc::clone(&calls));
    let endpoints = Endpoints::new()
        .route("/a/{x}", Quota::per_second(1))
        .route("/{*rest}", Quota::per_second(1))
        .route("h/a/b", Quota::per_second(1))
        .each_other_path(Quota::per_second(1))
        .named("flash", Quota::per_second(1))
        .name_by(move |head| {
            by_name[0].fetch_add(1, Relaxed);
            let name = head.headers().get("x-kind")?;
            name.to_str().ok().map(str::to_owned)
        })
        .partition_by(move |_| Some(by_partition[1].fetch_add(1, Relaxed)));
    let take = move || (calls[0].swap(0, Relaxed), calls[1].swap(0, Relaxed));
    (endpoints.compile(), take)
}

fn request(
    uri: &str,
    extension: Option<&'static str>,
    header: Option<&'static str>,
) -> Request<()> {
    let mut request = ask(uri);
    if let Some(name) = extension {
        request.extensions_mut().insert(EndpointName::new(name));
    }
    if let Some(name) = header {
        let name = HeaderValue::from_static(name);
        request.headers_mut().insert("x-kind", name);
    }
    request
}

#[test]
fn one_look_at_a_request_runs_each_closure_once() {
    let (routes, take) = counted();
    // Whether it is found at once, after going back, in normal form only, by name, or not at all.
    for (uri, name) in [
        ("/a/b", None),
        ("http://h/a/b", None),
        ("http://h/a/c", None),
        ("/a/./b/../c", None),
        ("//x/%7e", None),
        ("/", None),
        ("/", Some("flash")),
        ("/a/b", Some("flash")),
    ] {
        routes.resolve(&request(uri, None, name)).unwrap();
        assert_eq!(take(), (1, 1), "{uri}");
    }
}

#[test]
fn a_name_on_the_request_spares_the_closure() {
    let (routes, take) = counted();
    let named = request("/a/b", Some("flash"), Some("slow"));
    routes.resolve(&named).unwrap();
    assert_eq!(take(), (0, 1));
}

#[test]
fn a_request_with_an_unknown_name_belongs_to_no_partition() {
    let (routes, take) = counted();
    routes
        .resolve(&request("/a/b", None, Some("slow")))
        .unwrap_err();
    assert_eq!(take(), (1, 0));
    routes
        .resolve(&request("/a/b", Some("slow"), None))
        .unwrap_err();
    assert_eq!(take(), (0, 0));
}
