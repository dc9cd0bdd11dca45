//! Other quotas for the partitions of a tier.

use super::*;

fn quota(n: u32) -> Quota {
    Quota::per_second(n)
}

/// Partitioned, and of a tier that a header names.
fn by_header(endpoints: Endpoints) -> Endpoints {
    endpoints
        .partition_by(|_| Some(0))
        .tier_by(|head| Some(head.headers().get("x-tier")?.to_str().ok()?.to_owned()))
}

fn of_tier(tier: &str) -> Request<()> {
    let mut request = ask("/a");
    let value = HeaderValue::from_str(tier).unwrap();
    request.headers_mut().insert("x-tier", value);
    request
}

#[test]
fn a_request_is_of_the_tier_that_the_closure_names() {
    let endpoints = Endpoints::new().tier("gold", []).tier("silver", []);
    let routes = by_header(endpoints).compile();
    let tier = |request: &Request<()>| routes.resolve(request).map(|target| target.tier);
    assert_eq!(tier(&ask("/a")), Ok(None));
    assert_eq!(tier(&of_tier("gold")).unwrap().unwrap().0, 0);
    assert_eq!(tier(&of_tier("silver")).unwrap().unwrap().0, 1);
    assert_eq!(tier(&of_tier("brass")).unwrap_err().endpoint(), "brass");
}

#[test]
fn a_tier_has_specs_of_its_own_for_what_it_lists() {
    let endpoints = Endpoints::new()
        .group("group", quota(1), ["/a"])
        .named("name", quota(2))
        .each_other_path(quota(3))
        .tier(
            "gold",
            [
                ("group", quota(4)),
                ("name", quota(5)),
                (Endpoints::EACH_OTHER_PATH, quota(6)),
                (Endpoints::OVERALL, quota(7)),
                ("GET /only/{here}", quota(8)),
            ],
        );
    let routes = by_header(endpoints).compile();
    for (name, n) in [
        ("group", 4),
        ("name", 5),
        (Endpoints::EACH_OTHER_PATH, 6),
        (Endpoints::OVERALL, 7),
        ("GET /only/{there}/", 8),
    ] {
        let base = routes.lookup(name).unwrap();
        let variant = routes.spec(routes.lookup_in_tier("gold", name).unwrap());
        assert_eq!(variant.quota, quota(n), "{name}");
        assert_eq!(variant.tier.as_ref().unwrap().base, base, "{name}");
        assert_eq!(
            (variant.kind, &variant.name),
            (routes.spec(base).kind, &routes.spec(base).name)
        );
    }
    let only_here = routes.lookup("GET /only/{here}").unwrap();
    assert_eq!(routes.spec(only_here).quota, Quota::unlimited());
    // Names are those of the endpoints, whatever the tiers.
    let error = routes.lookup("/b").unwrap_err().to_string();
    assert_eq!(error.matches("\"group\"").count(), 1, "{error}");
}

#[test]
fn identities_tell_tiers_apart() {
    let endpoints = || {
        Endpoints::new()
            .route("/a", quota(1))
            .tier("gold", [("/a", quota(2))])
    };
    let routes = by_header(endpoints().tier("silver", [("/a", quota(3))])).compile();
    let identities = routes.identities();
    let distinct: std::collections::HashSet<_> = identities.iter().collect();
    assert_eq!(distinct.len(), identities.len());
    let again = by_header(endpoints()).compile().identities();
    assert!(again.iter().all(|identity| identities.contains(identity)));
    let (gold, a) = (&identities[3], &identities[2]);
    assert_eq!(&gold.base(), a);
}

#[test]
fn what_cannot_be_is_refused_with_the_reason() {
    let refused = |build: fn(Endpoints) -> Endpoints| {
        let endpoints = Endpoints::new().tier("gold", []).named("flash", quota(1));
        let panic = catch_unwind(AssertUnwindSafe(|| build(endpoints))).unwrap_err();
        *panic.downcast::<String>().unwrap()
    };
    let nothing = "is nothing of which each partition has its own: expected a template, \"overall\", or the name of a group or an endpoint that was named before";
    assert_eq!(refused(|e| e.tier("", [])), "tier \"\": it is empty");
    assert_eq!(
        refused(|e| e.tier("gold", [])),
        "tier \"gold\": there is a tier of this name already"
    );
    assert_eq!(
        refused(|e| e.tier("a", [("flsh", quota(1))])),
        format!("tier \"a\": \"flsh\" {nothing}")
    );
    for name in [
        Endpoints::ACROSS_PARTITIONS,
        Endpoints::UNMATCHED,
        Endpoints::ALL_OTHER_PATHS,
    ] {
        let tiered = catch_unwind(|| Endpoints::new().tier("a", [(name, quota(1))]));
        let panic = *tiered.unwrap_err().downcast::<String>().unwrap();
        assert_eq!(panic, format!("tier \"a\": \"{name}\" {nothing}"));
    }
    assert_eq!(
        refused(|e| e.tier("a", [("/{b}", quota(1)), ("/{c}", quota(1))])),
        "tier \"a\": it has a quota for \"/{c}\" already (parameter names do not matter)"
    );
    assert!(refused(|e| e.tier("a", [("get /a", quota(1))])).starts_with("template \"get /a\""));
    assert_eq!(
        refused(|e| {
            let e = e.partition_by(|_| Some(0));
            e.compile();
            e
        }),
        "tier \"gold\": expected `tier_by`, which says who is of it"
    );
    assert_eq!(
        refused(|e| {
            let e = e.tier_by(|_| None::<&str>);
            e.compile();
            e
        }),
        "tier \"gold\": expected a rule for partitions, which are what is of a tier"
    );
    let twice = || Endpoints::new().tier_by(|_| None::<&str>);
    let panic = catch_unwind(|| twice().tier_by(|_| None::<&str>)).unwrap_err();
    let text = panic.downcast_ref::<&str>().unwrap();
    assert_eq!(*text, "`tier_by` was called twice: expected one closure");
}

#[test]
fn tiers_are_shown() {
    let endpoints = Endpoints::new().tier("gold", [("/a", quota(2)), ("overall", quota(3))]);
    let shown = format!("{:?}", by_header(endpoints));
    for part in ["gold", "/a", "overall", "tier_by"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn a_header_is_hashed_as_the_text_that_it_is() {
    let routes = Endpoints::new().partition_by_header("x-key").compile();
    let partition = |value: &[u8]| {
        let mut request = ask("/a");
        let value = HeaderValue::from_bytes(value).unwrap();
        request.headers_mut().insert("x-key", value);
        routes.resolve(&request).unwrap().partition
    };
    assert_eq!(routes.partition_of("wonka"), Some(partition(b"wonka")));
    assert_eq!(
        routes.partition_of(&"wonka".to_owned()),
        Some(partition(b"wonka"))
    );
    assert_eq!(routes.partition_of("é"), Some(partition("é".as_bytes())));
    // No text: only its bytes tell it apart.
    assert_ne!(partition(&[0xe9]), partition(&[0xea]));
    assert_eq!(
        routes.partition_of(&[0xe9_u8][..]),
        Some(partition(&[0xe9]))
    );
    assert_eq!(Endpoints::new().compile().partition_of("wonka"), None);
}
