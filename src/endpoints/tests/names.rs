//! Endpoints that are chosen by name, and look-ups.

use super::*;

fn endpoints() -> Endpoints {
    Endpoints::new()
        .route("/a", Quota::per_second(1))
        .named("flash", Quota::concurrent(8))
        .named("batch", Quota::concurrent(1))
        .name_by(|head| {
            head.headers()
                .get("x-kind")?
                .to_str()
                .ok()
                .map(str::to_owned)
        })
}

fn request(extension: Option<&'static str>, header: Option<&str>) -> Request<()> {
    let mut request = ask("/a");
    if let Some(name) = extension {
        request.extensions_mut().insert(EndpointName::new(name));
    }
    if let Some(name) = header {
        let name = HeaderValue::from_str(name).unwrap();
        request.headers_mut().insert("x-kind", name);
    }
    request
}

#[test]
fn the_extension_beats_the_closure_beats_the_path() {
    let routes = endpoints().compile();
    assert_eq!(found(&routes, &request(None, None)), "/a");
    assert_eq!(found(&routes, &request(None, Some("batch"))), "batch");
    let both = request(Some("flash"), Some("batch"));
    assert_eq!(found(&routes, &both), "flash");
    assert_eq!(
        scopes(&routes, &both),
        [
            ("flash".to_owned(), Quota::concurrent(8), SpecKind::Named),
            ("overall".to_owned(), Quota::unlimited(), SpecKind::Overall),
        ]
    );
}

#[test]
fn an_unknown_name_is_an_error_and_no_default() {
    let routes = endpoints().group("tts", Quota::concurrent(1), []).compile();
    for (extension, header, name) in [
        (Some("slow"), None, "slow"),
        (None, Some("slow"), "slow"),
        (Some(""), Some("flash"), ""),
        (Some("tts"), None, "tts"),
        (Some("overall"), None, "overall"),
        (Some("/a"), None, "/a"),
    ] {
        let error = routes.resolve(&request(extension, header)).unwrap_err();
        assert_eq!(error.endpoint(), name);
        assert_eq!(
            error.to_string(),
            format!("the request asks for the endpoint {name:?}: expected \"batch\" or \"flash\"")
        );
    }
    let error = Endpoints::new().compile();
    let error = error.resolve(&request(Some("x"), None)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the request asks for the endpoint \"x\", but none is named"
    );
}

#[test]
fn a_closure_may_return_any_string() {
    let endpoints = Endpoints::new().named("flash", Quota::concurrent(8));
    let closures = [
        endpoints.clone().name_by(|_| Some("flash")),
        endpoints.clone().name_by(|_| Some("flash".to_owned())),
        endpoints.name_by(|_| Some(Cow::Borrowed("flash"))),
    ];
    for endpoints in closures {
        assert_eq!(found(&endpoints.compile(), &ask("/a")), "flash");
    }
}

#[test]
fn look_ups_take_any_spelling_of_a_template_and_every_name() {
    let routes = endpoints()
        .route("POST API.example/v1/{id}", Quota::per_second(1))
        .group("tts", Quota::concurrent(1), ["/b"])
        .overall(Quota::per_second(5))
        .all_other_paths(Quota::per_second(5))
        .across_partitions(Quota::per_second(5))
        .compile();
    let name = |endpoint| {
        let found = routes.lookup(endpoint).unwrap();
        &*routes.spec(found).name
    };
    assert_eq!(name("/a/"), "/a");
    assert_eq!(name("POST api.example/v1/{x}"), "POST API.example/v1/{id}");
    for endpoint in ["/b", "flash", "batch", "tts"] {
        assert_eq!(name(endpoint), endpoint);
    }
    for scope in [
        Endpoints::OVERALL,
        Endpoints::ALL_OTHER_PATHS,
        Endpoints::ACROSS_PARTITIONS,
    ] {
        assert_eq!(name(scope), scope);
    }
    let unknown = [
        "",
        "x",
        "/x",
        "POST /v1/{id}",
        "/{",
        Endpoints::EACH_OTHER_PATH,
        Endpoints::UNMATCHED,
    ];
    for endpoint in unknown {
        assert_eq!(routes.lookup(endpoint).unwrap_err().endpoint(), endpoint);
    }
    assert_eq!(
        routes.lookup("/x").unwrap_err().to_string(),
        "there is no endpoint \"/x\": expected \"across partitions\", \"overall\", \"all other paths\", \"tts\", \"/a\", \"POST API.example/v1/{id}\", \"/b\", \"flash\" or \"batch\""
    );
    assert_eq!(
        Endpoints::new()
            .compile()
            .lookup("flash")
            .unwrap_err()
            .to_string(),
        "there is no endpoint \"flash\": expected \"overall\" or \"unmatched\""
    );
}
