//! Which endpoint a request belongs to, from templates to buckets.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use http::{HeaderValue, Method, Request, Uri};
use proptest::{prelude::*, sample::select};

use super::*;
use crate::Quota;

fn ask(request: &str) -> Request<()> {
    let (method, uri) = request.split_once(' ').unwrap_or(("GET", request));
    Request::builder().method(method).uri(uri).body(()).unwrap()
}

fn found(routes: &Routes, request: &Request<()>) -> String {
    let target = routes.resolve(request).unwrap();
    routes.spec(target.spec).name.to_string()
}

/// The scopes of a request from the narrowest on, with all that matters about them.
fn scopes(routes: &Routes, request: &Request<()>) -> Vec<(String, Quota, SpecKind)> {
    let mut next = Some(routes.resolve(request).unwrap().spec);
    let mut scopes = Vec::new();
    while let Some(id) = next {
        let spec = &routes.specs()[id.0 as usize];
        scopes.push((spec.name.to_string(), spec.quota.clone(), spec.kind));
        next = spec.parent;
    }
    scopes
}

fn routes(templates: &[&str]) -> Routes {
    templates
        .iter()
        .fold(Endpoints::new(), |endpoints, template| {
            endpoints.route(template, Quota::per_second(1))
        })
        .compile()
}

#[track_caller]
fn assert_found(routes: &Routes, request: &str, expected: &str) {
    assert_eq!(found(routes, &ask(request)), expected, "{request}");
}

#[track_caller]
fn panics_with<T>(build: impl FnOnce() -> T, expected: &str) {
    let Err(panic) = catch_unwind(AssertUnwindSafe(build)) else {
        panic!("expected a panic with {expected:?}");
    };
    assert_eq!(panic.downcast_ref::<String>().unwrap(), expected);
}

fn key<'r>(routes: &Routes, request: &'r Request<()>) -> (Cow<'r, str>, Cow<'r, str>) {
    let key = routes.resolve(request).unwrap().key.unwrap();
    (key.host, key.path)
}

mod precedence {
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
}

mod spelling {
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
}

mod keys {
    use super::*;

    #[test]
    fn each_other_path_has_a_key_in_normal_form() {
        let routes = Endpoints::new()
            .route("/known", Quota::per_second(1))
            .each_other_path(Quota::per_second(10))
            .compile();
        assert_eq!(routes.resolve(&ask("/known")).unwrap().key, None);
        let request = ask("https://API.example:443//a/%7eb/?q");
        assert_eq!(
            key(&routes, &request),
            ("api.example".into(), "/a/~b".into())
        );
        let kind = routes.specs()[routes.resolve(&request).unwrap().spec.0 as usize].kind;
        assert_eq!(kind, SpecKind::EachOther);
        assert_eq!(key(&routes, &ask("OPTIONS *")), ("".into(), "*".into()));
        assert_eq!(key(&routes, &ask("CONNECT a:443")), ("a".into(), "".into()));
    }

    #[test]
    fn a_key_in_normal_form_already_is_borrowed() {
        let routes = Endpoints::new()
            .each_other_path(Quota::per_second(10))
            .compile();
        for uri in ["https://api.example/v1/a%2Fb", "http://[::1]:8000/"] {
            let request = ask(uri);
            let (host, path) = key(&routes, &request);
            assert!(matches!((host, path), (Cow::Borrowed(_), Cow::Borrowed(_))));
        }
    }

    #[test]
    fn unmatched_requests_are_told_apart_by_authority() {
        let routes = Endpoints::new().compile();
        let request = ask("http://a:8080/x/y");
        assert_eq!(key(&routes, &request), ("a:8080".into(), "".into()));
        assert_eq!(key(&routes, &ask("/x")), ("".into(), "".into()));
        assert_eq!(
            scopes(&routes, &request),
            [
                (
                    "unmatched".to_owned(),
                    Quota::unlimited(),
                    SpecKind::Unmatched
                ),
                ("overall".to_owned(), Quota::unlimited(), SpecKind::Overall),
            ]
        );
    }

    #[test]
    fn all_other_paths_share_one() {
        let routes = Endpoints::new()
            .all_other_paths(Quota::per_second(1))
            .compile();
        let request = ask("http://a/b");
        let target = routes.resolve(&request).unwrap();
        assert_eq!(target.key, None);
        let spec = routes.spec(target.spec);
        assert_eq!(spec.kind, SpecKind::AllOther);
        assert_eq!(&*spec.name, Endpoints::ALL_OTHER_PATHS);
    }
}

mod names {
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
                format!(
                    "the request asks for the endpoint {name:?}: expected \"batch\" or \"flash\""
                )
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
}

mod scopes {
    use super::*;

    #[test]
    fn parents_lead_from_the_endpoint_to_the_total() {
        let routes = Endpoints::new()
            .route("/v1/{id}", Quota::per_second(5))
            .group("tts", Quota::concurrent(4), ["/v1/{voice}", "/v2"])
            .overall(Quota::per_second(50))
            .across_partitions(Quota::per_minute(1000))
            .compile();
        let wider = [
            ("tts".to_owned(), Quota::concurrent(4), SpecKind::Group),
            (
                "overall".to_owned(),
                Quota::per_second(50),
                SpecKind::Overall,
            ),
            (
                "across partitions".to_owned(),
                Quota::per_minute(1000),
                SpecKind::AcrossPartitions,
            ),
        ];
        let all = super::scopes(&routes, &ask("/v1/x"));
        assert_eq!(
            all[0],
            ("/v1/{id}".to_owned(), Quota::per_second(5), SpecKind::Route)
        );
        assert_eq!(all[1..], wider);
        let all = super::scopes(&routes, &ask("/v2"));
        assert_eq!(
            all[0],
            ("/v2".to_owned(), Quota::unlimited(), SpecKind::Route)
        );
        assert_eq!(all[1..], wider);
    }

    #[test]
    fn a_template_is_called_as_its_route_calls_it() {
        let group = |endpoints: Endpoints| endpoints.group("g", Quota::concurrent(1), ["/{x}/"]);
        let route = |endpoints: Endpoints| endpoints.route("/{id}", Quota::per_second(1));
        for endpoints in [
            route(group(Endpoints::new())),
            group(route(Endpoints::new())),
        ] {
            let routes = endpoints.compile();
            let scopes = super::scopes(&routes, &ask("/1"));
            assert_eq!(
                scopes[0],
                ("/{id}".to_owned(), Quota::per_second(1), SpecKind::Route)
            );
            assert_eq!(scopes[1].0, "g");
        }
    }
}

mod partitions {
    use super::*;

    fn with_key(key: Option<&str>) -> Request<()> {
        let mut request = ask("/a");
        if let Some(key) = key {
            let key = HeaderValue::from_str(key).unwrap();
            request.headers_mut().insert("xi-api-key", key);
        }
        request
    }

    fn partition(routes: &Routes, request: &Request<()>) -> u64 {
        routes.resolve(request).unwrap().partition
    }

    #[test]
    fn without_a_rule_there_is_one() {
        let routes = Endpoints::new().compile();
        assert!(!routes.partitioned());
        assert_eq!(partition(&routes, &with_key(Some("a"))), 0);
    }

    #[test]
    fn each_value_has_one_and_so_has_its_absence() {
        let by_header = Endpoints::new().partition_by_header("XI-Api-Key");
        let by_closure =
            Endpoints::new().partition_by(|head| head.headers().get("xi-api-key").cloned());
        for endpoints in [by_header, by_closure] {
            let routes = endpoints.compile();
            assert!(routes.partitioned());
            let of = |key| partition(&routes, &with_key(key));
            let all = [of(None), of(Some("")), of(Some("a")), of(Some("b"))];
            assert_eq!(BTreeSet::from(all).len(), all.len());
            assert_eq!(of(Some("a")), all[2]);
            assert_eq!(of(None), all[0]);
        }
    }

    #[test]
    fn the_hash_is_the_same_in_one_stack_and_unknown_elsewhere() {
        let endpoints = Endpoints::new().partition_by_header("xi-api-key");
        let request = with_key(Some("a"));
        let here = partition(&endpoints.compile(), &request);
        assert_eq!(here, partition(&endpoints.clone().compile(), &request));
        let other = Endpoints::new().partition_by_header("xi-api-key");
        assert_ne!(here, partition(&other.compile(), &request));
    }

    #[test]
    fn a_value_is_shown_nowhere() {
        let routes = Endpoints::new().partition_by_header("xi-api-key").compile();
        let mut request = with_key(Some("secret"));
        let shown = format!("{:?} {routes:?}", routes.resolve(&request));
        assert!(!shown.contains("secret"), "{shown}");
        request.extensions_mut().insert(EndpointName::new("x"));
        let shown = format!("{:?}", routes.resolve(&request));
        assert!(!shown.contains("secret"), "{shown}");
    }
}

mod building {
    use super::*;

    fn new() -> Endpoints {
        Endpoints::new()
    }

    fn one() -> Quota {
        Quota::per_second(1)
    }

    #[test]
    fn a_bad_template_is_named() {
        let error = "template \"v1\": no path: expected \"[METHOD ][host]/path\", such as \"GET /v1/models\"";
        panics_with(|| new().route("v1", one()), error);
        panics_with(|| new().group("g", one(), ["v1"]), error);
        assert_eq!(new().try_route("v1", one()).unwrap_err().to_string(), error);
    }

    #[test]
    fn a_shape_has_one_quota() {
        panics_with(
            || new().route("/a/{x}", one()).route("/a/{y}/", one()),
            "template \"/a/{y}/\": it has a quota already, as \"/a/{x}\" (parameter names do not matter)",
        );
        let _ = new()
            .route("/a", one())
            .route("GET /a", one())
            .route("h/a", one())
            .route("h:1/a", one());
    }

    #[test]
    fn a_shape_is_in_one_group() {
        panics_with(
            || {
                new()
                    .group("g", one(), ["/a/{x}"])
                    .group("h", one(), ["/b", "/a/{y}"])
            },
            "template \"/a/{y}\": it is in the group \"g\" already, as \"/a/{x}\" (parameter names do not matter)",
        );
        panics_with(
            || new().group("g", one(), ["/a", "/a"]),
            "template \"/a\": it is in the group \"g\" already, as \"/a\" (parameter names do not matter)",
        );
    }

    #[test]
    fn a_name_is_used_once() {
        let taken = "name \"n\": there is a group or named endpoint of this name already: each needs its own";
        panics_with(|| new().named("n", one()).named("n", one()), taken);
        panics_with(|| new().named("n", one()).group("n", one(), []), taken);
        panics_with(|| new().group("n", one(), []).named("n", one()), taken);
        panics_with(|| new().group("n", one(), []).group("n", one(), []), taken);
    }

    #[test]
    fn some_names_are_refused() {
        panics_with(|| new().named("", one()), "name \"\": it is empty");
        panics_with(
            || new().group("a/b", one(), []),
            "name \"a/b\": only templates contain \"/\": expected a name without",
        );
        for name in [
            Endpoints::OVERALL,
            Endpoints::ACROSS_PARTITIONS,
            Endpoints::EACH_OTHER_PATH,
            Endpoints::ALL_OTHER_PATHS,
            Endpoints::UNMATCHED,
        ] {
            panics_with(
                || new().named(name, one()),
                &format!("name {name:?}: it is reserved for a scope of that name"),
            );
        }
    }

    #[test]
    fn what_there_is_one_of_is_set_once() {
        panics_with(
            || new().overall(one()).overall(one()),
            "`overall` was called twice: it is Quota(1 per 1s) already",
        );
        panics_with(
            || new().across_partitions(one()).across_partitions(one()),
            "`across_partitions` was called twice: it is Quota(1 per 1s) already",
        );
        panics_with(
            || new().each_other_path(one()).all_other_paths(one()),
            "`each_other_path` was called before, with Quota(1 per 1s): expected one `each_other_path` or `all_other_paths`",
        );
        panics_with(
            || new().all_other_paths(one()).all_other_paths(one()),
            "`all_other_paths` was called before, with Quota(1 per 1s): expected one `each_other_path` or `all_other_paths`",
        );
        let message = |panic: Box<dyn std::any::Any + Send>| *panic.downcast::<&str>().unwrap();
        let twice = catch_unwind(|| {
            new()
                .name_by(|_| None::<String>)
                .name_by(|_| None::<String>)
        });
        assert_eq!(
            message(twice.unwrap_err()),
            "`name_by` was called twice: expected one closure"
        );
        let twice = catch_unwind(|| {
            new()
                .partition_by_header("a")
                .partition_by(|_| None::<String>)
        });
        assert_eq!(
            message(twice.unwrap_err()),
            "there is a rule for partitions already: expected one `partition_by_header` or `partition_by`"
        );
    }

    #[test]
    fn a_bad_header_is_named() {
        panics_with(
            || new().partition_by_header("x key"),
            "header \"x key\": expected the name of an HTTP header, such as \"authorization\"",
        );
    }

    #[test]
    fn a_panic_points_at_the_caller() {
        // The hook is everybody's, and other tests panic meanwhile.
        let (sender, receiver) = std::sync::mpsc::channel();
        let (this, others) = (std::thread::current().id(), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |info| {
            if std::thread::current().id() == this {
                let _ = sender.send(info.location().unwrap().file().to_owned());
            } else {
                others(info);
            }
        }));
        let calls: [fn() -> Endpoints; 5] = [
            || new().route("", one()),
            || new().group("g", one(), [""]),
            || new().named("", one()),
            || new().overall(one()).overall(one()),
            || new().partition_by_header(""),
        ];
        for call in calls {
            assert!(catch_unwind(call).is_err());
        }
        drop(std::panic::take_hook());
        assert_eq!(receiver.iter().collect::<Vec<_>>(), [file!(); 5]);
    }

    #[test]
    fn cloning_shares_and_changing_does_not() {
        let first = new().route("/a", one());
        let second = first.clone().route("/b", one());
        assert!(first.compile().lookup("/b").is_err());
        assert!(second.compile().lookup("/a").is_ok());
    }

    #[test]
    fn debug_says_what_is_configured() {
        let endpoints = new()
            .route("/a", one())
            .route("/b", one())
            .named("flash", Quota::concurrent(8))
            .group("g", Quota::concurrent(2), ["/b", "/c"])
            .overall(Quota::per(7, Duration::from_secs(2)))
            .each_other_path(one())
            .partition_by(|_| Some("secret"))
            .across_partitions(Quota::concurrent(9))
            .name_by(|_| None::<String>);
        assert_eq!(
            format!("{endpoints:?}"),
            "Endpoints { \
             routes: {\"/a\": Quota(1 per 1s), \
             \"/b\": (Quota(1 per 1s), Some(\"g\")), \"/c\": (Quota(unlimited), Some(\"g\"))}, \
             named: {\"flash\": Quota(8 at once)}, groups: {\"g\": Quota(2 at once)}, \
             overall: Quota(7 per 2s), each_other_path: Quota(1 per 1s), \
             partition_by: Closure(..), across_partitions: Quota(9 at once), name_by: .. }"
        );
        assert_eq!(format!("{:?}", new()), "Endpoints { routes: {} }");
    }

    #[test]
    fn all_can_be_shared_between_threads() {
        fn shared<T: Send + Sync + 'static>() {}
        shared::<Endpoints>();
        shared::<Routes>();
        shared::<InvalidEndpoint>();
        shared::<UnknownEndpoint>();
    }
}

/// Against a matcher that is slow and obviously right: all templates that match, best first.
mod oracle {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    enum Part {
        Literal(&'static str),
        Parameter,
        Rest,
    }

    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    struct Pattern {
        method: Option<&'static str>,
        host: Option<(&'static str, Option<u16>)>,
        parts: Vec<Part>,
    }

    #[derive(Clone, Debug)]
    struct Asked {
        method: &'static str,
        https: bool,
        host: &'static str,
        port: Option<u16>,
        path: Vec<&'static str>,
    }

    impl Pattern {
        fn written(&self) -> String {
            let mut written = String::new();
            if let Some(method) = self.method {
                written.extend([method, " "]);
            }
            if let Some((host, port)) = self.host {
                written += host;
                if let Some(port) = port {
                    written.extend([":", &port.to_string()]);
                }
            }
            for part in &self.parts {
                written += match part {
                    Part::Literal(text) => text,
                    Part::Parameter => "/{x}",
                    Part::Rest => "/{*x}",
                };
            }
            if self.parts.is_empty() {
                written += "/";
            }
            written
        }

        fn matches(&self, asked: &Asked) -> bool {
            let default = if asked.https { 443 } else { 80 };
            let asked_port = asked.port.unwrap_or(default);
            self.method.is_none_or(|method| method == asked.method)
                && self.host.is_none_or(|(host, port)| {
                    host == asked.host && port.is_none_or(|port| port == asked_port)
                })
                && match self.parts.split_last() {
                    Some((Part::Rest, parts)) => {
                        asked.path.len() > parts.len() && Self::agree(parts, &asked.path)
                    }
                    _ => {
                        asked.path.len() == self.parts.len()
                            && Self::agree(&self.parts, &asked.path)
                    }
                }
        }

        fn agree(parts: &[Part], path: &[&'static str]) -> bool {
            parts.iter().zip(path).all(|(part, segment)| match part {
                Part::Literal(text) => text == segment,
                _ => true,
            })
        }

        /// Less is better.
        fn rank(&self) -> impl Ord + use<> {
            let host = match self.host {
                Some((_, Some(_))) => 0,
                Some((_, None)) => 1,
                None => 2,
            };
            let path: Vec<_> = self
                .parts
                .iter()
                .map(|part| match part {
                    Part::Literal(_) => 0,
                    Part::Parameter => 1,
                    Part::Rest => 2,
                })
                .collect();
            (host, path, self.method.is_none())
        }
    }

    impl Asked {
        /// One of the many ways to write it; `noise` chooses.
        fn request(&self, noise: &[u8]) -> Request<()> {
            let mut noise = noise.iter().copied().chain(std::iter::repeat(0));
            let mut pick = move |ways: u8| noise.next().unwrap_or_default() % ways;
            let host = match pick(3) {
                0 => self.host.to_owned(),
                1 => self.host.to_uppercase(),
                _ => format!("me@{}.", self.host),
            };
            let scheme = if self.https { "https" } else { "http" };
            let mut uri = format!("{scheme}://{host}");
            if let Some(port) = self.port {
                uri.extend([":", &port.to_string()]);
            }
            for segment in &self.path {
                uri += ["", "/", "/.", "/x/..", "/x/%2e%2E"][usize::from(pick(5))];
                uri += match (pick(2), *segment) {
                    (0, segment) => segment,
                    (_, "/a") => "/%61",
                    (_, _) => "/%62",
                };
            }
            uri += ["", "/", "//", "/.", "/b/.."][usize::from(pick(5))];
            if pick(2) == 1 {
                // A query needs a path before it, or it would be one.
                uri += if uri.matches('/').count() > 2 {
                    "?a/b"
                } else {
                    "/?a/b"
                };
            }
            Request::builder()
                .method(self.method)
                .uri(uri)
                .body(())
                .unwrap()
        }
    }

    const LITERALS: [&str; 2] = ["/a", "/b"];
    const METHODS: [&str; 2] = ["GET", "POST"];
    const HOSTS: [&str; 2] = ["h", "i"];
    const PORTS: [Option<u16>; 4] = [None, Some(80), Some(443), Some(8080)];

    fn pattern() -> impl Strategy<Value = Pattern> {
        let part = prop_oneof![
            2 => select(&LITERALS).prop_map(Part::Literal),
            1 => Just(Part::Parameter),
        ];
        (
            proptest::option::of(select(&METHODS)),
            proptest::option::of((select(&HOSTS), select(&PORTS))),
            proptest::collection::vec(part, 0..4),
            any::<bool>(),
        )
            .prop_map(|(method, host, mut parts, rest)| {
                if rest {
                    parts.push(Part::Rest);
                }
                Pattern {
                    method,
                    host,
                    parts,
                }
            })
    }

    fn asked() -> impl Strategy<Value = Asked> {
        (
            select(&METHODS),
            any::<bool>(),
            select(&HOSTS),
            select(&PORTS),
            proptest::collection::vec(select(&LITERALS), 0..5),
        )
            .prop_map(|(method, https, host, port, path)| Asked {
                method,
                https,
                host,
                port,
                path,
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]

        #[test]
        fn agrees(
            patterns in proptest::collection::btree_set(pattern(), 0..24),
            requests in proptest::collection::vec((asked(), proptest::collection::vec(any::<u8>(), 16)), 16),
        ) {
            let written: Vec<_> = patterns.iter().map(Pattern::written).collect();
            let written: Vec<_> = written.iter().map(String::as_str).collect();
            let routes = routes(&written);
            for (asked, noise) in &requests {
                let best = patterns
                    .iter()
                    .filter(|pattern| pattern.matches(asked))
                    .min_by_key(|pattern| pattern.rank())
                    .map_or(Endpoints::UNMATCHED.to_owned(), Pattern::written);
                let request = asked.request(noise);
                prop_assert_eq!(found(&routes, &request), best, "{:?}", request.uri());
            }
        }
    }
}

mod order {
    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Call {
        Route(&'static str, u32),
        Group(&'static str, &'static [&'static str]),
        Named(&'static str),
        Overall,
        Others,
        Header,
        Across,
        NameBy,
    }

    const CALLS: [Call; 14] = [
        Call::Route("/a", 1),
        Call::Route("POST /a", 2),
        Call::Route("/{x}/b", 3),
        Call::Route("/a/{y}", 4),
        Call::Route("h/{*rest}", 5),
        Call::Route("h:80/a", 6),
        Call::Group("g", &["/{z}/b", "POST /a/"]),
        Call::Group("k", &["GET /c", "H/{*r}"]),
        Call::Named("flash"),
        Call::Overall,
        Call::Others,
        Call::Header,
        Call::Across,
        Call::NameBy,
    ];

    fn build(calls: &[Call]) -> Routes {
        let build = |endpoints: Endpoints, call: &Call| match *call {
            Call::Route(template, n) => endpoints.route(template, Quota::per_second(n)),
            Call::Group(name, templates) => {
                endpoints.group(name, Quota::concurrent(1), templates.iter().copied())
            }
            Call::Named(name) => endpoints.named(name, Quota::concurrent(2)),
            Call::Overall => endpoints.overall(Quota::per_second(50)),
            Call::Others => endpoints.each_other_path(Quota::per_second(10)),
            Call::Header => endpoints.partition_by_header("k"),
            Call::Across => endpoints.across_partitions(Quota::per_second(100)),
            Call::NameBy => {
                endpoints.name_by(|head| (head.uri().path() == "/flash").then_some("flash"))
            }
        };
        calls.iter().fold(Endpoints::new(), build).compile()
    }

    proptest! {
        #[test]
        fn of_calls_is_irrelevant(calls in Just(CALLS.to_vec()).prop_shuffle()) {
            let (usual, shuffled) = (build(&CALLS), build(&calls));
            for method in ["GET", "POST"] {
                for host in ["h", "i", "h:80", "h:81"] {
                    for path in ["", "/a", "/a/b", "/b/b", "/a/c", "/c", "/d", "/flash"] {
                        let request = ask(&format!("{method} http://{host}{path}"));
                        prop_assert_eq!(scopes(&usual, &request), scopes(&shuffled, &request));
                        let key = |routes: &Routes| routes.resolve(&request).unwrap().key.is_some();
                        prop_assert_eq!(key(&usual), key(&shuffled));
                    }
                }
            }
        }
    }
}

mod hostile {
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
}
