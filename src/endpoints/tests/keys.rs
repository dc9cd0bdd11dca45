//! The buckets of what matches no template.

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
