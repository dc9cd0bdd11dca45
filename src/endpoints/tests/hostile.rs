//! Whatever a request contains, it finds its endpoint.

use super::*;

fn endpoints() -> Endpoints {
    Endpoints::new()
        .route("/a/{x}/b", Quota::per_second(1))
        .route("/{*rest}", Quota::per_second(1))
        .route("h:80/{x}/{y}", Quota::per_second(1))
        .route("[::1]/", Quota::per_second(1))
        .named("flash", Quota::per_second(1))
        .partition_by_header("host")
}

proptest! {
    #[test]
    fn requests_never_panic_and_keys_are_normal(
        uri in "(https?://[a-h.:@0-9\\[\\]]{1,8})?(/[a-b./%2eE]{0,12}){0,4}|.*|[*]|[a-z]:[0-9]{1,3}",
        host in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..12)),
        connect in any::<bool>(),
    ) {
        let Ok(uri) = uri.parse::<Uri>() else { return Ok(()) };
        let mut request = Request::new(());
        *request.uri_mut() = uri;
        if connect {
            *request.method_mut() = Method::CONNECT;
        }
        if let Some(host) = host.and_then(|host| HeaderValue::from_bytes(&host).ok()) {
            request.headers_mut().insert("host", host);
        }
        let _ = endpoints().compile().resolve(&request).unwrap();
        let routes = Endpoints::new().each_other_path(Quota::per_second(1)).compile();
        let (host, path) = key(&routes, &request);
        prop_assert!(!host.contains('/'));
        prop_assert_eq!(normalize::path(&path), if path.is_empty() { "/".into() } else { path.clone() });
    }

    #[test]
    fn look_ups_never_panic(endpoint in ".*|[A-Z]{0,4} ?[a-z.:]{0,4}(/[{}*a-z%.]{0,4}){0,4}") {
        let _ = endpoints().compile().lookup(&endpoint);
    }
}

#[test]
fn a_long_path_goes_no_deeper_than_the_templates() {
    let routes = routes(&["/{a}/{b}/c", "/{a}/b/{c}", "/a/{*rest}"]);
    let long = "/a".repeat(30_000);
    assert_found(&routes, &long, "/a/{*rest}");
    let dots = "/a/..".repeat(10_000) + "/x/b/c";
    assert_found(&routes, &dots, "/{a}/b/{c}");
}
